"""Zero-shot object proposals (paper, section 7.3 and appendix D.3): recall of objects by 1000 masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..inference.amg import SamAutomaticMaskGenerator
from ..inference.image_predictor import ImagePredictor
from .annotated_coco import FREQUENCIES, AnnotatedCoco
from .table import Table, TableRequest, data_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 1000
AREAS = {"all": (0, 1e10), "small": (0, 32**2), "medium": (32**2, 96**2), "large": (96**2, 1e10)}
IOUS = np.linspace(0.5, 0.95, 10)


def rank_proposals(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The best `MOST` records of everything mode, by mean of confidence and stability, as COCO results."""
    scores = [(r["predicted_iou"] + r["stability_score"]) / 2 for r in records]
    order = np.argsort(-np.array(scores), kind="stable")[:MOST]
    return [{"segmentation": records[i]["segmentation"], "score": float(scores[i])} for i in order]


def count_recalled(
    proposals: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], frequency: Mapping[Any, str]
) -> dict[str, list[int]]:
    """Count the recalled objects of one image, category-agnostic, with pycocotools' matching.

    proposals: ``segmentation`` as compressed RLE, ``score``; frequency: of each category, if known
    returns: for each of `AREAS` and each frequency group, the number of objects, and of those recalled at each of
        `IOUS`
    """
    from pycocotools import mask as coco_mask
    from pycocotools.cocoeval import COCOeval

    objects = [{**a, "id": k} for k, a in enumerate(annotations, start=1)]
    found = [{**p, "id": k, "area": float(coco_mask.area(p["segmentation"]))} for k, p in enumerate(proposals, start=1)]
    evaluation = COCOeval(iouType="segm")
    evaluation.params.imgIds, evaluation.params.catIds, evaluation.params.useCats = [1], [1], 0
    evaluation.params.maxDets, evaluation.params.iouThrs = [MOST], IOUS
    evaluation._gts[1, 1] = [{**o, "ignore": o["iscrowd"]} for o in objects]
    evaluation._dts[1, 1] = found
    evaluation.ious = {(1, -1): evaluation.computeIoU(1, -1)}
    counts = {name: _count(evaluation, AREAS[name]) for name in AREAS}
    for letter in FREQUENCIES if frequency else ():
        for o in evaluation._gts[1, 1]:
            o["ignore"] = o["iscrowd"] or frequency.get(o["category_id"]) != letter
        counts[FREQUENCIES[letter]] = _count(evaluation, AREAS["all"])
    return counts


def _count(evaluation: Any, area: tuple[float, float]) -> list[int]:
    answer = evaluation.evaluateImg(1, -1, list(area), MOST)
    if answer is None:
        return [0] * (1 + len(IOUS))
    counted = ~np.array(answer["gtIgnore"], bool)
    return [int(counted.sum()), *(np.array(answer["gtMatches"])[:, counted] > 0).sum(1).tolist()]


class ProposalsTable(Table):
    """Table with one row: mask AR@1000 over all objects, by size, and for LVIS by frequency.

    options: ``points_per_side`` of the grid; ``images``, folder of the photos
    """

    TITLE = "Zero-shot object proposals (section 7.3)"
    COLUMNS = {
        "name": ("model", "what made the proposals"),
        **{
            name: (name, f"mask AR@1000, {name} objects, category-agnostic") for name in (*AREAS, *FREQUENCIES.values())
        },
        "objects": ("objects", "that were looked for"),
        "proposals": ("proposals", "mean of an image, at most 1000"),
    }

    def __init__(self, request: TableRequest) -> None:
        if len(request.data) != 1:
            raise DataError("--task proposals takes one COCO or LVIS .json")
        self.request, self.path = request, Path(request.data[0])
        self.coco = AnnotatedCoco(self.path, request.options.get("images"), request.limit, request.seed)
        self.points_per_side = request.options.get("points_per_side") or 64
        self.frequency = {c["id"]: c.get("frequency") for c in self.coco.categories} if self.coco.is_lvis else {}

    def settings(self) -> dict[str, Any]:
        protocol = {"points_per_side": self.points_per_side, "box_nms_thresh": 0.9, "crops": 0, "most": MOST}
        return {"protocol": protocol, "data": {self.path.name: data_hash(self.coco.path)}}

    def items(self) -> Sequence[str]:
        return self.coco.ids()

    def measure(self, predictor: ImagePredictor, item: str) -> dict[str, Any]:
        image = self.coco.image(item)
        generator = SamAutomaticMaskGenerator(
            predictor,
            points_per_side=self.points_per_side,
            pred_iou_thresh=0.0,
            stability_score_thresh=0.0,
            box_nms_thresh=0.9,
            output_mode="coco_rle",
        )
        proposals = rank_proposals(generator.generate(image))
        annotations = self.coco.annotations(item, image.shape[:2])
        return {"count": len(proposals), "counts": count_recalled(proposals, annotations, self.frequency)}

    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        row: dict[str, Any] = {"name": "the model"}
        for name in next(iter(parts.values()))["counts"]:
            total = np.sum([part["counts"][name] for part in parts.values()], axis=0)
            row[name] = float(np.mean(total[1:] / total[0])) if total[0] else None
            if name == "all":
                row["objects"] = int(total[0])
        row["proposals"] = round(float(np.mean([part["count"] for part in parts.values()])))
        return [row]

    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        (row,) = report["rows"]
        names = [name for name in (*AREAS, *FREQUENCIES.values()) if row.get(name) is not None]
        bars = axes.bar(names, [row[name] for name in names])
        axes.bar_label(bars, fmt="%.3f", fontsize=8)
        axes.set(ylim=(0, 1), ylabel="mask AR@1000", title=f"{report['title']}, {report['settings']['model']}")
