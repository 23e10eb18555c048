"""Fuzzed data sets and images: one file is mutated, then everything is read."""

import base64
import contextlib
import io
import json
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import mutated_bytes, mutated_json, mutated_words
from PIL import Image

from sam_hub.errors import SamHubError
from sam_hub.ops.masks import mask_to_rle, mask_to_uncompressed_rle

SIZE = (40, 60)


@cache
def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@cache
def masks() -> list[np.ndarray]:
    found = np.zeros((2, *SIZE), bool)
    found[0, 2:12, 3:23] = found[1, 20:38, 5:15] = True
    return list(found)


class Kind:
    """A folder of valid files, one of which is mutated, and its reader."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, rng: np.random.Generator) -> None:
        raise NotImplementedError


class DataKind(Kind):
    """A data set: inspected, and its objects read for evaluation."""

    def read(self, path: Path) -> None:
        from sam_hub.data.discovery import open_dataset
        from sam_hub.data.inspection import Cleaned, inspect
        from sam_hub.evaluation.evaluate import Protocol, read_objects

        data = open_dataset(path, crowds_as_objects=True)
        read_objects(data, 0, Protocol())
        for index in inspect(data).good:
            sample = Cleaned(data)[index]
            for i in range(len(sample.annotations)):
                sample.mask(i)


class Coco(DataKind):
    def run(self, rng: np.random.Generator) -> None:
        first, second = masks()
        shapes = [mask_to_rle(first), mask_to_uncompressed_rle(second), [[3, 2, 23, 2, 23, 12]], [[1, 1, 5, 5], [1, 2]]]
        annotations = [{"id": i, "image_id": 1, "segmentation": s, "iscrowd": i % 2} for i, s in enumerate(shapes)]
        image = {"id": 1, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}
        (self.folder / "a.png").write_bytes(photo())
        (self.folder / "a.json").write_bytes(mutated_json({"images": [image], "annotations": annotations}, rng))
        self.read(self.folder / "a.json")


class Labelme(DataKind):
    def run(self, rng: np.random.Generator) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.full((5, 5), 255, np.uint8)).save(buffer, "PNG")
        shapes = [
            {"shape_type": "polygon", "points": [[3, 2], [23, 2], [23, 12]], "group_id": 1},
            {"shape_type": "rectangle", "points": [[5, 20], [15, 38]], "group_id": None},
            {"shape_type": "circle", "points": [[5, 20], [15, 38]], "group_id": None},
            {"shape_type": "mask", "points": [[5, 5], [9, 9]], "mask": base64.b64encode(buffer.getvalue()).decode()},
        ]
        inside = base64.b64encode(photo()).decode()
        document = {"shapes": shapes, "imagePath": "a.png", "imageHeight": SIZE[0], "imageWidth": SIZE[1]}
        (self.folder / "a.json").write_bytes(mutated_json({**document, "imageData": inside}, rng))
        self.read(self.folder)


class Sa1bTar(DataKind):
    """Read by index and as a stream, compressed or not."""

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.data.stream import read_pairs

        annotations = [{"segmentation": mask_to_rle(m), "bbox": [0, 0, 9, 9]} for m in masks()]
        document = {"image": {"height": SIZE[0], "width": SIZE[1]}, "annotations": annotations}
        packed = rng.random() < 0.3
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz" if packed else "w") as tar:
            for name in ("a", "b"):
                text = mutated_json(document, rng) if rng.random() < 0.5 else json.dumps(document).encode()
                for suffix, data in ((".png", photo()), (".json", text)):
                    info = tarfile.TarInfo(name + suffix)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        content = mutated_bytes(buffer.getvalue(), rng) if rng.random() < 0.7 else buffer.getvalue()
        path = self.folder / "s.tar"
        path.write_bytes(content)
        with contextlib.suppress(SamHubError):
            list(read_pairs(str(path)))
        self.read(path)


class Yolo(DataKind):
    def run(self, rng: np.random.Generator) -> None:
        for name in ("images", "labels"):
            (self.folder / name).mkdir(exist_ok=True)
        (self.folder / "images" / "a.png").write_bytes(photo())
        lines = b"0 0.1 0.1 0.5 0.1 0.5 0.6 0.1 0.6\n1 0.2 0.2 0.8 0.3 0.6 0.9\n2 0.5 0.5 0.2 0.2\n"
        words = mutated_words(lines, rng) if rng.random() < 0.6 else mutated_bytes(lines, rng)
        (self.folder / "labels" / "a.txt").write_bytes(words)
        self.read(self.folder)


class WrittenKind(DataKind):
    """Files that sam-hub writes for another tool, mutated and read back.

    format: of `sam_hub.labels`
    """

    format: str

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from sam_hub.labels.images import ImageLabels
        from sam_hub.labels.writing import write_labels

        annotations = [{"id": i, "segmentation": mask_to_rle(m), "name": "a"} for i, m in enumerate(masks(), 1)]
        (folder / "images").mkdir()
        (folder / "images" / "a.png").write_bytes(photo())
        image = ImageLabels("a.png", SIZE, annotations, folder / "images" / "a.png")
        self.sound = {}
        for polygons in (False, True):
            self.path = write_labels([image], folder, self.format, polygons=polygons)[0]
            self.sound[polygons] = self.path.read_bytes()


class LabelStudio(WrittenKind):
    format = "labelstudio"

    def run(self, rng: np.random.Generator) -> None:
        self.path.write_bytes(mutated_json(json.loads(self.sound[rng.random() < 0.5]), rng))
        self.read(self.path)


class Cvat(WrittenKind):
    format = "cvat"

    def run(self, rng: np.random.Generator) -> None:
        sound = self.sound[rng.random() < 0.5]
        self.path.write_bytes(mutated_words(sound, rng) if rng.random() < 0.6 else mutated_bytes(sound, rng))
        self.read(self.path)


class Tiffs(Kind):
    """TIFFs of many bands, depths and layouts, read by page and band, whole and by windows."""

    def run(self, rng: np.random.Generator) -> None:
        import tifffile

        from sam_hub.ops.images import read_image
        from sam_hub.tiling.picture import Picture

        shape = ((3, *SIZE), (*SIZE, 3), (*SIZE, 5), SIZE)[int(rng.integers(4))]
        kind = (np.uint8, np.uint16, np.float32)[int(rng.integers(3))]
        values = np.random.default_rng(2).integers(0, 255, shape).astype(kind)
        layout = ({}, {"tile": (16, 32), "compression": "zlib"}, {"rowsperstrip": 7, "compression": "lzw"})
        where = {"imagej": True} if rng.random() < 0.2 else {"photometric": "minisblack"}
        path = self.folder / "a.tif"
        more = {} if "imagej" in where else layout[int(rng.integers(3))]
        if "imagej" in where and len(shape) == 3:
            values = values.reshape(*SIZE, -1)[..., 0]
        tifffile.imwrite(path, values, bigtiff=bool(rng.random() < 0.2) and more != {}, **where, **more)
        data = bytearray(path.read_bytes())
        if rng.random() < 0.6:  # the directory, entry by entry: 12 bytes each of a plain TIFF
            at = int.from_bytes(data[4:8], "little")
            for _ in range(int(rng.integers(1, 4))):
                place = at + 2 + 12 * int(rng.integers(16)) + 8 + int(rng.integers(4))
                if place < len(data):
                    data[place] = int(rng.choice([0, 1, 127, 255, int(rng.integers(256))]))
        else:
            data = bytearray(mutated_bytes(bytes(data), rng))
        path.write_bytes(data)
        for read in (
            lambda: read_image(path),
            lambda: read_image(path, bands=(0,), page=int(rng.integers(3)) or None),
            lambda: self.window(Picture, path),
        ):
            with contextlib.suppress(SamHubError):
                read()

    def window(self, opened: Any, path: Path) -> None:
        with opened(str(path)) as picture:
            height, width = picture.size
            picture.read((0, 0, min(width, 32), min(height, 32)))


class Pictures(Kind):
    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.data.folder import read_mask_file
        from sam_hub.ops.images import read_image

        suffix = str(rng.choice(["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF"]))
        mode = str(rng.choice(["RGB", "L", "P", "1", "I;16"])) if suffix in ("PNG", "TIFF") else "RGB"
        levels = np.random.default_rng(1).integers(0, 255, SIZE, dtype=np.uint8)
        picture = Image.fromarray(levels.astype(np.uint16)) if mode == "I;16" else Image.fromarray(levels).convert(mode)
        buffer = io.BytesIO()
        picture.save(buffer, suffix)
        path = self.folder / f"a.{suffix.lower()}"
        path.write_bytes(mutated_bytes(buffer.getvalue(), rng))
        with contextlib.suppress(SamHubError):
            read_image(path)
        read_mask_file(path)
