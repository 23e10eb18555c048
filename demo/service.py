"""The operations of the page and its API, independent of HTTP: encode a photo, segment, find everything.

Client input is checked here or below; invalid input raises a `SamHubError`. Work runs in `Workers`; the coroutines and
iterators here only wait for it, so closing one cancels its work.
"""

import copy
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from ..errors import PromptError
from ..inference.amg import SamAutomaticMaskGenerator
from ..inference.zoom import Look
from ..ops.mask_prompt import mask_prompt
from ..ops.masks import rle_to_mask
from ..ops.tidying import TIDY_SHARE
from .closer import FirstLooks, look_again, look_first, shapes_of
from .limits import Limits, Refusal
from .models import LoadedModel, ModelPool
from .photos import read_photo
from .presets import SEARCH_PRESETS, preset_arguments
from .prompts import Prompt, parse_prompt
from .shapes import Tidying, drawn_size, outline_of_logits, shape_of_logits, shape_of_mask
from .store import Photo, PhotoStore
from .words import Finder, checked_words
from .workers import Emit, Workers

Event = dict[str, Any]
"""Progress: ``{"stage": name, ...}``; the last has the stage "done" and the result."""

PRIVACY = "Photos stay in the server's memory for a while and are never written to disk."


@dataclass(frozen=True)
class FirstMask:
    """The state of an object when its first mask can be shown.

    scores: (M,); low_res: (M, h, w) logits; mask: (1, h, w) logits of the mask prompt, or None
    best: index of the mask shown; took: seconds of decoding; shown: for the page
    """

    scores: np.ndarray
    low_res: np.ndarray
    mask: np.ndarray | None
    best: int
    took: float
    shown: dict[str, Any]


