"""`ImagePredictor`: encode an image once, prompt it many times, with any `Backend`. Needs neither torch nor a network.

The methods, arguments and shapes are those of the original (``segment_anything/predictor.py``). In addition: any image
that `read_image` takes, cached embeddings, text prompts, and a clear error for each wrong prompt.
"""

import copy
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import CheckpointError, ImageError, PromptError, SharedPredictorError
from ..ops.bands import Bands
from ..ops.geometry import scale_boxes, scale_points
from ..ops.images import ImageSource, read_image
from ..ops.preparation import Preparation
from ..ops.prompts import as_floats, read_prompt, refuse_prompts
from ..ops.tidying import tidy as tidied
from ..ops.value_range import ValueRange, range_for
from ..rasters.raster import Window
from .backends import Backend, Capabilities, Prompts
from .embedding_cache import EmbeddingCache
from .ownership import Ownership
from .saved_embeddings import read_embedding, write_embedding
from .upsample import MaskFrame
from .zoom import Look, closer_window, combine, inside

if TYPE_CHECKING:
    from .concepts import Instances

Size = tuple[int, int]

NO_WORDS = "this model takes no text; choose one that does (`sam-hub zoo`), or use find_text, which uses a detector"


@dataclass(frozen=True)
class HeldImage:
    """The current image. Sizes are (height, width).

    encoded: result of the backend's ``encode``; held: result of its ``hold``
    pixels: (H, W, 3) uint8, None if only the embedding is known
    placement: `Backend.placement` when it was encoded
    frame: how low-res masks map to the image, None until the sizes are known
    is_set: None, or what a caller has assigned to ``is_image_set``
    """

    encoded: Any = None
    held: Any = None
    original_size: Size | None = None
    input_size: Size | None = None
    pixels: np.ndarray | None = None
    placement: Any = None
    frame: MaskFrame | None = None
    is_set: bool | None = None

    @property
    def is_complete(self) -> bool:
        parts = self.encoded, self.original_size, self.input_size
        return self.is_set is not False and all(part is not None for part in parts)


