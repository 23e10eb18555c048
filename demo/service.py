"""What the page and its API do: encode a photo, segment, find everything. Knows nothing of HTTP.

Whatever comes from outside is checked here or below; what is wrong with it is a `SamHubError`.
"""

import copy
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ..errors import PromptError
from ..inference.amg import Progress, SamAutomaticMaskGenerator
from ..ops.mask_prompt import mask_prompt
from ..ops.masks import rle_to_mask
from .admission import AdmissionQueue
from .limits import Limits, Refusal
from .models import ModelPool
from .photos import read_photo
from .presets import SEARCH_PRESETS, preset_arguments
from .prompts import Prompt, parse_prompt
from .shapes import drawn_size, outline_of_logits, shape_of_logits, shape_of_mask
from .store import Photo, PhotoStore

Event = dict[str, Any]
"""What happens meanwhile: ``{"stage": name, ...}``; the last has the stage "done" and the result."""


@dataclass(frozen=True)
class FirstMask:
    """What is known of an object when its mask can be shown.

    scores: (M,); low_res: (M, h, w) logits; mask: (1, h, w) logits that were gone on from, or None
    best: index of the mask that is shown; took: seconds of decoding; shown: for the page
    """

    scores: np.ndarray
    low_res: np.ndarray
    mask: np.ndarray | None
    best: int
    took: float
    shown: dict[str, Any]


