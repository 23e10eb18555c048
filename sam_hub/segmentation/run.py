"""The work of ``sam-hub segment``: segments photos one after the other, and writes masks."""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, PromptError, WrongUsage
from ..labels.coco import coco_parts
from ..labels.formats import takes
from ..labels.writing import write_labels
from ..ops.bands import Bands
from ..ops.files import make_folder, write_atomically
from ..ops.images import read_image
from ..ops.masks import mask_to_box
from ..ops.value_range import ValueRange
from ..results import coco_document, json_bytes
from ..tiling.picture import Picture
from .outputs import OF_ALL, Destination, Format, ResultFile
from .photo import SegmentedPhoto, find_in_photo, segment_photo
from .prompts import Prompt, parse_prompts
from .windowed import segment_in_windows

if TYPE_CHECKING:
    from ..inference.image_predictor import ImagePredictor

CANDIDATES = 3
"""Number of masks that SAM predicts for an ambiguous prompt."""

SEVERAL = 2
"""Assumed number of objects for text prompts, for file names: more than one."""


@dataclass(frozen=True)
class Request:
    """What to segment in each photo.

    prompts: one for each object; none for text prompts
    rough: (H, W) bool, a mask prompt for the only object; rough_path: its file
    text: words, for a model that understands them, a detector (``detector``) or a model that learnt CLIP (``clip``)
    threshold: minimum score for text prompts, instead of the model's or the detector's
    multimask: keep every candidate
    tidy: share of a mask's area; smaller specks and holes are removed; default: the model's
    value_range, bands, page: see `read_image`
    window: side in pixels; only the window around each prompt is read and encoded
    zoom: look again at the window around each object, see `ImagePredictor.predict`; default: the model's
    """

    prompts: Sequence[Prompt] = ()
    rough: np.ndarray | None = None
    rough_path: Path | None = None
    text: str | None = None
    detector: str | None = None
    clip: str | None = None
    threshold: float | None = None
    multimask: bool = False
    tidy: float | None = None
    value_range: ValueRange = None
    bands: Bands = None
    page: int | None = None
    window: int | None = None
    zoom: bool | None = None

    @classmethod
    def parse(
        cls, points: Sequence[str], boxes: Sequence[str], mask: Path | None, text: str | None, **options: Any
    ) -> "Request":
        """From prompts of the command line.

        raises: WrongUsage for an invalid combination
        """
        if options.get("window") is not None and (text is not None or mask is not None):
            raise WrongUsage("--window needs points or a box; omit --text and --mask")
        if options.get("zoom") and mask is not None:
            raise WrongUsage("--zoom needs points or a box, not a mask; omit one of them")
        if text is not None and not text.strip():
            raise WrongUsage('--text is empty; name what to find, for example --text "a cat"')
        if text is not None and (points or boxes or mask):
            raise WrongUsage("--text finds its own boxes; give either a text, or points, boxes and a mask")
        if options.get("clip") is not None and (text is None or options.get("detector") is not None):
            raise WrongUsage("--clip needs --text, and replaces --detector")
        if text is not None:
            prompts = [Prompt(text=text)] if options.get("clip") else []
        else:
            prompts = parse_prompts(points, boxes, mask is not None)
        return cls(prompts, rough_path=mask, text=text, **options)

    @property
    def objects(self) -> int:
        """How many objects a photo may have, for names of files."""
        return len(self.prompts) or SEVERAL

    @property
    def candidates(self) -> int:
        """How many masks an object may have."""
        return CANDIDATES if self.multimask else 1

    def with_rough_mask(self) -> "Request":
        """Add the mask of ``rough_path``, whose box is the prompt if there is no other. raises: PromptError"""
        if self.rough_path is None:
            return self
        rough = read_image(self.rough_path).max(axis=-1) > 127
        if not rough.any():
            raise PromptError(f"the mask {self.rough_path} is empty; paint the object in white on black")
        prompts = self.prompts
        if not any(prompt.points or prompt.box for prompt in prompts):
            x0, y0, x1, y1 = mask_to_box(rough).tolist()
            prompts = [Prompt(box=(x0, y0, x1 + 1, y1 + 1))]  # exclusive right and bottom edges
        return replace(self, rough=rough, prompts=prompts)

    def check(self, size: tuple[int, int]) -> None:
        """Check the prompts against an image of (H, W). raises: PromptError"""
        for prompt in self.prompts:
            prompt.check(size)
        if self.rough is not None and self.rough.shape != size:
            sizes = (f"{width} x {height} pixels" for height, width in (self.rough.shape, size))
            raise PromptError(
                "the mask {} is {} and the image {}; they must be the same size".format(self.rough_path, *sizes)
            )


