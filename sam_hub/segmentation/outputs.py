"""Paths of the results: the meaning of ``--out`` and ``--format``."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path

from ..errors import OutputError, WrongUsage
from ..labels.formats import FORMATS


class Format(StrEnum):
    png = "png"
    cutout = "cutout"
    svg = "svg"
    json = "json"
    coco = "coco"
    labelmap = "labelmap"
    yolo = "yolo"
    labelme = "labelme"
    geojson = "geojson"
    gpkg = "gpkg"
    labelstudio = "labelstudio"
    cvat = "cvat"
    imagej = "imagej"


SUFFIX = {Format.png: ".png", Format.cutout: ".png", Format.svg: ".svg", Format.json: ".json", Format.coco: ".json"}
BY_SUFFIX = {".png": Format.png, ".svg": Format.svg, ".json": Format.json}
"""Suffix of a file given with ``--out`` -> format, if ``--format`` is omitted."""

OF_ALL = frozenset(FORMATS)
"""Formats whose files are about all images: coco.json, and of the others a folder of their name."""

PER_MASK = {Format.png: "mask", Format.cutout: "cutout"}
"""Formats that need a file for each mask, and what it is called."""


@dataclass(frozen=True)
class ResultFile:
    """One file about one image.

    kind: None for the overlay
    masks: the (object, candidate) pairs that it contains
    """

    path: Path
    kind: Format | None
    masks: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Destination:
    """Paths of results; they never overwrite an input.

    folder: of all results
    file: the one result that ``--out`` names, or None
    formats: at least one
    overlay: whether to also write the photo with masks drawn on it
    inputs: files that must not be overwritten
    """

    folder: Path
    file: Path | None
    formats: tuple[Format, ...]
    overlay: bool
    inputs: tuple[Path, ...]

    def results(self, image: Path, objects: int, candidates: int) -> list[ResultFile]:
        """All files for one image with ``candidates`` masks for each of its objects.

        raises: WrongUsage if one of them would overwrite an input
        """
        every = tuple(product(range(objects), range(candidates)))
        found = []
        for kind in self.formats:
            if kind in PER_MASK:
                for i, j in every:
                    number = f"-{i + 1}" * (objects > 1) + f"-{j + 1}" * (candidates > 1)
                    found.append(self._result(f"{image.stem}.{PER_MASK[kind]}{number}.png", kind, ((i, j),)))
            elif kind not in OF_ALL:
                found.append(self._result(f"{image.stem}.mask{SUFFIX[kind]}", kind, every))
        if self.overlay:
            for j in range(candidates):
                name = f"{(self.file or image).stem}.overlay{f'-{j + 1}' * (candidates > 1)}.jpg"
                found.append(self._result(name, None, tuple((i, j) for i in range(objects))))
        return found

    def coco_path(self) -> Path | None:
        """The file for all images, if requested."""
        return self._result("coco.json", Format.coco, ()).path if Format.coco in self.formats else None

    def _result(self, name: str, kind: Format | None, masks: tuple[tuple[int, int], ...]) -> ResultFile:
        path = self.file if self.file and kind else self.folder / name
        if any(path.exists() and other.exists() and path.samefile(other) for other in self.inputs):
            raise WrongUsage(f"the result {path} would overwrite an input; name another place with --out")
        return ResultFile(path, kind, masks)


def plan_outputs(
    out: str | None,
    formats: Sequence[Format],
    overlay: bool,
    images: Sequence[Path],
    others: Sequence[Path],
    objects: int,
    candidates: int,
) -> Destination:
    """Choose the paths of results before any work is done.

    out: a folder (one that exists, ends in a slash or has no suffix), a file, or None for the current folder
    formats: default: from the suffix of ``out``, or png
    others: inputs that are not images
    objects, candidates: number of objects per image, and approximate number of masks per object
    raises: WrongUsage if names are unsuitable or clash, OutputError if the folder is not writable
    """
    inputs = (*images, *others)
    place = Path(out or "")
    if place.is_dir() or not place.suffix or str(out).endswith(("/", os.sep)):
        chosen = tuple(dict.fromkeys(formats)) or (Format.png,)
        destination = Destination(place, None, chosen, overlay, inputs)
        stem, count = Counter(p.stem for p in images).most_common(1)[0]
        if count > 1:
            raise WrongUsage(
                f"the results of {count} images called {stem!r} would have the same names; "
                "run them separately, each with its own --out folder"
            )
    else:
        kind = _one_file(place, formats, len(images), objects * candidates)
        destination = Destination(place.parent, place, (kind,), overlay, inputs)
    for image in images:
        destination.results(image, objects, candidates)
    destination.coco_path()
    _check_folder(destination.folder)
    return destination


def _one_file(out: Path, formats: Sequence[Format], images: int, masks: int) -> Format:
    """The format of the single file given with ``--out``. raises: WrongUsage if there is more to write"""
    suffix = out.suffix.lower()
    if suffix not in BY_SUFFIX:
        raise WrongUsage(f"--out {out} is neither a folder nor a .png, .svg or .json file; end a folder with a slash")
    kind = formats[0] if formats else BY_SUFFIX[suffix]
    if kind not in SUFFIX:
        raise WrongUsage(f"--format {kind.value} makes a folder of files; give a folder with --out")
    if SUFFIX[kind] != suffix:
        raise WrongUsage(f"--format {kind.value} makes a {SUFFIX[kind]} file and --out names {out.name}")
    if len(set(formats)) > 1:
        raise WrongUsage("--out names one file for several formats; give a folder instead")
    if images > 1 and kind is not Format.coco:
        raise WrongUsage("--out names one file for several images; give a folder, or --format coco for one file")
    if masks > 1 and kind in PER_MASK:
        raise WrongUsage(f"--out names one file for {masks} masks; give a folder, or a .svg or .json file for all")
    return kind


def _check_folder(folder: Path) -> None:
    """Fail early if the folder is not writable; it is created with the first result."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise OutputError(f"cannot write to {folder}: {existing} is a file; choose another folder with --out")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write to {folder}: no permission; choose another folder with --out")
