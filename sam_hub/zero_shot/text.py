"""Zero-shot text to mask (paper, section 7.5), measured with category names as prompts."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError, PromptError
from ..evaluation.metrics import mask_iou
from ..evaluation.prompting import ask
from ..inference.image_predictor import ImagePredictor
from ..ops.masks import rle_to_mask
from .annotated_coco import AnnotatedCoco
from .table import Table, TableRequest, data_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ABSENT = 3
"""Number of absent categories prompted for in each image."""
SHOWN = 20


def masks_of_words(predictor: ImagePredictor, words: str) -> np.ndarray:
    """Masks (K, H, W) bool for words in the predictor's current image; K may be 0.

    A concept model gives all instances; a model trained on CLIP embeddings gives its most confident mask; otherwise a
    detector finds boxes, and the model segments each.
    raises: PromptError if neither model nor detector supports text
    """
    size = predictor.original_size
    if predictor.text is None and predictor.capabilities.concepts:
        return np.asarray(predictor.find(words).masks)
    if hasattr(predictor.text, "embed"):
        masks, scores, _ = predictor.predict(text=words)
        return masks[[int(scores.argmax())]]
    boxes, _ = predictor.find_text(words)
    return ask(predictor, boxes=boxes).masks[:, 0] if len(boxes) else np.zeros((0, *size), bool)


class TextTable(Table):
    """Table with one row: mean IoU over categories present in an image, and false masks for absent ones.

    options: ``detector``, a folder or Hub id; ``images``, folder of the photos
    """

    TITLE = "Zero-shot text to mask (section 7.5)"
    COLUMNS = {
        "name": ("words by", "what understands them"),
        "miou": ("mIoU", "IoU of the best mask with the category's best object, or all of them, mean over asked words"),
        "found": ("found", "share of categories present for which there is a mask"),
        "false_masks": ("false masks", f"mean for a category that is absent, {ABSENT} of them for each image"),
        "present": ("present", "categories present, over all images"),
        "absent": ("absent", "categories absent that were asked for"),
    }

    def __init__(self, request: TableRequest) -> None:
        if len(request.data) != 1:
            raise DataError("--task text takes one COCO .json")
        self.request, self.path = request, Path(request.data[0])
        self.coco = AnnotatedCoco(self.path, request.options.get("images"), request.limit, request.seed)
        self.names = {
            c["id"]: " ".join(str(c.get("name") or "").replace("_", " ").split()) for c in self.coco.categories
        }
        if not all(self.names.values()):
            raise DataError(f"{self.coco.path} has a category without a name; --task text asks for names")
        self.detector = request.options.get("detector")

    def settings(self) -> dict[str, Any]:
        protocol = {"detector": self.detector, "absent": ABSENT}
        return {"protocol": protocol, "data": {self.path.name: data_hash(self.coco.path)}}

    def refuse(self, predictor: ImagePredictor) -> None:
        self._understand(predictor)

    def _understand(self, predictor: ImagePredictor) -> None:
        """Give the predictor a text encoder or a detector, as needed."""
        if predictor.text is not None or (predictor.capabilities.concepts and not self.detector):
            return
        from ..inference.text import DETECTOR, TextDetector

        predictor.text = TextDetector.from_pretrained(self.detector or DETECTOR, predictor.device)

    def items(self) -> Sequence[str]:
        return self.coco.ids()

    def measure(self, predictor: ImagePredictor, item: str) -> dict[str, Any]:
        self._understand(predictor)
        image = self.coco.image(item)
        annotations = [a for a in self.coco.annotations(item, image.shape[:2]) if a["category_id"] in self.names]
        present = sorted({a["category_id"] for a in annotations}, key=str)
        rest = [key for key in self.names if key not in present]
        rng = np.random.default_rng([self.request.seed, self.coco.records[item]])
        absent = [rest[i] for i in sorted(rng.permutation(len(rest))[:ABSENT].tolist())]
        predictor.set_image(image)
        scores = {}
        for key in present:
            truth = np.array([rle_to_mask(a["segmentation"]) for a in annotations if a["category_id"] == key])
            scores[self.names[key]] = best_iou(self._masks(predictor, key), truth)
        false = {self.names[key]: len(self._masks(predictor, key)) for key in absent}
        return {"count": len(scores), "present": scores, "absent": false}

    def _masks(self, predictor: ImagePredictor, key: Any) -> np.ndarray:
        try:
            return masks_of_words(predictor, self.names[key])
        except PromptError as e:
            raise DataError(str(e)) from e

    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        ious = [iou for part in parts.values() for iou in part["present"].values()]
        false = [count for part in parts.values() for count in part["absent"].values()]
        if not ious:
            raise DataError(f"no image of {self.coco.path} has an object with a category; give other annotations")
        return [
            {
                "name": self.detector or "default",
                "miou": float(np.mean([iou or 0.0 for iou in ious])),
                "found": float(np.mean([iou is not None for iou in ious])),
                "false_masks": float(np.mean(false)) if false else None,
                "present": len(ious),
                "absent": len(false),
            }
        ]

    def extra(self, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        by_name: dict[str, list[float]] = {}
        for part in parts.values():
            for name, iou in part["present"].items():
                by_name.setdefault(name, []).append(iou or 0.0)
        return {"categories": {n: {"images": len(v), "miou": float(np.mean(v))} for n, v in sorted(by_name.items())}}

    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        most = sorted(report["categories"].items(), key=lambda one: (-one[1]["images"], one[0]))[:SHOWN]
        axes.bar([name for name, _ in most], [one["miou"] for _, one in most])
        axes.tick_params(axis="x", rotation=60, labelsize=7)
        axes.set(ylim=(0, 1), ylabel="mIoU", title=f"{report['title']}, {report['settings']['model']}")


def best_iou(masks: np.ndarray, truth: np.ndarray) -> float | None:
    """Highest IoU of any of masks (K, H, W) with any of a category's objects (N, H, W), or with their union.

    None if there is no mask.
    """
    if not len(masks):
        return None
    whole = [*truth, truth.any(0)] if len(truth) > 1 else list(truth)
    return float(max(mask_iou(masks, one).max() for one in whole))
