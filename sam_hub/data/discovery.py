"""`open_dataset` detects the format of a data set and opens the right reader."""

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

from ..errors import DataError
from .coco import CocoDataset
from .cvat import CvatImages
from .documents import is_report, read_json
from .folder import MaskFolder
from .labelme import LabelmeFolder, is_labelme
from .labelstudio import LabelStudioTasks
from .sa1b import Sa1bDataset, Sample
from .yolo import YoloFolder, is_yolo

KINDS = (
    "a folder of images and masks, a COCO .json, a folder of labelme files or of YOLO's outlines, an export of Label "
    "Studio (.json) or CVAT (.xml), or SA-1B (a .tar or a folder of pairs)"
)


FEW = 4
"""Most JSON files of a folder that are read to see what they are."""


class Chosen(Sequence):
    """Some samples of a data set, in a given order.

    indices: of the samples in ``source``; name: of this subset in reports
    """

    def __init__(self, source: Sequence, indices: Sequence[int], name: str | None = None) -> None:
        self.source, self.indices = source, list(indices)
        self.name, self.path = name or source.name, source.path

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.indices[index]]


class Joined(Sequence):
    """Several data sets, concatenated."""

    def __init__(self, parts: Sequence[Sequence], path: Path) -> None:
        self.parts, self.path, self.name = list(parts), path, path.stem
        self._ends = list(accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = bisect_right(self._ends, index)
        return self.parts[part][index - (self._ends[part - 1] if part else 0)]


def open_dataset(
    path: str | Path, images: str | Path | None = None, parts: bool = False, crowds_as_objects: bool = False
) -> Sequence:
    """Open a data set in any supported format.

    path: a folder of images and masks (`MaskFolder`), a COCO JSON or a folder with one (`CocoDataset`), a folder of
        labelme files (`LabelmeFolder`), YOLO polygons (`YoloFolder`), a Label Studio JSON (`LabelStudioTasks`), a CVAT
        XML (`CvatImages`), an SA-1B tar or folder (`Sa1bDataset`), or a folder of such tars
    images: folder of the images, for a COCO JSON, a Label Studio or CVAT export, or a folder of SA-1B JSON files
    parts: see `MaskFolder`; crowds_as_objects: see `CocoDataset`
    raises: DataError
    """
    path = Path(path)
    if path.suffix == ".json" and path.is_file():
        if _is_list(path):
            return LabelStudioTasks(path, images)
        return CocoDataset(path, images, crowds_as_objects)
    if path.suffix == ".xml" and path.is_file():
        return CvatImages(path, images)
    if path.suffix == ".tar" and (path.is_file() or not path.exists()):
        return Sa1bDataset(path)
    if not path.is_dir():
        raise DataError(f"{path} is not a data set; give {KINDS}")
    tars = sorted(path.glob("*.tar"))
    if tars:
        return Joined([Sa1bDataset(tar) for tar in tars], path)
    if is_yolo(path):
        return YoloFolder(path)
    if (path / "annotations.xml").is_file():
        return CvatImages(path / "annotations.xml", images)
    documents = sorted(path.glob("*.json"))
    if len(documents) <= FEW:
        documents = [d for d in documents if not is_report(d)]
    if len(documents) == 1 and _is_list(documents[0]):
        return LabelStudioTasks(documents[0], images)
    if documents:
        if any(map(is_labelme, documents[:3])):
            return LabelmeFolder(path)
        coco = [d for d in documents if len(documents) <= FEW and _is_coco(d)]
        if len(coco) == 1:
            return CocoDataset(coco[0], images, crowds_as_objects)
        if len(coco) > 1:
            raise DataError(f"{path} holds {len(coco)} COCO files; give the path of one of them")
        if not any(d.suffix == ".png" and ".mask" in d.name for d in path.iterdir()):
            return Sa1bDataset(path, images)
    try:
        return MaskFolder(path, parts)
    except DataError:
        if images is None:
            raise
        return Sa1bDataset(path, images)


def _is_list(path: Path) -> bool:
    """Whether a JSON file holds a list; among the supported formats, only Label Studio's does."""
    with suppress(OSError), open(path, "rb") as file:
        return file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    return False


def _is_coco(path: Path) -> bool:
    try:
        document = read_json(path, "COCO")
    except DataError:
        return False
    return isinstance(document, dict) and {"images", "annotations"} <= document.keys()