class SegmentationService:
    """The state of one server.

    models: the models; photos: those that were encoded
    """

    def __init__(self, models: ModelPool, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.photos = PhotoStore(limits)
        # Few threads compute, always the same ones: each thread that calls torch gets a team of its own, and buffers.
        # A decode is many small steps: threads that share it wait for each other longer than they help.
        self._encoders = ThreadPoolExecutor(limits.encodes, "encode", _set_threads, (torch.get_num_threads(),))
        self._decoders = ThreadPoolExecutor(limits.decodes, "decode", _set_threads, (1,))
        self._encodes = AdmissionQueue(limits.encodes, limits.waiting)
        self._decodes = AdmissionQueue(limits.decodes, limits.waiting * 4)

    def warm_up(self) -> None:
        """Load the default model and use it once: what is slow the first time shall not wait for a visitor."""
        loaded = self.models.get()
        predictor, pixels = loaded.new_predictor(), np.zeros((48, 64, 3), np.uint8)
        predictor.set_image(pixels)
        self._get_ready(Photo(predictor, pixels, loaded.name, self.limits.results)).result()

    def facts(self) -> dict[str, Any]:
        """What the page needs to know of the server."""
        limits = {k: getattr(self.limits, k) for k in ("upload_bytes", "pixels", "points", "strokes", "objects")}
        searches = [{"name": name, "words": words} for name, words in SEARCH_PRESETS.items()]
        models = [o.facts() for o in self.models.entries.values()]
        return {"models": models, "default": self.models.default, "searches": searches, "limits": limits}

    def encode(self, data: bytes, model: Any = None) -> Iterator[Event]:
        """Read a photo and encode it. The result: ``id, width, height, model, device, encode_ms``."""
        wanted = self.models.chosen(model)
        yield self._waiting(self._encodes)
        with self._encodes.turn():
            yield {"stage": "reading"}
            pixels = read_photo(data, self.limits)
            yield from self._encode(pixels, wanted.name)

    def encode_again(self, key: Any, model: Any) -> Iterator[Event]:
        """Encode a photo that is here already with another model; it gets a new id and the old one goes."""
        photo, wanted = self.photos.get(key), self.models.chosen(model)
        yield self._waiting(self._encodes)
        with self._encodes.turn():
            yield from self._encode(photo.pixels, wanted.name)
        self.photos.drop(key)

    def _encode(self, pixels: np.ndarray, model: str) -> Iterator[Event]:
        yield from self.models.prepare(model)
        loaded = self.models.get(model)
        yield {"stage": "encoding", "model": model}

        def work() -> tuple[Photo, float]:
            predictor, start = loaded.new_predictor(), perf_counter()
            predictor.set_image(pixels)
            took = perf_counter() - start
            return Photo(predictor, pixels, loaded.name, self.limits.results), took

        photo, took = self._encoders.submit(work).result()
        photo.ready = self._get_ready(photo)
        height, width = photo.size
        yield {
            "stage": "done",
            "id": self.photos.add(photo),
            "width": width,
            "height": height,
            "model": loaded.name,
            "device": loaded.device,
            "encode_ms": _ms(took),
        }

    def _get_ready(self, photo: Photo) -> Future:
        """Make everything that the first click would wait for; prompts on the photo wait for this."""
        height, width = photo.size
        center = np.array([[width / 2, height / 2]])

        def work() -> None:
            for _ in range(2):  # the fast decoder is made with the second prompt
                _, low_res = _predict(photo.predictor, center, np.array([1]), None, None, True)
            photo.low_side = low_res.shape[-1]
            for size in {photo.size, drawn_size(photo.size)}:
                photo.upsampler(low_res.shape[-2:], size)
            photo.weigh()

        return self._decoders.submit(work)

    def pixels(self, key: Any) -> np.ndarray:
        """(H, W, 3) uint8, for browsers that cannot read the file themselves."""
        return self.photos.get(key).pixels

    def preview(self, key: Any, prompt: Any) -> dict[str, Any]:
        """The mask that `segment` would show: ``path, score, decode_ms``."""
        photo, parsed = self._photo_and_prompt(key, prompt)
        return self._decoded(self._first, photo, parsed).shown

    def segment(self, key: Any, prompt: Any) -> Iterator[Event]:
        """Masks of one object; see `prompts` for prompts. What is to be shown comes first, as of `preview`.

        The result: ``result`` (an id to refine from), ``best`` (an index), ``masks`` (``score, rle, area, bbox, path``)
        and ``decode_ms``. A single click has three masks. A more precise prompt has SAM's mask for precise prompts
        first, and then the three.
        """
        photo, parsed = self._photo_and_prompt(key, prompt)
        first = self._decoded(self._first, photo, parsed)
        yield {"stage": "shown", **first.shown}
        yield {"stage": "done", **self._decoded(self._rest, photo, parsed, first)}

    def _photo_and_prompt(self, key: Any, prompt: Any) -> tuple[Photo, Prompt]:
        photo = self.photos.get(key)
        return photo, parse_prompt(prompt, photo.size, self.limits)

    def _decoded(self, work: Callable, *arguments: Any) -> Any:
        with self._decodes.turn():
            return self._decoders.submit(work, *arguments).result()

    def _first(self, photo: Photo, prompt: Prompt) -> "FirstMask":
        photo.ready.result()
        start = perf_counter()
        mask = self._mask_prompt(photo, prompt)

        def decode() -> tuple[np.ndarray, np.ndarray]:
            return _predict(photo.predictor, prompt.points, prompt.labels, prompt.box, mask, prompt.ambiguous)

        if prompt.ambiguous:  # a click follows upon the preview of the same place
            scores, low_res = photo.once(prompt.points.tobytes() + prompt.labels.tobytes(), decode)
        else:
            scores, low_res = decode()
        took = perf_counter() - start
        best = 0 if len(scores) != 3 else int(scores.argmax())
        drawn = photo.upsampler(low_res.shape[-2:], drawn_size(photo.size))
        path = outline_of_logits(low_res[best], drawn, photo.size)
        shown = {"path": path, "score": _score(scores[best]), "decode_ms": _ms(took)}
        return FirstMask(scores, low_res, mask, best, took, shown)

    def _rest(self, photo: Photo, prompt: Prompt, first: "FirstMask") -> dict[str, Any]:
        start, scores, low_res = perf_counter(), first.scores, first.low_res
        if len(scores) == 1 and not prompt.ambiguous:
            many = _predict(photo.predictor, prompt.points, prompt.labels, prompt.box, first.mask, True)
            if len(many[0]) > 1:
                scores, low_res = (np.concatenate(pair) for pair in zip((scores, low_res), many, strict=True))
        took = first.took + perf_counter() - start
        exact, drawn = (photo.upsampler(low_res.shape[-2:], size) for size in (photo.size, drawn_size(photo.size)))
        paths = {first.best: first.shown["path"]}
        masks = [
            {"score": _score(score), **shape_of_logits(logits, exact, drawn, paths.get(i))}
            for i, (score, logits) in enumerate(zip(scores, low_res, strict=True))
        ]
        return {"result": photo.remember(low_res), "best": first.best, "masks": masks, "decode_ms": _ms(took)}

    @staticmethod
    def _mask_prompt(photo: Photo, prompt: Prompt) -> np.ndarray | None:
        """(1, h, w) logits that the prompt goes on from, or that are made of what was painted."""
        if prompt.refine is not None:
            earlier = photo.recall(prompt.refine[0])
            if earlier is not None:  # where it had to go, the clicks alone must do
                if prompt.refine[1] >= len(earlier):
                    raise PromptError(f"the earlier result has {len(earlier)} masks; refine one of them")
                return earlier[prompt.refine[1]][None]
        return None if prompt.rough is None else mask_prompt(prompt.rough, photo.low_side)

    def everything(self, key: Any, preset: Any, stop: threading.Event) -> Iterator[Event]:
        """All masks of a photo, the largest first. The result: ``masks`` as of `segment`, with ``stability, point``.

        stop: once set, what was found until then is the result
        """
        photo = self.photos.get(key)
        if not isinstance(preset, str) or preset not in SEARCH_PRESETS:
            raise Refusal(f"there is no such preset; choose one of {', '.join(SEARCH_PRESETS)}")
        yield self._waiting(self._encodes)
        with self._encodes.turn(), photo.busy:
            start = perf_counter()
            # A shallow copy: it shares the embedding, and setting crops on it leaves the photo's own predictor alone.
            arguments = preset_arguments(photo.predictor.encoder_kind, preset)
            generator = SamAutomaticMaskGenerator(
                copy.copy(photo.predictor), output_mode="uncompressed_rle", **arguments
            )
            records = None

            def work(progress: Progress) -> list[dict[str, Any]]:
                return generator.generate(photo.pixels, progress, stop.is_set)

            for step in _steps(self._encoders, work, stop):
                if isinstance(step, tuple):
                    yield {"stage": "searching", "done": step[0], "of": step[1]}
                else:
                    records = step
            records.sort(key=lambda r: -r["area"])
            masks = []
            for r in records[: self.limits.objects]:
                shape = shape_of_mask(rle_to_mask(r["segmentation"]))
                scores = {"score": _score(r["predicted_iou"]), "stability": _score(r["stability_score"])}
                masks.append({**scores, "point": r["point_coords"][0], **shape})
            yield {"stage": "done", "masks": masks, "ms": _ms(perf_counter() - start)}

    @staticmethod
    def _waiting(admission: AdmissionQueue) -> Event:
        return {"stage": "waiting", "ahead": admission.ahead}


def last(events: Iterator[Event]) -> Event:
    """The result of events, for callers who cannot watch."""
    *_, result = events
    return {k: v for k, v in result.items() if k != "stage"}


def _set_threads(count: int) -> None:
    """How many threads torch computes with for whoever calls it from this one."""
    torch.get_num_threads()  # sets the number of a new thread to what was set last anywhere
    torch.set_num_threads(count)


def _predict(predictor: Any, points: Any, labels: Any, box: Any, mask: Any, multimask: bool) -> tuple:
    """Scores and low-res logits from a predictor of either kind."""
    if hasattr(predictor, "predict_low_res"):
        return predictor.predict_low_res(points, labels, box, mask, multimask)
    return predictor.predict(points, labels, box, mask, multimask)[1:]


def _steps(hands: Executor, work: Callable[[Progress], Any], stop: threading.Event) -> Iterator[Any]:
    """Have ``work(progress)`` done elsewhere; yields what it tells as tuples, and its result at the end."""
    told: queue.Queue = queue.Queue()
    done = hands.submit(work, lambda *step: told.put(step))
    done.add_done_callback(lambda _: told.put(None))
    try:
        while (step := told.get()) is not None:
            yield step
    finally:
        stop.set()
        wait([done])
    yield done.result()


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _score(value: float) -> float:
    """Scores are predictions and may leave [0, 1] a little; NaN is no JSON."""
    return round(float(np.clip(np.nan_to_num(value), 0, 1)), 4)