class SegmentationService:
    """The state of one server.

    models: offered models; photos: encoded photos; files: threads for exports and imports
    """

    def __init__(self, models: ModelPool, limits: Limits) -> None:
        self.models, self.limits = models, limits
        self.more_facts: Callable[[], dict[str, Any]] = dict  # of the server's other features, for the page
        self.photos = PhotoStore(limits)
        self.finder: Finder | None = None  # of what words name
        # A fixed set of few threads computes: torch gives each calling thread its own thread pool and buffers. A decode
        # consists of many small steps, which several threads do not speed up.
        threads = torch.get_num_threads()
        self._encoders = Workers("encode", limits.encodes, limits.waiting, lambda: _set_threads(threads))
        self._decoders = Workers("decode", limits.decodes, limits.waiting * 4, lambda: _set_threads(1))
        self.files = Workers("files", limits.decodes, limits.waiting)

    def warm_up(self) -> None:
        """Load the default model and use it once, so that no visitor pays the first-use cost."""
        loaded = self.models.load_now()
        predictor, pixels = loaded.new_predictor(), np.zeros((48, 64, 3), np.uint8)
        predictor.set_image(pixels)
        self._get_ready(Photo(predictor, pixels, loaded.name, self.limits.results)).result()

    def facts(self) -> dict[str, Any]:
        """Facts about the server for the page."""
        limits = {k: getattr(self.limits, k) for k in ("upload_bytes", "pixels", "points", "strokes", "objects")}
        searches = [{"name": name, "words": words} for name, words in SEARCH_PRESETS.items()]
        models = [o.facts() for o in self.models.entries.values()]
        return {
            "models": models,
            "default": self.models.default,
            "searches": searches,
            "limits": limits,
            "privacy": PRIVACY,
            "words": self.finder is not None,
        }

    async def encode(self, data: bytes, model: Any = None) -> AsyncIterator[Event]:
        """Read a photo and encode it. The result: ``id, width, height, model, device, tidy, encode_ms``.

        tidy: whether masks of this model are tidied by default
        """
        entry = self.models.entry(model)
        async with aclosing(self._encode(lambda: read_photo(data, self.limits), entry.name)) as events:
            async for event in events:
                yield event

    async def encode_again(self, key: Any, model: Any) -> AsyncIterator[Event]:
        """Encode a stored photo with another model; it gets a new id, and the old id is dropped."""
        photo, entry = self.photos.get(key), self.models.entry(model)
        async with aclosing(self._encode(lambda: photo.pixels, entry.name)) as events:
            async for event in events:
                if event["stage"] == "done":
                    self.photos.drop(key)
                yield event

    async def _encode(self, read: Callable[[], np.ndarray], model: str) -> AsyncIterator[Event]:
        async with aclosing(self.models.load(model)) as loading:  # before this visitor's turn
            async for loaded in loading:
                if not isinstance(loaded, LoadedModel):
                    yield loaded
        yield {"stage": "waiting", "ahead": self._encoders.ahead}

        def work(emit: Emit, stopped: threading.Event) -> None:
            emit({"stage": "reading"})
            pixels = read()
            if stopped.is_set():
                return
            emit({"stage": "encoding", "model": model})
            photo, took = self._encoded(loaded, pixels)
            if stopped.is_set():
                return
            photo.ready = self._get_ready(photo)
            height, width = photo.size
            size = {"width": width, "height": height}
            tidy = photo.predictor.capabilities.tidy > 0
            facts = {"model": loaded.name, "device": loaded.device, "tidy": tidy, "encode_ms": _ms(took)}
            emit({"stage": "done", "id": self.photos.add(photo), **size, **facts})

        async with aclosing(self._encoders.events(work)) as events:
            async for event in events:
                yield event

    def _encoded(self, loaded: LoadedModel, pixels: np.ndarray) -> tuple[Photo, float]:
        """The photo and the encoding time in seconds."""
        predictor, start = loaded.new_predictor(), perf_counter()
        predictor.set_image(pixels)
        took = perf_counter() - start
        return Photo(predictor, pixels, loaded.name, self.limits.results), took

    def _get_ready(self, photo: Photo) -> Future:
        """Prepare everything that the first click needs; prompts on the photo wait for this."""
        height, width = photo.size
        center = np.array([[width / 2, height / 2]])

        def work(stopped: threading.Event) -> None:
            _, low_res = _predict(photo.predictor, center, np.array([1]), None, None, True)
            photo.low_side = low_res.shape[-1]
            for size in {photo.size, drawn_size(photo.size)}:
                photo.upsampler(low_res.shape[-2:], size)
            photo.weigh()

        return self._decoders.submit(work, refuse=False).future

    def pixels(self, key: Any) -> np.ndarray:
        """(H, W, 3) uint8, for browsers that cannot read the file themselves."""
        return self.photos.get(key).pixels

    async def preview(self, key: Any, prompt: Any) -> dict[str, Any]:
        """The mask that `segment` would show: ``path, score, decode_ms``."""
        photo = self.photos.get(key)
        return (await self._decoders.run(self._first, photo, prompt))[1].shown

    async def segment(self, key: Any, prompt: Any) -> AsyncIterator[Event]:
        """Masks of one object; see `prompts` for prompts. The mask to show comes first, as in `preview`.

        The result: ``result`` (an id to refine from), ``best`` (an index), ``masks`` (``score, rle, area, bbox, path``)
        and ``decode_ms``. A single click has three masks. A more precise prompt has SAM's mask for precise prompts
        first, and then the three.

        With ``zoom``, the part of the photo around the object is encoded as well; before, the mask of the photo alone
        is shown. The masks are those of ``predict(zoom=True)``, and the result has that part, too: ``window``, x0, y0,
        x1, y1 in pixels, or None where a closer look would show no more.
        """
        photo = self.photos.get(key)
        parsed, first = await self._decoders.run(self._first, photo, prompt)
        yield {"stage": "shown", **first.shown}
        if parsed.zoom:
            async with aclosing(self._look_closer(photo, parsed, first)) as events:
                async for event in events:
                    yield event
            return
        rest = await self._decoders.run(self._rest, photo, parsed, first, refuse=False)
        yield {"stage": "done", **rest}

    def _first(self, photo: Photo, given: Any) -> tuple[Prompt, FirstMask]:
        prompt = parse_prompt(given, photo.size, self.limits)
        photo.ready.result()
        start = perf_counter()
        mask = self._mask_prompt(photo, prompt)

        def decode() -> tuple[np.ndarray, np.ndarray]:
            return _predict(photo.predictor, prompt.points, prompt.labels, prompt.box, mask, prompt.ambiguous)

        if prompt.ambiguous:  # a click usually follows the preview of the same place
            scores, low_res = photo.once(prompt.points.tobytes() + prompt.labels.tobytes(), decode)
        else:
            scores, low_res = decode()
        took = perf_counter() - start
        best = 0 if len(scores) != 3 else int(scores.argmax())
        drawn = photo.upsampler(low_res.shape[-2:], drawn_size(photo.size))
        path = outline_of_logits(low_res[best], drawn, photo.size, _tidying(photo, prompt))
        shown = {"path": path, "score": _score(scores[best]), "decode_ms": _ms(took)}
        return prompt, FirstMask(scores, low_res, mask, best, took, shown)

    def _rest(self, photo: Photo, prompt: Prompt, first: FirstMask) -> dict[str, Any]:
        start, scores, low_res = perf_counter(), first.scores, first.low_res
        if len(scores) == 1 and not prompt.ambiguous:
            many = _predict(photo.predictor, prompt.points, prompt.labels, prompt.box, first.mask, True)
            if len(many[0]) > 1:
                scores, low_res = (np.concatenate(pair) for pair in zip((scores, low_res), many, strict=True))
        took = first.took + perf_counter() - start
        exact, drawn = (photo.upsampler(low_res.shape[-2:], size) for size in (photo.size, drawn_size(photo.size)))
        paths = {first.best: first.shown["path"]}
        masks = [
            {"score": _score(score), **shape_of_logits(logits, exact, drawn, paths.get(i), _tidying(photo, prompt))}
            for i, (score, logits) in enumerate(zip(scores, low_res, strict=True))
        ]
        return {"result": photo.remember(low_res), "best": first.best, "masks": masks, "decode_ms": _ms(took)}

    async def _look_closer(self, photo: Photo, prompt: Prompt, first: FirstMask) -> AsyncIterator[Event]:
        given = photo, prompt, first.scores, first.low_res
        looks = await self._decoders.run(look_first, *given, _predict, refuse=False)
        start, second = perf_counter(), None
        if looks.window is not None:
            yield {"stage": "waiting", "ahead": self._encoders.ahead}

            def work(emit: Emit, stopped: threading.Event) -> None:
                nonlocal start, second
                emit({"stage": "encoding", "model": photo.model})
                start = perf_counter()
                second = look_again(photo, prompt, looks, _predict)

            async with aclosing(self._encoders.events(work)) as events:
                async for event in events:
                    yield event
        took = first.took + perf_counter() - start
        done = await self._decoders.run(self._closer, photo, prompt, looks, second, took, refuse=False)
        yield {"stage": "done", **done}

    @staticmethod
    def _closer(
        photo: Photo, prompt: Prompt, looks: FirstLooks, second: list[Look] | None, took: float
    ) -> dict[str, Any]:
        shapes = shapes_of(photo, looks, second, _tidying(photo, prompt))
        masks = [{"score": _score(score), **shape} for score, shape in shapes]
        result = photo.remember(np.concatenate([look.low_res for look in looks.looks]))
        return {"result": result, "best": 0, "masks": masks, "window": looks.window, "decode_ms": _ms(took)}

    @staticmethod
    def _mask_prompt(photo: Photo, prompt: Prompt) -> np.ndarray | None:
        """(1, h, w) logits of the refined mask, or made from painted strokes."""
        if prompt.refine is not None:
            earlier = photo.recall(prompt.refine[0])
            if earlier is not None:  # if it was dropped, use the clicks alone
                if prompt.refine[1] >= len(earlier):
                    raise PromptError(f"the earlier result has {len(earlier)} masks; refine one of them")
                return earlier[prompt.refine[1]][None]
        return None if prompt.rough is None else mask_prompt(prompt.rough, photo.low_side)

    async def everything(self, key: Any, preset: Any, tidy: Any = None) -> AsyncIterator[Event]:
        """All masks of a photo, the largest first. The result: ``masks`` as of `segment`, with ``stability, point``.

        tidy: whether to remove specks and fill pinholes; default: the model's
        """
        photo = self.photos.get(key)
        if not isinstance(preset, str) or preset not in SEARCH_PRESETS:
            raise Refusal(f"there is no such preset; choose one of {', '.join(SEARCH_PRESETS)}")
        if not isinstance(tidy, bool | None):
            raise PromptError("tidy must be true or false")
        yield {"stage": "waiting", "ahead": self._encoders.ahead}

        def work(emit: Emit, stopped: threading.Event) -> None:
            start = perf_counter()
            # A shallow copy shares the embedding; setting crops on it does not affect the photo's predictor.
            arguments = preset_arguments(photo.predictor.encoder_kind, preset, _share(photo, tidy))
            generator = SamAutomaticMaskGenerator(
                copy.copy(photo.predictor), output_mode="uncompressed_rle", **arguments
            )

            def progress(done: int, of: int) -> None:
                emit({"stage": "searching", "done": done, "of": of})

            with photo.busy:
                records = generator.generate(photo.pixels, progress, stopped.is_set)
            records.sort(key=lambda r: -r["area"])
            masks = []
            for r in records[: self.limits.objects]:
                if stopped.is_set():
                    return
                shape = shape_of_mask(rle_to_mask(r["segmentation"]))
                scores = {"score": _score(r["predicted_iou"]), "stability": _score(r["stability_score"])}
                masks.append({**scores, "point": r["point_coords"][0], **shape})
            emit({"stage": "done", "masks": masks, "ms": _ms(perf_counter() - start)})

        async with aclosing(self._encoders.events(work)) as events:
            async for event in events:
                yield event

    async def words(self, key: Any, text: Any) -> AsyncIterator[Event]:
        """All objects that a phrase names. The result: ``masks`` as of `segment`, with ``name, box``, best first."""
        photo, phrase, finder = self.photos.get(key), checked_words(text), self.finder
        knows = photo.predictor.capabilities.concepts  # the model itself understands words
        if finder is None and not knows:
            raise Refusal("this server has no text detector; start it with --words", 404)
        yield {"stage": "waiting", "ahead": self._encoders.ahead}

        def work(emit: Emit, stopped: threading.Event) -> None:
            photo.ready.result()
            if knows:
                found = [*photo.predictor.find(phrase)][: self.limits.objects]
                masks = [{**_named(phrase, score, box), **shape_of_mask(mask)} for mask, score, box in found]
                emit({"stage": "done", "masks": masks})
                return
            boxes, scores = finder(photo.pixels, phrase)
            masks = []
            for i, (box, score) in enumerate(zip(boxes[: self.limits.objects], scores, strict=False)):
                if stopped.is_set():
                    return
                emit({"stage": "searching", "done": i, "of": len(boxes)})
                _, low_res = _predict(photo.predictor, None, None, box, None, False)
                exact, drawn = (
                    photo.upsampler(low_res.shape[-2:], size) for size in (photo.size, drawn_size(photo.size))
                )
                shape = shape_of_logits(low_res[0], exact, drawn, None, Tidying(photo.predictor.capabilities.tidy))
                masks.append({**_named(phrase, score, box), **shape})
            emit({"stage": "done", "masks": masks})

        async with aclosing(self._encoders.events(work)) as events:
            async for event in events:
                yield event