class ImagePredictor:
    """Masks for prompts on one image at a time.

    backend: what runs the model
    cache_size: number of images whose embeddings are kept; an image that is set again is recognised by its pixels.
        Any change of the weights or of the preparation invalidates them
    text: handles text prompts: a `TextDetector`, or a `ClipText` for a model that was trained on its embeddings

    A predictor holds one image. Threads and asyncio tasks that work on different images need one predictor each:
    `copy.copy` makes one that shares the model and the cache. If two of them set images on the same predictor, the one
    whose image was replaced gets `SharedPredictorError` instead of masks of the wrong image. It is fine to set an image
    in one thread and then use it in another.
    """

    def __init__(self, backend: Backend, cache_size: int = 4, text: Any = None) -> None:
        self.backend, self.text = backend, text
        self._cache = EmbeddingCache(cache_size)
        self._windows = EmbeddingCache(min(cache_size, 1))  # of second looks, which must not displace images
        self._image = HeldImage()
        self._ownership = Ownership()

    def __copy__(self) -> "ImagePredictor":
        """An independent predictor that shares backend and cache, and starts with the same image."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__, _ownership=Ownership())
        return other

    @property
    def preparation(self) -> Preparation:
        """How images are prepared."""
        return self.backend.preparation

    @property
    def capabilities(self) -> Capabilities:
        """What the model can do."""
        return self.backend.capabilities

    @property
    def encoder_kind(self) -> str | None:
        """The ``model_type`` of the image encoder's configuration, if known."""
        return self.capabilities.encoder

    @property
    def device(self) -> Any:
        """Where the model runs."""
        return self.backend.device

    @property
    def value_range(self) -> ValueRange:
        """The values that are black and white, unless `set_image` is given others."""
        return self.preparation.value_range

    @property
    def cache_size(self) -> int:
        return self._cache.size

    @cache_size.setter
    def cache_size(self, size: int) -> None:
        self._cache.size, self._windows.size = size, min(size, 1)

    # ------------------------------------------------------------ the image

    def reset_image(self) -> None:
        """Forget the current image (its embedding stays in the cache)."""
        self._ownership.release()
        self._image = HeldImage()

    def set_image(
        self,
        image: ImageSource,
        image_format: str = "RGB",
        value_range: ValueRange = None,
        bands: Bands = None,
        page: int | None = None,
    ) -> None:
        """Encode an image, or take its embedding from the cache.

        image: anything that `read_image` takes, such as an array (H, W, 3) uint8
        image_format: "RGB" or "BGR", the order of the channels of an array
        value_range: the values that are black and white, see `ValueRange`; by default the processor's
        bands: the one or three to use, counted from 0; page: of a TIFF; see `read_image`
        raises: ImageError, after which no image is set
        """
        self.reset_image()
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f'image_format must be "RGB" or "BGR"; got {image_format!r}')
        pixels = read_image(image, range_for(image, value_range, self.value_range), bands, page)
        if image_format == "BGR" and isinstance(image, np.ndarray):
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        self._set(self._encode(pixels))

    def _encode(self, pixels: np.ndarray, cache: EmbeddingCache | None = None) -> HeldImage:
        """(H, W, 3) uint8 -> the image, from the cache if possible."""
        preparation, backend = self.preparation, self.backend
        state = backend.state()

        def make() -> Any:
            return backend.encode(preparation(pixels))

        if state is None:
            encoded = make()
        else:
            key = (hashlib.sha256(pixels).digest(), pixels.shape, preparation, state)
            encoded = (self._cache if cache is None else cache).get(key, make)
        return self._held(encoded, pixels.shape[:2], pixels)

    def _held(self, encoded: Any, original_size: Size, pixels: np.ndarray | None = None) -> HeldImage:
        size, preparation = tuple(map(int, original_size)), self.preparation
        input_size = preparation.size_in_frame(size)
        frame = MaskFrame(preparation.padded_size_in_frame(size), input_size, size, preparation.mask_resize)
        return HeldImage(encoded, self.backend.hold(encoded), size, input_size, pixels, self.backend.placement(), frame)

    def _set(self, image: HeldImage) -> None:
        with self._ownership.lock:
            self._image = image
            self._ownership.claim()

    def _require_image(self) -> HeldImage:
        """The current image, encoded again if the model has been moved or cast since.

        raises: RuntimeError while no image is set; SharedPredictorError
        """
        with self._ownership.lock:
            image, is_lost = self._image, self._ownership.is_lost()
        if is_lost:
            raise SharedPredictorError(
                "another thread or task has set its own image on this predictor since; give each a predictor of its "
                "own (copy.copy(predictor) shares the model)"
            )
        if not image.is_complete:
            raise RuntimeError("no image is set; call set_image first")
        placement = self.backend.placement()
        if image.placement != placement:
            if image.pixels is None:
                raise RuntimeError(
                    f"the model is now on {placement[0]} in {placement[1]}, and the embedding was made on "
                    f"{image.placement[0]} in {image.placement[1]}; set the image again"
                )
            encoded = self._encode(image.pixels)
            with self._ownership.lock:
                if self._image is image:
                    self._image = encoded
            return encoded
        return image

    @property
    def is_image_set(self) -> bool:
        return self._image.is_complete

    @is_image_set.setter
    def is_image_set(self, value: bool) -> None:
        self._set(replace(self._image, is_set=bool(value)))

    @property
    def features(self) -> Any:
        """The embedding of the image, (1, C, h, w); None while no image is set.

        Can be assigned, together with the two sizes. If the decoder of a `SamModel` also reads finer feature maps,
        these are additional channels, so a single array holds all that prompts need.
        """
        return None if self._image.encoded is None else self.backend.to_features(self._image.encoded)

    @features.setter
    def features(self, value: Any) -> None:
        if value is None:
            self._set(replace(self._image, encoded=None, held=None, pixels=None))
            return
        encoded = self.backend.from_features(value)
        placement = self.backend.placement()
        held = self.backend.hold(encoded)
        self._set(replace(self._image, encoded=encoded, held=held, pixels=None, placement=placement))

    @property
    def original_size(self) -> Size | None:
        """(height, width) of the image; None while no image is set. Can be assigned with `features`."""
        return self._image.original_size

    @original_size.setter
    def original_size(self, size: Size | None) -> None:
        size = None if size is None else tuple(map(int, size))
        pixels = self._image.pixels if size == self._image.original_size else None
        self._set(replace(self._image, original_size=size, frame=None, pixels=pixels))

    @property
    def input_size(self) -> Size | None:
        """(height, width) of the resized image; None while no image is set. Can be assigned with `features`."""
        return self._image.input_size

    @input_size.setter
    def input_size(self, size: Size | None) -> None:
        self._set(replace(self._image, input_size=None if size is None else tuple(map(int, size))))

    @property
    def orig_h(self) -> int | None:
        return self.original_size and self.original_size[0]

    @property
    def orig_w(self) -> int | None:
        return self.original_size and self.original_size[1]

    @property
    def input_h(self) -> int | None:
        return self.input_size and self.input_size[0]

    @property
    def input_w(self) -> int | None:
        return self.input_size and self.input_size[1]

    def get_image_embedding(self) -> Any:
        """`features` of the current image: (1, C, h, w). RuntimeError while no image is set."""
        return self.backend.to_features(self._require_image().encoded)

    def save_embedding(self, path: str | Path) -> None:
        """Write the embedding of the current image as a safetensors file, for `load_embedding`.

        raises: OutputError; RuntimeError while no image is set
        """
        image = self._require_image()
        about = {"original_size": image.original_size, "input_size": image.input_size, "model": self.backend.identity()}
        write_embedding(Path(path), self.backend.to_arrays(image.encoded), about)

    def load_embedding(self, path: str | Path) -> None:
        """Set an image from a file written by `save_embedding`, without its pixels.

        raises: CheckpointError for a damaged file, or one of another model or another image preparation; then no
            image is set
        """
        self.reset_image()
        arrays, about = read_embedding(Path(path))
        if about["model"] != self.backend.identity():
            raise CheckpointError(f"{path} was made by another model or with another image preparation; set the image")
        self._set(self._held(self.backend.from_arrays(arrays), about["original_size"]))

    @property
    def mask_frame(self) -> MaskFrame:
        """How low-res masks map to the current image."""
        return self._frame(self._require_image())

    @property
    def mask_side(self) -> int:
        """Side of low-res masks and mask prompts."""
        return self.preparation.mask_side

    def _frame(self, image: HeldImage) -> MaskFrame:
        if image.frame is not None and image.frame.input_size == image.input_size:
            return image.frame
        preparation = self.preparation
        padded = preparation.padded_size_in_frame(image.original_size)
        return MaskFrame(padded, image.input_size, image.original_size, preparation.mask_resize)

    # ------------------------------------------------------------ prompts

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        text: str | None = None,
        tidy: float = 0.0,
        zoom: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of one object.

        point_coords: (P, 2), x then y, in pixels of the image
        point_labels: (P,), 1 object, 0 background
        box: (4,), x0, y0, x1, y1, in pixels of the image; clipped to the image
        mask_input: (1, h, w) low-res logits, usually of the previous prediction
        multimask_output: three masks, for an ambiguous prompt such as a single click, or one mask
        return_logits: logits instead of bool
        hq_token_only: only SAM-HQ's own mask, without SAM's
        text: what to find, such as "a cat", instead of a box; of several such objects, the one with the best detector
            score (`find_text` gives all)
        tidy: share of a mask's area; smaller specks are removed and smaller holes filled, see `ops.tidying.tidy`;
            ``capabilities.tidy`` is the model's recommended value
        zoom: also encode the window around the object, which shows small objects larger (see `zoom`); takes as long as
            `set_image`. Not with ``mask_input``, or if the object is large. Masks are in order, best first; the
            low-res logits are those of the whole image
        returns: masks (M, H, W) bool or float32, predicted IoU (M,) float32, low-res logits (M, h, w) float32
        raises: PromptError; ValueError for ``tidy`` of logits; ModelNotFoundError without a detector; RuntimeError
            while no image is set
        """
        image = self._require_image()
        if tidy and return_logits:
            raise ValueError("tidy works on masks; omit return_logits")
        embedded = None
        if text is not None:
            box, embedded = self._read_text(image, text, box)
        prompts = self._read(image, point_coords, point_labels, box, mask_input, embedded)
        low_res, scores = self._decode(image, prompts, multimask_output, hq_token_only)
        look = Look(low_res[0], scores[0], self._frame(image))
        if zoom:
            look = look.in_order()
        masks, scores = self.backend.enlarge(look.low_res, look.frame, return_logits), look.scores
        if zoom and mask_input is None:
            more = embedded, multimask_output, hq_token_only
            scores = self._look_closer(image, look, masks, point_coords, point_labels, box, *more)
        if tidy:
            masks = np.stack([tidied(mask, tidy, point_coords, point_labels) for mask in masks])
        return masks, scores, look.low_res

    def _look_closer(
        self, image: HeldImage, first: Look, masks: np.ndarray, coords: Any, labels: Any, box: Any, text: Any,
        *options: bool,
    ) -> np.ndarray:  # fmt: skip
        """Improve ``masks`` by another look, at the window around the object, if it is worth it; returns the scores."""
        self._photo(image, "zoom")
        coords = None if coords is None else as_floats(coords, "point_coords", (2,))
        labels = None if labels is None else as_floats(labels, "point_labels", (1,))
        box = None if box is None else as_floats(box, "box", (1, 2)).reshape(4)
        window = closer_window(masks[0] > 0, coords, labels, box)
        if window is None:
            return first.scores
        points, labels, box = inside(window, coords, labels, box)
        if points is None and box is None and text is None:
            return first.scores
        closer = self._window(image, window)
        low_res, scores = self._decode(closer, self._read(closer, points, labels, box, None, text), *options)
        return combine(masks, first, Look(low_res[0], scores[0], self._frame(closer)).in_order(), window)

    def closer(self, window: Window) -> "ImagePredictor":
        """A predictor of a window of the current image, encoded on its own; the embedding of the last window is kept.

        window: x0, y0, x1, y1 in pixels, x1 and y1 exclusive, see `zoom.closer_window`
        raises: PromptError if only the embedding of the image is known; RuntimeError while no image is set
        """
        other = copy.copy(self)
        other._set(self._window(self._require_image(), window))
        return other

    def _window(self, image: HeldImage, window: Window) -> HeldImage:
        x0, y0, x1, y1 = window
        return self._encode(np.ascontiguousarray(self._photo(image, "zoom")[y0:y1, x0:x1]), self._windows)

    def predict_low_res(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`predict` without upscaling the masks, for callers who resize them (see `Upsampler`).

        returns: predicted IoU (M,) float32, low-res logits (M, h, w) float32
        """
        image = self._require_image()
        prompts = self._read(image, point_coords, point_labels, box, mask_input)
        low_res, scores = self._decode(image, prompts, multimask_output)
        return scores[0], low_res[0]

    def predict_each(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of N objects at once; N may be 0.

        point_coords: (N, P, 2), x then y, in pixels of the image; point_labels: (N, P), 1 object, 0 background, -10
            padding
        boxes: (N, 4), x0, y0, x1, y1, in pixels of the image
        mask_input: (N or 1, 1, h, w) low-res logits
        returns: masks (N, M, H, W) bool or float32, predicted IoU (N, M) float32, low-res logits (N, M, h, w) float32
        raises: PromptError for shapes that do not fit (values are not checked); RuntimeError while no image is set
        """
        image = self._require_image()
        sizes = image.original_size, image.input_size
        arrays = [None if v is None else np.asarray(v) for v in (point_coords, point_labels, boxes, mask_input)]
        check_shapes(*arrays)
        points, labels, boxes, masks = arrays
        prompts = Prompts(
            points=None if points is None else scale_points(points, *sizes),
            labels=None if labels is None else labels.astype(np.int64),
            boxes=None if boxes is None else scale_boxes(boxes, *sizes),
            masks=None if masks is None else masks.astype(np.float32),
        )
        low_res, scores = self._decode(image, prompts, multimask_output)
        return self.backend.enlarge(low_res, self._frame(image), return_logits), scores, low_res

    def click_each(
        self, points: np.ndarray, select: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One click for each of many objects, for `SamAutomaticMaskGenerator`: see `ClickPredictor`."""
        image = self._require_image()
        scaled = scale_points(points, image.original_size, image.input_size)
        if not len(scaled):
            low_res, scores = self._nothing(image, True)
            return scores, np.zeros((0, 2), np.int64), low_res[:, 0]
        return self.backend.click_each(image.held, scaled, select, self._frame(image))

    def enlarge(self, low_res: np.ndarray, return_logits: bool = False) -> np.ndarray:
        """Low-res logits (..., h, w) -> masks of the current image, (..., H, W) bool, or float32 logits."""
        return self.backend.enlarge(low_res, self.mask_frame, return_logits)

    def _read(
        self, image: HeldImage, coords: Any, labels: Any, box: Any, mask: Any, text: np.ndarray | None = None
    ) -> Prompts:
        """The prompts of `predict`, checked and scaled. raises: PromptError"""
        side = None if mask is None else self.mask_side
        found = read_prompt(coords, labels, box, mask, image.original_size, image.input_size, side)
        return Prompts(*found, text)

    def _decode(
        self, image: HeldImage, prompts: Prompts, multimask_output: bool, hq_token_only: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Low-res logits (N, M, h, w) and the scores that rank them, (N, M)."""
        able = self.capabilities
        refuse_prompts(able.prompt_kinds, prompts.points, prompts.labels, prompts.boxes, prompts.masks)
        if prompts.text is not None and not able.text:
            raise PromptError("this model takes no text; give points or a box, or use a detector")
        if hq_token_only and not able.hq_token:
            raise ValueError("hq_token_only is for SAM-HQ; this model has no HQ token")
        if not len(prompts):
            return self._nothing(image, multimask_output)
        low_res, iou = self.backend.decode(image.held, prompts, multimask_output, hq_token_only)
        return low_res, self.backend.rank(low_res, iou)

    def _nothing(self, image: HeldImage, multimask_output: bool) -> tuple[np.ndarray, np.ndarray]:
        """Low-res logits and scores for zero objects."""
        height, width = (int(side / self.preparation.mask_stride) for side in self._frame(image).padded_size)
        count = self.capabilities.multimask_count if multimask_output else 1
        return np.zeros((0, count, height, width), np.float32), np.zeros((0, count), np.float32)

    # ------------------------------------------------------------ text

    def find(
        self,
        text: str | Sequence[str] | None = None,
        boxes: Any = None,
        labels: Any = None,
        threshold: float | None = None,
    ) -> "Instances | list[Instances]":
        """Every instance of a concept in the current image, with masks, scores and boxes, best first; possibly none.

        text: a noun phrase, such as "cat with black ears", or several, which are searched separately
        boxes: (K, 4) examples, x0, y0, x1, y1 in pixels of the image, instead of a text or with one
        labels: (K,), 1 (default) for examples, 0 for counterexamples
        threshold: the lowest score, 0.5 by default
        returns: `Instances`, or a list of them for several texts
        raises: PromptError for a model that takes no text, or without a text or an example box;
            RuntimeError while no image is set
        """
        image = self._require_image()
        if text is None or isinstance(text, str):
            return self._find(image, text, boxes, labels, threshold)
        return [self._find(image, each, boxes, labels, threshold) for each in text]

    def _find(
        self, image: HeldImage, text: str | None, boxes: Any, labels: Any, threshold: float | None
    ) -> "Instances":
        if not self.capabilities.concepts:
            raise PromptError(NO_WORDS)
        return self.backend.find(image.encoded, image.original_size, text, boxes, labels, threshold)

    def find_text(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (K, 4) and scores (K,) of everything that ``text`` names in the current image, best first."""
        return self._detector().find(self._photo(self._require_image()), text)

    def _read_text(
        self, image: HeldImage, text: str, box: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """The box of the object that a text names, or the text's embedding (1, 1, D)."""
        if box is not None:
            raise PromptError("text finds its own box; give either text or a box")
        if hasattr(self.text, "embed"):
            return None, self.text.embed(text).detach().float().cpu().numpy()
        return self._detector().best(self._photo(image), text), None

    def _detector(self) -> Any:
        if hasattr(self.text, "embed"):
            raise PromptError("CLIP finds no boxes; create the predictor with a TextDetector")
        if self.text is None:
            self.text = self._default_detector()
        return self.text

    def _default_detector(self) -> Any:
        raise PromptError("exported files take no text; create the predictor with text=TextDetector(...)")

    @staticmethod
    def _photo(image: HeldImage, what: str = "text") -> np.ndarray:
        if image.pixels is None:
            raise PromptError(f"{what} needs the image, and only its embedding was given; use set_image")
        return image.pixels


def independent(predictor: Any) -> Any:
    """A copy that sets images independently of the original; anything but an `ImagePredictor` is returned unchanged."""
    return copy.copy(predictor) if isinstance(predictor, ImagePredictor) else predictor


def check_shapes(points: Any, labels: Any, boxes: Any, masks: Any) -> None:
    """Refuse prompts (arrays or tensors) of N objects whose shapes do not fit each other: PromptError."""
    if (points is None) != (labels is None):
        raise PromptError("point_coords and point_labels belong together; give both or neither")
    counts = {}
    if points is not None:
        if points.ndim != 3 or points.shape[-1] != 2 or labels.shape != points.shape[:2]:
            got = f"{tuple(points.shape)} and {tuple(labels.shape)}"
            raise PromptError(f"point_coords must be (N, P, 2) and point_labels (N, P); got {got}")
        counts["point_coords"] = len(points)
    if boxes is not None:
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise PromptError(f"boxes must be (N, 4); got {tuple(boxes.shape)}")
        counts["boxes"] = len(boxes)
    if masks is not None:
        if masks.ndim != 4 or masks.shape[1] != 1:
            raise PromptError(f"mask_input must be (N, 1, h, w); got {tuple(masks.shape)}")
        if len(masks) != 1:
            counts["mask_input"] = len(masks)
    if len(set(counts.values())) > 1:
        raise PromptError(f"prompts are for different numbers of objects: {counts}")
