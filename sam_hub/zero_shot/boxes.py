"""Boxes to segment: from a COCO results file, a detector of ``transformers``, or the annotations."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import DataError, ModelNotFoundError
from .annotated_coco import AnnotatedCoco

MOST, LEAST_SCORE = 100, 0.05
"""Boxes per image that count in COCO's AP, and the score threshold of detectors."""


@dataclass(frozen=True)
class ScoredBox:
    """x0, y0, x1, y1 in pixels, the category's id and the detector's score."""

    xyxy: tuple[float, float, float, float]
    category: Any
    score: float


class BoxSource(Protocol):
    def __call__(self, key: str, image: np.ndarray, annotations: Sequence[Mapping[str, Any]]) -> list[ScoredBox]: ...


def open_boxes(what: str, coco: AnnotatedCoco) -> BoxSource:
    """what: "truth", the path of a .json, or a detector's name. raises: DataError, ModelNotFoundError"""
    if what == "truth":
        return true_boxes
    if what.endswith(".json"):
        return ResultsFile(Path(what), coco)
    return Detector(what, coco)


def true_boxes(key: str, image: np.ndarray, annotations: Sequence[Mapping[str, Any]]) -> list[ScoredBox]:
    """Ground-truth boxes, an upper bound for detectors; without crowds."""
    return [
        ScoredBox(_corners(a["bbox"]), a["category_id"], 1.0)
        for a in annotations
        if not a["iscrowd"] and min(a["bbox"][2:]) > 0
    ]


class ResultsFile:
    """A COCO results file: a list of ``image_id``, ``category_id``, ``bbox`` (x, y, w, h) and ``score``.

    raises: DataError if the file is invalid, or has images or categories missing from the annotations
    """

    def __init__(self, path: Path, coco: AnnotatedCoco) -> None:
        self.boxes: dict[str, list[ScoredBox]] = {}
        try:
            records = json.loads(path.read_text("utf-8"))
            if not isinstance(records, list):
                raise TypeError("it is no list")
            for record in records:
                box = ScoredBox(_corners(record["bbox"]), record["category_id"], float(record["score"]))
                self.boxes.setdefault(str(record["image_id"]), []).append(box)
        except (OSError, ValueError, KeyError, TypeError) as e:
            raise DataError(
                f"{path} is not a COCO results file ({e}); expected a list of image_id, category_id, bbox and score"
            ) from e
        if not self.boxes:
            raise DataError(f"{path} holds no boxes; run the detector again")
        if strange := sorted(set(self.boxes) - coco.known):
            raise DataError(
                f"{path} is for other images, such as {strange[0]}, which is not in {coco.path.name}; "
                "give the results on these annotations"
            )
        known = {c["id"] for c in coco.categories}
        if strange := {b.category for boxes in self.boxes.values() for b in boxes} - known:
            raise DataError(f"{path} has category {min(strange, key=str)}, which {coco.path.name} does not know")

    def __call__(self, key: str, image: np.ndarray, annotations: Sequence[Mapping[str, Any]]) -> list[ScoredBox]:
        return _best(self.boxes.get(key, []), image)


class Detector:
    """A detector of ``transformers`` (AutoModelForObjectDetection) whose labels are names of the categories.

    raises: ModelNotFoundError if it cannot be loaded, DataError if it has none of the categories
    """

    def __init__(self, name: str, coco: AnnotatedCoco) -> None:
        from transformers import AutoImageProcessor, AutoModelForObjectDetection

        try:
            self.model = AutoModelForObjectDetection.from_pretrained(name).eval()
            self.processor = AutoImageProcessor.from_pretrained(name)
        except (OSError, ValueError, ImportError) as e:
            why = str(e).splitlines()[0]
            raise ModelNotFoundError(
                f"the detector {name} could not be loaded ({why}); give --boxes a folder or Hub id of one, a results "
                ".json, or truth"
            ) from e
        ids = {str(c.get("name", "")).lower(): c["id"] for c in coco.categories}
        labels = self.model.config.id2label
        self.category = {int(k): ids[str(v).lower()] for k, v in labels.items() if str(v).lower() in ids}
        if not self.category:
            raise DataError(f"the detector {name} knows none of the categories of {coco.path.name}")

    def __call__(self, key: str, image: np.ndarray, annotations: Sequence[Mapping[str, Any]]) -> list[ScoredBox]:
        import torch

        inputs = self.processor(images=image, return_tensors="pt").to(self.model.device)
        with torch.no_grad():
            outputs = self.model(**inputs)
        (found,) = self.processor.post_process_object_detection(
            outputs, threshold=LEAST_SCORE, target_sizes=[image.shape[:2]]
        )
        boxes = [
            ScoredBox(tuple(box), self.category[label], score)
            for box, label, score in zip(
                found["boxes"].tolist(), found["labels"].tolist(), found["scores"].tolist(), strict=True
            )
            if label in self.category
        ]
        return _best(boxes, image)


def _corners(bbox: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, bbox)
    return x, y, x + w, y + h


def _best(boxes: Sequence[ScoredBox], image: np.ndarray) -> list[ScoredBox]:
    """Boxes clipped to the image, with nonzero area, by descending score, at most LVIS's 300."""
    height, width = image.shape[:2]
    inside = []
    for box in boxes:
        x0, y0, x1, y1 = box.xyxy
        clipped = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
        if clipped[2] > clipped[0] and clipped[3] > clipped[1]:
            inside.append(ScoredBox(clipped, box.category, box.score))
    return sorted(inside, key=lambda box: -box.score)[: 3 * MOST]
