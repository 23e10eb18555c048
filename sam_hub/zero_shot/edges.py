"""Zero-shot edge detection on BSDS500, from the masks of a grid of clicks (paper, section 7.2 and appendix D.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import DataError
from ..inference.image_predictor import ImagePredictor
from ..ops.images import read_image
from .bsds import find_photos, read_boundaries
from .edge_maps import EdgeSettings, canny_edges, model_edges, sobel_edges
from .edge_scores import THRESHOLDS, EdgeCounts, count_edges, score_edges
from .hed import hed_edges, hed_installed
from .matching import MAX_DISTANCE
from .table import Table, TableRequest, data_hash

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DETECTORS = {"sobel": sobel_edges, "canny": canny_edges}
F_LINES = (0.4, 0.5, 0.6, 0.7, 0.8)


class EdgesTable(Table):
    """Table with a row for the model and one for each baseline.

    options: ``points_per_side`` of the grid, ``baselines`` (default: on)
    """

    TITLE = "Zero-shot edges (section 7.2)"
    COLUMNS = {
        "name": ("method", "the model, or a baseline"),
        "ods": ("ODS", "best F with one threshold for all images"),
        "ois": ("OIS", "F with each image's best threshold"),
        "ap": ("AP", "area under the curve of precision over recall"),
        "r50": ("R50", "recall at a precision of 0.5"),
        "ods_threshold": ("threshold", "that of ODS"),
    }
    NEEDS = ("scipy",)

    def __init__(self, request: TableRequest) -> None:
        if len(request.data) != 1:
            raise DataError("--task edges takes one folder in the layout of BSDS500")
        self.folder = Path(request.data[0])
        photos = find_photos(self.folder)
        if request.limit is not None:
            order = np.random.default_rng(request.seed).permutation(len(photos))
            photos = [photos[i] for i in sorted(order[: request.limit].tolist())]
        self.photos = {photo.name: photo for photo in photos}
        self.how = EdgeSettings(points_per_side=request.options.get("points_per_side") or 16)
        self.baselines = dict(DETECTORS) if request.options.get("baselines", True) else {}
        if self.baselines and hed_installed():
            self.baselines["hed"] = hed_edges

    def settings(self) -> dict[str, Any]:
        return {
            "protocol": {
                **asdict(self.how),
                "thresholds": len(THRESHOLDS),
                "max_distance": MAX_DISTANCE,
                "baselines": list(self.baselines),
            },
            "data": {self.folder.name: data_hash(self.folder)},
        }

    def items(self) -> Sequence[str]:
        return list(self.photos)

    def measure(self, predictor: ImagePredictor, item: str) -> dict[str, Any]:
        photo = self.photos[item]
        image = read_image(photo.image)
        annotators = read_boundaries(photo.truth, image.shape[:2])
        strength, count = model_edges(predictor, image, self.how)
        maps = {"model": strength, **{name: detect(image) for name, detect in self.baselines.items()}}
        counts = {name: count_edges(edges, annotators) for name, edges in maps.items()}
        as_lists = {name: {k: v.tolist() for k, v in vars(c).items()} for name, c in counts.items()}
        return {"count": count, "counts": as_lists}

    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {"name": name, **{k: getattr(scores, k) for k in ("ods", "ois", "ap", "r50", "ods_threshold")}}
            for name, scores in self._scores(parts).items()
        ]

    def extra(self, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        return {"curves": {n: {"recall": s.recall, "precision": s.precision} for n, s in self._scores(parts).items()}}

    def _scores(self, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        def counts(part: dict[str, Any], name: str) -> EdgeCounts:
            return EdgeCounts(**{k: np.array(v, np.int64) for k, v in part["counts"][name].items()})

        names = ("model", *self.baselines)
        return {name: score_edges([counts(part, name) for part in parts.values()]) for name in names}

    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        axes = figure.subplots()
        recall = np.linspace(0.01, 1, 200)
        for f in F_LINES:
            inside = recall > f / 2
            precision = f * recall[inside] / (2 * recall[inside] - f)
            axes.plot(recall[inside], precision, color="0.85", linewidth=0.8, zorder=0)
        for row in report["rows"]:
            curve, name = report["curves"][row["name"]], row["name"]
            title = report["settings"]["model"] if name == "model" else name
            shown = np.array(curve["recall"]) > 0
            axes.plot(
                np.array(curve["recall"])[shown],
                np.array(curve["precision"])[shown],
                label=f"{title}: ODS {row['ods']:.3f}, AP {row['ap']:.3f}",
            )
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", title=report["title"])
        axes.legend(loc="lower left", fontsize=8)
