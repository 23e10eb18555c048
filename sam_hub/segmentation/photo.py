"""Predicts the masks of one photo, and converts them to the requested files."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import results
from ..errors import PromptError
from ..labels.images import ImageLabels
from ..ops.drawing import draw_masks, draw_prompts
from ..ops.mask_prompt import mask_prompt
from ..ops.tidying import tidy
from ..rasters.opening import georeference_of
from .outputs import Format, ResultFile
from .prompts import Prompt

if TYPE_CHECKING:
    from ..inference.predictor import SamPredictor


@dataclass(frozen=True)
class SegmentedPhoto:
    """The masks of one photo.

    image: (H, W, 3) uint8
    prompts: one for each object
    masks, scores: (object, candidate) -> (H, W) bool and its predicted IoU; candidates are in order, best first
    seconds: for encoding the photo and decoding all prompts
    """

    path: Path
    image: np.ndarray
    prompts: Sequence[Prompt]
    masks: dict[tuple[int, int], np.ndarray]
    scores: dict[tuple[int, int], float]
    seconds: float

    @property
    def candidates(self) -> int:
        """Number of masks per object."""
        return len(self.masks) // len(self.prompts)

    def content(self, file: ResultFile) -> bytes:
        """The content of a file."""
        masks = [self.masks[key] for key in file.masks]
        if file.kind is None:
            return results.jpeg(self.drawn(masks))
        if file.kind is Format.png:
            return results.mask_png(masks[0])
        if file.kind is Format.cutout:
            return results.cutout_png(self.image, masks[0])
        if file.kind is Format.svg:
            return results.outlines_svg(masks)
        return results.json_bytes(self.document())

    def document(self) -> dict[str, Any]:
        """All masks as in SA-1B."""
        records = [
            results.annotation(mask, number, predicted_iou=self.scores[key], **self.prompts[key[0]].facts())
            for number, (key, mask) in enumerate(self.masks.items(), start=1)
        ]
        return results.sa1b_document(self.path.name, self.image.shape[:2], records)

    def labels(self) -> ImageLabels:
        """All masks, for other tools' files."""
        labels = ImageLabels.from_document(self.document(), self.path, self.path.stem)
        place = georeference_of(self.path)
        return labels if place is None else replace(labels, georeference=asdict(place))

    def answer(self, files: Sequence[ResultFile]) -> dict[str, Any]:
        """The facts for ``--json``, without pixels."""
        document = self.document()
        masks = []
        for (i, j), record in zip(self.masks, document["annotations"], strict=True):
            facts = {k: v for k, v in record.items() if k not in ("id", "segmentation")}
            masks.append({"object": i + 1, "candidate": j + 1, **facts})
        files = [
            {
                "path": str(file.path),
                "format": file.kind.value if file.kind else "overlay",
                "masks": [[i + 1, j + 1] for i, j in file.masks],
            }
            for file in files
        ]
        size = {k: document["image"][k] for k in ("width", "height")}
        return {"image": str(self.path), **size, "seconds": round(self.seconds, 3), "masks": masks, "files": files}

    def summary(self) -> str:
        """One line for a person."""
        best = [
            f"{self.scores[key]:.2f}" if mask.any() else "nothing found"
            for key, mask in self.masks.items()
            if not key[1]
        ]
        found = f"predicted IoU {', '.join(best)}" if any(m.any() for m in self.masks.values()) else "nothing found"
        return f"{self.path}: {found} ({self.seconds:.2f} s)"

    def drawn(self, masks: Sequence[np.ndarray]) -> np.ndarray:
        """The photo with one candidate of each object, and the prompts."""
        points = [xy for prompt in self.prompts for xy in prompt.points]
        labels = [label for prompt in self.prompts for label in prompt.labels]
        boxes = [prompt.box for prompt in self.prompts if prompt.box]
        return draw_prompts(draw_masks(self.image, masks), np.reshape(points, (-1, 2)), np.array(labels), boxes)


def find_in_photo(
    predictor: "SamPredictor",
    path: Path,
    image: np.ndarray,
    text: str,
    threshold: float | None = None,
    share: float = 0.0,
) -> SegmentedPhoto:
    """Encode a photo and find all instances of a concept, with a model that supports text.

    threshold: minimum score; default: the model's; share: as for `segment_photo`
    raises: PromptError if nothing is found
    """
    start = perf_counter()
    predictor.set_image(image)
    found = predictor.find(text, threshold=threshold)
    if not len(found):
        raise PromptError(f"nothing in it matches {text!r}; use other words or a lower --threshold")
    prompts, masks, scores = [], {}, {}
    for i, (mask, score, box) in enumerate(found):
        prompts.append(Prompt(box=tuple(map(float, box)), text=text))
        masks[i, 0], scores[i, 0] = tidy(mask, share) if share else mask, score
    return SegmentedPhoto(path, image, prompts, masks, scores, perf_counter() - start)


def segment_photo(
    predictor: "SamPredictor",
    path: Path,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    rough: np.ndarray | None,
    multimask: bool,
    share: float = 0.0,
    zoom: bool = False,
) -> SegmentedPhoto:
    """Encode a photo and decode its prompts.

    rough: (H, W) bool, a mask prompt for the only object
    multimask: keep all candidates; otherwise the best. Single clicks and words are ambiguous, so candidates are always
        predicted for them; other prompts are precise, and SAM's single mask is better for them.
    share: of a mask's area; smaller specks and holes are removed, see `tidy`
    zoom: look again at the window around each object, see `ImagePredictor.predict`
    """
    start = perf_counter()
    predictor.set_image(image)
    low_res = None if rough is None else mask_prompt(rough, predictor.mask_side)
    masks, scores = {}, {}
    for i, prompt in enumerate(prompts):
        ambiguous = len(prompt.points) + bool(prompt.text) == 1 and prompt.box is None and rough is None
        found, iou, _ = predictor.predict(
            point_coords=np.array(prompt.points) if prompt.points else None,
            point_labels=np.array(prompt.labels) if prompt.points else None,
            box=np.array(prompt.box) if prompt.box else None,
            mask_input=low_res,
            multimask_output=multimask or ambiguous,
            tidy=share,
            zoom=zoom,
            **({"text": prompt.text} if prompt.text else {}),
        )
        order = np.argsort(-iou, kind="stable")
        for j, k in enumerate(order if multimask else order[:1]):
            masks[i, j], scores[i, j] = found[k], float(iou[k])
    return SegmentedPhoto(path, image, prompts, masks, scores, perf_counter() - start)
