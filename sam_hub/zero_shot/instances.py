"""Zero-shot instance segmentation (paper, section 7.4 and appendix D.4): AP of masks from a detector's boxes."""

import os
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..evaluation.prompting import ask
from ..inference.image_predictor import ImagePredictor
from ..ops.files import sha256
from ..ops.masks import mask_to_rle
from .annotated_coco import AnnotatedCoco
from .boxes import open_boxes
from .table import Table, TableRequest, data_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BATCH = 16
TRUTH = "truth"
COCO_STATS = {"ap": 0, "ap_50": 1, "ap_75": 2, "ap_small": 3, "ap_medium": 4, "ap_large": 5}
LVIS_STATS = {"ap": "AP_all", "ap_50": "AP_50", "ap_75": "AP_75", "ap_small": "AP_small", "ap_medium": "AP_medium",
              "ap_large": "AP_large", "ap_rare": "APr", "ap_common": "APc", "ap_frequent": "APf"}  # fmt: skip


def segment_boxes(predictor: ImagePredictor, boxes: np.ndarray) -> np.ndarray:
    """Masks (N, H, W) bool from boxes (N, 4) XYXY on the predictor's current image, in two passes.

    Of a box's three masks, the most confident one is fed back with the box to predict one mask.
    """
    masks = []
    for start in range(0, len(boxes), BATCH):
        part = boxes[start : start + BATCH]
        first = ask(predictor, boxes=part, multimask=True)
        _, low_res = first.choose(first.best())
        second = ask(predictor, boxes=part, mask_input=low_res)
        masks.append(second.masks[:, 0])
    return np.concatenate(masks)


class InstancesTable(Table):
    """Table with one row: mask AP, computed by COCO's method, or LVIS's method for LVIS.

    options: ``boxes``, see `open_boxes`; ``images``, folder of the photos
    """

    TITLE = "Zero-shot instance segmentation (section 7.4)"
    COLUMNS = {
        "name": ("boxes", "where they are from; truth: the annotations' own, an upper bound"),
        "ap": ("AP", "mask AP, mean over IoU 0.50 to 0.95"),
        "ap_50": ("AP50", "at an IoU of 0.50"),
        "ap_75": ("AP75", "at an IoU of 0.75"),
        "ap_small": ("AP S", "objects below 32 x 32 pixels"),
        "ap_medium": ("AP M", "objects below 96 x 96 pixels"),
        "ap_large": ("AP L", "larger objects"),
        "ap_rare": ("AP r", "rare categories of LVIS"),
        "ap_common": ("AP c", "common ones"),
        "ap_frequent": ("AP f", "frequent ones"),
        "masks": ("masks", "one for each box"),
    }

    def __init__(self, request: TableRequest) -> None:
        if len(request.data) != 1:
            raise DataError("--task instances takes one COCO or LVIS .json")
        self.path = Path(request.data[0])
        self.coco = AnnotatedCoco(self.path, request.options.get("images"), request.limit, request.seed)
        self.source = request.options.get("boxes") or TRUTH
        self.boxes = open_boxes(self.source, self.coco)
        self.NEEDS = ("faster_coco_eval",) if self.coco.is_lvis else ()

    def settings(self) -> dict[str, Any]:
        boxes = sha256(self.source)[:16] if os.path.isfile(self.source) else self.source
        protocol = {"boxes": boxes, "rounds": 2, "style": "lvis" if self.coco.is_lvis else "coco"}
        return {"protocol": protocol, "data": {self.path.name: data_hash(self.coco.path)}}

    def refuse(self, predictor: ImagePredictor) -> None:
        if not {"boxes", "masks"} <= set(predictor.capabilities.prompt_kinds):
            raise DataError("the model does not take a box together with a mask, which the second round needs")

    def items(self) -> Sequence[str]:
        return self.coco.ids()

    def measure(self, predictor: ImagePredictor, item: str) -> dict[str, Any]:
        image = self.coco.image(item)
        boxes = self.boxes(item, image, self.coco.annotations(item, image.shape[:2]))
        results = []
        if boxes:
            predictor.set_image(image)
            masks = segment_boxes(predictor, np.array([box.xyxy for box in boxes]))
            results = [
                {"category_id": box.category, "segmentation": mask_to_rle(mask), "score": box.score}
                for box, mask in zip(boxes, masks, strict=True)
            ]
        return {"count": len(results), "size": list(image.shape[:2]), "results": results}

    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        annotations = [a for key, part in parts.items() for a in self.coco.annotations(key, tuple(part["size"]))]
        document = self.coco.document(annotations)
        numbers = {key: k for k, key in enumerate(self.coco.ids(), start=1)}
        results = [{**r, "image_id": numbers[key]} for key, part in parts.items() for r in part["results"]]
        chosen = [numbers[key] for key in parts]
        name = os.path.basename(self.source)
        scores = average_precision(document, results, chosen, self.coco.is_lvis)
        return [{"name": name, **scores, "masks": len(results)}]

    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        (row,) = report["rows"]
        names = [name for name in self.COLUMNS if name.startswith("ap") and row.get(name) is not None]
        bars = axes.bar([self.COLUMNS[name][0] for name in names], [row[name] for name in names])
        axes.bar_label(bars, fmt="%.3f", fontsize=8)
        title = f"{report['title']}, {report['settings']['model']}, boxes: {row['name']}"
        axes.set(ylim=(0, 1), ylabel="mask AP", title=title)


def average_precision(
    document: dict[str, Any], results: list[dict[str, Any]], images: Sequence[int], lvis: bool
) -> dict[str, float | None]:
    """Mask AP of COCO results, from pycocotools or lvis; None if there are no such objects."""
    names = LVIS_STATS if lvis else COCO_STATS
    if not results or not document["annotations"]:
        return dict.fromkeys(names, 0.0 if document["annotations"] else None)
    results = [dict(result) for result in results]  # the libraries modify them
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        if lvis:
            from faster_coco_eval import COCO, COCOeval_faster

            truth = COCO(document)
            evaluation = COCOeval_faster(truth, truth.loadRes(results), "segm", lvis_style=True, print_function=str)
        else:
            from pycocotools.coco import COCO
            from pycocotools.cocoeval import COCOeval

            truth = COCO()
            truth.dataset = document
            truth.createIndex()
            evaluation = COCOeval(truth, truth.loadRes(results), "segm")
        evaluation.params.imgIds = list(images)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stats = evaluation.stats_as_dict if lvis else evaluation.stats
    found = {name: float(stats[key]) for name, key in names.items()}
    return {name: value if value >= 0 else None for name, value in found.items()}