def _named(phrase: str, score: float, box: np.ndarray) -> dict[str, Any]:
    return {"name": phrase, "score": _score(score), "box": np.round(box, 1).tolist()}


async def last(events: AsyncIterator[Event]) -> Event:
    """The final result of events, for callers without streaming."""
    async with aclosing(events):
        async for event in events:
            result = event
    return {k: v for k, v in result.items() if k != "stage"}


def _set_threads(count: int) -> None:
    """Set the number of threads that torch uses for calls from this thread."""
    torch.get_num_threads()  # initialises a new thread with the number last set in any thread
    torch.set_num_threads(count)


def _share(photo: Photo, tidy: bool | None) -> float:
    """Share of a mask's area below which specks and holes are removed: as requested, or the model's default."""
    own = photo.predictor.capabilities.tidy
    return own if tidy is None else (own or TIDY_SHARE) if tidy else 0.0


def _tidying(photo: Photo, prompt: Prompt) -> Tidying:
    return Tidying(_share(photo, prompt.tidy), prompt.points, prompt.labels)


def _predict(predictor: Any, points: Any, labels: Any, box: Any, mask: Any, multimask: bool) -> tuple:
    """Scores and low-res logits."""
    return predictor.predict_low_res(points, labels, box, mask, multimask)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)


def _score(value: float) -> float:
    """Clip a predicted score to [0, 1]; NaN is not valid JSON."""
    return round(float(np.clip(np.nan_to_num(value), 0, 1)), 4)