@dataclass
class Segmenter:
    """Applies a request to photos; the model is loaded after the first photo passes its checks.

    load: makes the predictor
    """

    request: Request
    load: "Callable[[], ImagePredictor]"
    predictor: "ImagePredictor | None" = None
    _detector: Any = field(default=None, init=False)

    def __call__(self, path: Path) -> SegmentedPhoto:
        """raises: ImageError, PromptError"""
        request = self.request
        if request.window is not None:
            return self._in_windows(path)
        value_range = self._value_range()
        image = read_image(path, value_range, request.bands, request.page)
        request.check(image.shape[:2])
        self.predictor = self.predictor or self.load()
        if self._value_range() != value_range:  # the model just loaded has its own
            image = read_image(path, self._value_range(), request.bands, request.page)
        share, zoom = self._refinements()
        prompts = request.prompts
        if request.text is not None and self.predictor.capabilities.concepts and not (request.clip or request.detector):
            if request.zoom:
                raise WrongUsage("this model finds objects by words itself, without --zoom; omit it")
            return find_in_photo(self.predictor, path, image, request.text, request.threshold, share)
        if request.clip is not None:
            self._learn_words()
        elif request.text is not None:
            prompts = self._find_words(image)
        return segment_photo(self.predictor, path, image, prompts, request.rough, request.multimask, share, zoom)

    @property
    def photos_at_once(self) -> int:
        """Best number of photos to segment in parallel; 1 until the model is loaded."""
        return getattr(getattr(self.predictor, "backend", None), "photos_at_once", 1)

    def beside(self) -> "Segmenter":
        """A segmenter for another thread, with the same model and its own image."""
        return replace(self, predictor=copy.copy(self.predictor))

    def _refinements(self) -> tuple[float, bool]:
        """``tidy`` and ``zoom``: as requested, or the model's own."""
        request, own = self.request, self.predictor.capabilities
        return own.tidy if request.tidy is None else request.tidy, own.zoom if request.zoom is None else request.zoom

    def _value_range(self) -> ValueRange:
        return self.request.value_range or getattr(self.predictor, "value_range", None)

    def _in_windows(self, path: Path) -> SegmentedPhoto:
        request = self.request
        if self.predictor is None:
            with Picture(path, request.value_range, request.bands, request.page) as picture:
                request.check(picture.size)
            self.predictor = self.load()
        with Picture(path, self._value_range(), request.bands, request.page) as picture:
            request.check(picture.size)
            share, zoom = self._refinements()
            return segment_in_windows(
                self.predictor, path, picture, request.prompts, request.window, request.multimask, share, zoom
            )

    def _learn_words(self) -> None:
        """Give the predictor the CLIP model that embeds the words."""
        from ..inference.text import ClipText

        if not self.predictor.capabilities.text:
            raise PromptError("this model takes no text; omit --clip to use a detector")
        self.predictor.text = self.predictor.text or ClipText.from_pretrained(self.request.clip, self.predictor.device)

    def _find_words(self, image: np.ndarray) -> list[Prompt]:
        """A box for each object that the words name. raises: PromptError if there is none"""
        from ..inference.text import DETECTOR, THRESHOLD, TextDetector

        if self._detector is None:
            name, device = self.request.detector or DETECTOR, self.predictor.device
            threshold = THRESHOLD if self.request.threshold is None else self.request.threshold
            self._detector = TextDetector.from_pretrained(name, device, threshold=threshold)
        boxes, _ = self._detector.find(image, self.request.text)
        if not len(boxes):
            raise PromptError(f"nothing in it matches {self.request.text!r}; use other words or a lower --threshold")
        return [Prompt(box=tuple(map(float, box))) for box in boxes]


@dataclass(frozen=True)
class PhotoResult:
    """The result of one photo: masks and written files, or the error."""

    path: Path
    photo: SegmentedPhoto | None = None
    files: Sequence[ResultFile] = ()
    error: ImageError | PromptError | None = None


def segment_photos(
    images: Sequence[Path], segmenter: Segmenter, to: Destination, raises: bool
) -> Iterator[PhotoResult]:
    """Segment each photo, in order, and write all of its files, or none.

    If the backend supports it, the next photos are segmented in parallel.
    raises: propagate errors instead of returning them in the result
    """
    with closing(in_turn(images, segmenter)) as turns:
        for path, wait in turns:
            try:
                photo = wait()
            except (ImageError, PromptError) as e:
                if raises:
                    raise
                yield PhotoResult(path, error=e)
                continue
            files = to.results(path, len(photo.prompts), photo.candidates)
            contents = [photo.content(file) for file in files]
            make_folder(to.folder)
            for file, content in zip(files, contents, strict=True):
                write_atomically(file.path, content)
            yield PhotoResult(path, photo, files)


def in_turn(images: Sequence[Path], segmenter: Segmenter) -> Iterator[tuple[Path, Callable[[], SegmentedPhoto]]]:
    """Yield each photo and a function that waits for its masks; as many photos as run in parallel are started ahead."""
    waiting = deque(images)
    while waiting and (segmenter.photos_at_once == 1 or len(waiting) == 1):  # until the model is loaded at least
        path = waiting.popleft()
        yield path, partial(segmenter, path)
    if not waiting:
        return
    pool = ThreadPoolExecutor(segmenter.photos_at_once, thread_name_prefix="sam-hub-photo")
    begun: deque[tuple[Path, Future[SegmentedPhoto]]] = deque()
    try:
        while waiting or begun:
            while waiting and len(begun) <= segmenter.photos_at_once:
                path = waiting.popleft()
                begun.append((path, pool.submit(segmenter.beside(), path)))
            path, future = begun.popleft()
            yield path, future.result
    finally:
        pool.shutdown(cancel_futures=True)


def write_label_files(
    to: Destination, photos: Sequence[SegmentedPhoto], polygons: bool = False, non_overlapping: bool = False
) -> list[Path]:
    """Write the requested files for all photos: coco.json, and other tools' formats in folders of their names.

    polygons, non_overlapping: see `write_labels`, for formats that support them
    returns: their paths, coco.json first
    raises: DataError for masks that a format cannot represent, OutputError
    """
    images = [photo.labels() for photo in photos]
    written = []
    if images and (path := to.coco_path()):
        make_folder(to.folder)
        if polygons:
            write_atomically(path, coco_parts(images, polygons))
        else:
            write_atomically(path, json_bytes(coco_document(photo.document() for photo in photos)))
        written.append(path)
    for kind in to.formats if images else ():
        if kind in OF_ALL and kind is not Format.coco:
            options = {"polygons": polygons, "non_overlapping": non_overlapping}
            options = {name: value for name, value in options.items() if takes(kind, name)}
            written += write_labels(images, to.folder / kind, kind, **options)
    return written
