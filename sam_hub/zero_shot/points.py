"""Zero-shot masks from single and several points (paper, section 7.1, figures 9 and 10)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.discovery import open_dataset
from ..data.sa1b import PROBLEM
from ..errors import DataError, WrongUsage
from ..inference.image_predictor import ImagePredictor
from .click_rounds import ERROR, FIRST, ClickProtocol, click_rounds
from .groups import Groups, draw_groups, group_rows
from .sampling import LARGE, SAMPLE, choose_images
from .table import Table, TableRequest, data_hash, titled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEAN = "mean of data sets"

LABEL_HEIGHT = 0.025
"""Distance between the names of two curves, in mIoU."""


class PointsTable(Table):
    """Table with a row for each data set, the mean over its masks; the last row is the mean over data sets.

    options: ``first``, ``error`` and ``counts``, see `ClickProtocol`; ``max_objects`` per image; ``images`` and
        ``crowds_as_objects``, see `open_dataset`; ``names`` of the data sets; ``groups``, the path of a CSV
    """

    TITLE = "Zero-shot masks from points (section 7.1)"

    def __init__(self, request: TableRequest) -> None:
        options = request.options
        self.request = request
        self.protocol = ClickProtocol(
            options.get("first") or "center",
            options.get("error") or "whole",
            tuple(options.get("counts") or ClickProtocol.counts),
        )
        _check(self.protocol)
        self.max_objects = options.get("max_objects")
        images, crowds = options.get("images"), bool(options.get("crowds_as_objects"))
        sets = [open_dataset(path, images, crowds_as_objects=crowds) for path in request.data]
        names = titled(options.get("names") or [s.name for s in sets])
        self.sets = dict(zip(names, sets, strict=True))
        self.groups = Groups.read(options["groups"]) if options.get("groups") else None
        self.COLUMNS = {
            "name": ("data set", "its name"),
            "images": ("images", "that were evaluated"),
            "masks": ("masks", "that were evaluated"),
            **{
                f"miou_{n}": (f"{n} points" if n > 1 else "1 point", f"mean IoU, most confident mask, {n} points")
                for n in self.protocol.counts
            },
            **{
                f"oracle_{n}": (f"oracle {n}", f"mean IoU, from the mask of the first point that is best in truth, {n}")
                for n in self.protocol.counts
            },
        }

    def settings(self) -> dict[str, Any]:
        return {
            "protocol": {
                **asdict(self.protocol),
                "max_objects": self.max_objects,
                "sampled_above": LARGE,
                "sampled_to": SAMPLE,
            },
            "data": {name: data_hash(path) for name, path in zip(self.sets, self.request.data, strict=True)},
            **({"groups": data_hash(self.groups.path)} if self.groups else {}),
        }

    def refuse(self, predictor: ImagePredictor) -> None:
        kinds = set(predictor.capabilities.prompt_kinds)
        if "points" not in kinds:
            raise DataError("the model takes no points; choose another, or another --task")
        if max(self.protocol.counts) > 1 and not {"background points", "masks"} <= kinds:
            raise DataError("the model takes no corrective points; give --counts 1")

    def items(self) -> Sequence[str]:
        return [
            f"{name}:{index}"
            for name, dataset in self.sets.items()
            for index in choose_images(dataset, self.request.seed, self.request.limit)
        ]

    def measure(self, predictor: ImagePredictor, item: str) -> dict[str, Any]:
        name, _, number = item.rpartition(":")
        dataset, index = self.sets[name], int(number)
        sample = dataset[index]
        chosen = range(len(sample.annotations))
        if self.max_objects:
            order = np.random.default_rng([self.request.seed, index]).permutation(len(sample.annotations))
            chosen = sorted(order[: self.max_objects].tolist())
        masks, ids, damaged = [], [], []
        for i in chosen:
            try:
                if why := sample.annotations[i].get(PROBLEM):
                    raise DataError(why)
                mask = sample.mask(i)
            except DataError as e:
                damaged.append(" ".join(str(e).split()))
                continue
            if mask.any():
                masks.append(mask)
                ids.append(str(sample.annotations[i].get("id", i)))
        if damaged and not masks:
            raise DataError(damaged[0])
        objects: list[dict[str, Any]] = []
        if masks:
            predictor.set_image(sample.image)
            rng = np.random.default_rng([self.request.seed, index])
            rounds = click_rounds(predictor, np.stack(masks), self.protocol, rng)
            objects = [{"id": key, **asdict(r)} for key, r in zip(ids, rounds, strict=True)]
        return {"count": len(objects), "set": name, "image": sample.name, "objects": objects, "damaged": damaged}

    def rows(self, parts: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
        rows = []
        for name in self.sets:
            mine = [part for part in parts.values() if part["set"] == name]
            objects = [o for part in mine for o in part["objects"]]
            row: dict[str, Any] = {"name": name, "images": len(mine), "masks": len(objects)}
            if objects:
                for kind, prefix in (("confident", "miou"), ("oracle", "oracle")):
                    means = np.mean([o[kind] for o in objects], axis=0)
                    row |= {f"{prefix}_{n}": float(m) for n, m in zip(self.protocol.counts, means, strict=True)}
            rows.append(row)
        scored = [row for row in rows if row["masks"]]
        if not scored:
            raise DataError("no image has a non-empty mask; give other data")
        mean: dict[str, Any] = {"name": MEAN, "images": sum(r["images"] for r in rows)}
        mean["masks"] = sum(r["masks"] for r in rows)
        for key in self.COLUMNS:
            if key.startswith(("miou_", "oracle_")):
                mean[key] = float(np.mean([row[key] for row in scored]))
        return [*rows, mean]

    def extra(self, parts: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
        if not self.groups:
            return {}
        return {"groups": group_rows(self.groups, parts.values(), self.protocol.counts, self.request.seed)}

    def draw(self, figure: "Figure", report: Mapping[str, Any]) -> None:
        if "groups" in report:
            draw_groups(figure, report["groups"])
            return
        axes = figure.subplots()
        counts = self.protocol.counts
        ends = {row["name"]: row[f"miou_{counts[-1]}"] for row in report["rows"] if row["masks"]}
        heights = dict(zip(ends, apart(list(ends.values()), LABEL_HEIGHT), strict=True))
        for row in report["rows"]:
            if not row["masks"]:
                continue
            values = [row[f"miou_{n}"] for n in counts]
            if row["name"] == MEAN:
                oracle = [row[f"oracle_{n}"] for n in counts]
                axes.plot(counts, values, "o-", color="C0", linewidth=2.5, label="most confident mask, mean")
                axes.plot(counts, oracle, "o--", color="C1", linewidth=2.5, label="oracle, mean")
            else:
                axes.plot(counts, values, color="0.75", linewidth=1, zorder=0)
                beside = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "annotation_clip": False}
                axes.annotate(row["name"], (counts[-1], heights[row["name"]]), fontsize=6, color="0.5", **beside)
        axes.set(ylim=(0, 1), xlabel="points", ylabel="mIoU", xticks=counts, title=report["title"])
        axes.legend(loc="lower right", fontsize=8)


def apart(values: Sequence[float], distance: float) -> list[float]:
    """Move values up, in their order, until neighbours are at least this far apart."""
    moved = list(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + distance)
    return moved


def _check(protocol: ClickProtocol) -> None:
    for option, value, known in (("--first", protocol.first, FIRST), ("--error", protocol.error, ERROR)):
        if value not in known:
            raise WrongUsage(f"{option} {value} is unknown; expected {' or '.join(known)}")
    counts = protocol.counts
    if not counts or any(n < 1 for n in counts) or list(counts) != sorted(set(counts)):
        raise WrongUsage("--counts takes numbers of points in rising order, for example --counts 1,2,3,5,9")
