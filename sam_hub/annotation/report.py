"""Joins all annotations into one COCO file, and summarises the run."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ..labels.coco import coco_parts
from ..labels.images import ImageLabels
from ..ops.files import write_atomically
from .plan import Plan, masks_path
from .stored import read_annotations
from .work import Outcome


@dataclass(frozen=True)
class Summary:
    """Summary of a run.

    masks: name -> number of masks, for photos done in this run or before; outcomes, seconds: of this run
    missed: photos neither done nor failed, because the run was interrupted
    """

    plan: Plan
    coco: Path
    masks: dict[str, int]
    outcomes: Sequence[Outcome]
    seconds: float
    missed: int

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.error]

    def as_json(self) -> dict[str, Any]:
        file_names = {photo.name: photo.file_name for photo in self.plan.photos}
        sources = {photo.name: photo.source for photo in self.plan.photos}
        seconds = {outcome.name: round(outcome.seconds, 3) for outcome in self.outcomes}
        return {
            "settings": self.plan.settings,
            "images": [
                {"image": file_names[name], "masks": count, "seconds": seconds.get(name), "file": f"masks/{name}.json"}
                for name, count in self.masks.items()
            ],
            "failed": [{"image": sources[o.name], "error": o.error} for o in self.failed],
            "missed": self.missed,
            "masks": sum(self.masks.values()),
            "seconds": round(self.seconds, 3),
            "coco": str(self.coco),
        }

    def text(self) -> str:
        """The summary as readable text."""
        now = len(self.outcomes) - len(self.failed)
        before = len(self.masks.keys() - {outcome.name for outcome in self.outcomes})
        parts = [f"{now} done in {self.seconds:.1f} s"]
        parts += [f"{before} done before"] * (before > 0)
        parts += [f"{len(self.failed)} failed"] * bool(self.failed) + [f"{self.missed} left"] * (self.missed > 0)
        lines = [f"photos: {', '.join(parts)}"]
        if now:
            each = [outcome.seconds for outcome in self.outcomes if not outcome.error]
            lines.append(f"seconds a photo: {spread(each, '.2f')}")
        if self.masks:
            counts = list(self.masks.values())
            per_photo = f"; per photo {spread(counts, 'g')}" if len(counts) > 1 else ""
            lines.append(f"masks: {sum(counts)}{per_photo}")
        return "\n".join(lines)


def spread(values: Sequence[float], form: str) -> str:
    """Median and range, or the single value."""
    low, middle, high = (format(v, form) for v in (min(values), median(values), max(values)))
    return low if low == high else f"median {middle}, {low} to {high}"


def write_coco(plan: Plan, path: Path, polygons: bool = False) -> dict[str, int]:
    """Join the annotations of all finished photos, reading one at a time; returns name -> number of masks."""
    counts: dict[str, int] = {}
    write_atomically(
        path, coco_parts(labels_of(plan), polygons, lambda image: counts.update({image.name: len(image.objects)}))
    )
    return counts


def labels_of(plan: Plan) -> Iterator[ImageLabels]:
    """Yield the annotations of all finished photos, as input of the label formats."""
    for photo in plan.done():
        document = read_annotations(masks_path(plan.out, photo.name))
        yield ImageLabels.from_document(document, Path(photo.source), photo.name)
