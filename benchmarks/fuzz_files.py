"""Mutated files of every kind that sam-hub reads: each must end in a named sentence or a result.

    python benchmarks/fuzz_files.py --cases 1000 --out fuzz.json
    python benchmarks/fuzz_files.py --kinds coco labelme --seed 7

Cases run in child processes that may take 2 GB more than a fresh one. A fault is a child that dies, a case that
computes for more than 30 seconds, and an exception that is none of `sam_hub.errors`. Every case is drawn by its number
and the seed alone: ``--kinds coco --first 123 --cases 1`` repeats one.
"""

import argparse
import contextlib
import copy
import io
import json
import os
import re
import resource
import shutil
import signal
import tarfile
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sam_hub.errors import SamHubError
from sam_hub.hub import ASSETS
from sam_hub.ops.masks import mask_to_rle, mask_to_uncompressed_rle

MEMORY, SECONDS = 2 * 2**30, 30
ODD: list[Any] = [
    None, True, 0, -1, 1, 2**31, 10**9, 10**30, 0.5, -1e308, float("nan"), float("inf"), "", "x", "../x", "/dev/zero",
    "\x00", "\ud800", [], {}, [[]], [None], [-1, 5], [1e300] * 6, {"size": [5, 5], "counts": "000"}, "0" * 1000,
]  # fmt: skip


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, removed, repeated or cut off."""
    found = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        at, length = int(rng.integers(len(found) + 1)), int(rng.integers(1, 64))
        kind = rng.integers(6)
        if kind == 0:
            found[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            del found[at : at + length]
        elif kind == 2:
            found[at:at] = found[at : at + length] * int(rng.integers(1, 5))
        elif kind == 3:
            found[at:at] = rng.bytes(length)
        elif kind == 4 and rng.random() < 0.3:
            del found[at:]
        else:
            found[at : at + 4] = rng.choice([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80"])
    return bytes(found)


def mutated_json(document: Any, rng: np.random.Generator) -> bytes:
    """Some values replaced, removed, repeated or moved; now and then the text itself is damaged."""
    document = copy.deepcopy(document)
    for _ in range(int(rng.integers(1, 4))):
        node = document
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            if not keys:
                break
            key = keys[int(rng.integers(len(keys)))]
            if isinstance(node[key], dict | list) and node[key] and rng.random() < 0.85:
                node = node[key]
                continue
            kind = rng.integers(4)
            if kind == 0:
                del node[key]
            elif kind == 1 and isinstance(node, list):
                node[key:key] = [copy.deepcopy(node[key])] * int(rng.integers(1, 30))
            else:
                node[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
            break
    text = json.dumps(document).encode()
    return mutated_bytes(text, rng) if rng.random() < 0.2 else text


def mutated_words(data: bytes, rng: np.random.Generator) -> bytes:
    """Some numbers and names of a text replaced by odd ones."""
    parts = re.split(rb"([0-9a-zA-Z_.-]+)", data)
    for _ in range(int(rng.integers(1, 5))):
        at = 1 + 2 * int(rng.integers(len(parts) // 2))
        odd = ODD[int(rng.integers(len(ODD)))]
        parts[at] = str(odd).encode("utf-8", "replace") * (1 if rng.random() < 0.9 else 300)
    return b"".join(parts)


class Kind:
    """A place with sound files, one of which is mutated, and what reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, rng: np.random.Generator) -> None:
        raise NotImplementedError


SIZE = (40, 60)


def photo() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*SIZE, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def masks() -> list[np.ndarray]:
    found = np.zeros((2, *SIZE), bool)
    found[0, 2:12, 3:23] = found[1, 20:38, 5:15] = True
    return list(found)


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
        import base64

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
    """Read at random and as a stream, packed or not."""

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
    """Files that sam-hub itself writes for another tool, mutated, and read back.

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
    """Of many bands, depths and layouts, by page and band, whole and by windows."""

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


class ModelKind(Kind):
    """A small model, whose folder is copied once."""

    files: tuple[str, ...] = ("config.json", "preprocessor_config.json", "model.safetensors")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sound = {}
        for path in (ASSETS / "pocket").iterdir():
            if path.is_file():
                self.sound[path.name] = path.read_bytes()
                (folder / path.name).write_bytes(self.sound[path.name])


class Config(ModelKind):
    def run(self, rng: np.random.Generator) -> None:
        from sam_hub import SamModel

        (self.folder / "config.json").write_bytes(mutated_json(json.loads(self.sound["config.json"]), rng))
        SamModel.from_pretrained(self.folder)


class Preprocessor(ModelKind):
    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.inference.runtime import read_preparation
        from sam_hub.models.image_processing_sam import SamImageProcessor

        name = "preprocessor_config.json"
        (self.folder / "processor_config.json").unlink(missing_ok=True)  # it would be read first
        settings = SamImageProcessor.from_pretrained("pocket").to_dict()
        (self.folder / name).write_bytes(mutated_json(settings, rng))
        pixels = np.zeros((*SIZE, 3), np.uint8)
        with contextlib.suppress(SamHubError):
            read_preparation(self.folder)(pixels)
        processor = SamImageProcessor.from_pretrained(self.folder)
        processor(pixels)


class Safetensors(ModelKind):
    """The header is where what matters is."""

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub import SamModel

        data = self.sound["model.safetensors"]
        length = int.from_bytes(data[:8], "little")
        if rng.random() < 0.6:
            header = mutated_json(json.loads(data[8 : 8 + length]), rng)
            data = len(header).to_bytes(8, "little") + header + data[8 + length :]
        else:
            data = mutated_bytes(data[: 8 + length], rng) + data[8 + length :]
        (self.folder / "model.safetensors").write_bytes(data)
        SamModel.from_pretrained(self.folder)


class Checkpoint(ModelKind):
    """A .pt in the original layout."""

    def run(self, rng: np.random.Generator) -> None:
        import torch

        from sam_hub.convert import read_checkpoint, to_ours

        buffer = io.BytesIO()
        tensors = {f"image_encoder.{i}.weight": torch.zeros(3, 2) for i in range(3)}
        torch.save({"model": tensors, "step": 3}, buffer)
        path = self.folder / "x.pt"
        path.write_bytes(mutated_bytes(buffer.getvalue(), rng))
        to_ours(read_checkpoint(path))


class Bundle(Kind):
    """An exported folder, of which the manifest, the proof or the processor's settings are damaged."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from sam_hub.exporters.bundle import export_bundle

        export_bundle("pocket", folder / "bundle", {"onnx": ("fp32",)})

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.exporters.manifest import Manifest
        from sam_hub.exporters.proof import Proof

        home = self.folder / "bundle"
        name = ("export.json", "proof/proof.npz", "preprocessor_config.json", "proof/0.png")[int(rng.integers(4))]
        sound = (home / name).read_bytes()
        try:
            mutate = name.endswith(".json") and rng.random() < 0.8
            (home / name).write_bytes(mutated_json(json.loads(sound), rng) if mutate else mutated_bytes(sound, rng))
            if name == "export.json":
                Manifest.read(home).check_files(home)
            else:
                Proof.load(home)
        finally:
            (home / name).write_bytes(sound)


class Plan(Kind):
    """What `everything --resume` goes on with."""

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.annotation.plan import find_photos, make_plan

        out, photos = self.folder / "out", self.folder / "photos"
        shutil.rmtree(out, ignore_errors=True)
        photos.mkdir(exist_ok=True)
        for name in ("a.png", "b.png"):
            (photos / name).write_bytes(photo())
        found = find_photos([photos], out)
        make_plan(found, out, {"model": "pocket"}, False)
        plan = out / "everything.json"
        plan.write_bytes(mutated_json(json.loads(plan.read_text()), rng))
        make_plan(found, out, {"model": "pocket"}, True)


class Tile(Kind):
    """What a tile of a large picture has left for `everything --resume`."""

    def run(self, rng: np.random.Generator) -> None:
        from dataclasses import asdict

        from sam_hub.annotation.tiles import _read
        from sam_hub.results import json_bytes
        from sam_hub.tiling.generate import record_of
        from sam_hub.tiling.grid import Grid
        from sam_hub.tiling.merging import merge
        from sam_hub.tiling.pieces import Piece

        facts = {"predicted_iou": 0.9, "point_coords": [[4, 5]], "stability_score": 0.95, "crop_box": [0, 0, 40, 40]}
        grid, found = Grid(SIZE, 40, 0.25), []
        for number, window in enumerate(grid.windows):
            pieces = [Piece.of(mask[:, :20], window[:2], number, facts) for mask in masks()]
            path = self.folder / f"{number}.json"
            path.write_bytes(mutated_json(json.loads(json_bytes([asdict(p) for p in pieces])), rng))
            found += _read(path, number, window) or []
        for piece in merge(found, grid):
            json.dumps(record_of(piece, grid.size), allow_nan=False)


class EngineProject(Kind):
    """A project's file: its bytes, or a value in one of its rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from sam_hub.engine import photos
        from sam_hub.engine.store import MaskVersion, Project

        (folder / "photos").mkdir()
        for name in ("a.png", "b.png"):
            (folder / "photos" / name).write_bytes(photo())
        facts = {"stage": "assisted", "round": 0, "model": "pocket", "annotator": "me"}
        with Project.create(folder / "project", "pocket", 0.2) as project:
            photos.add(project, photos.find([folder / "photos"], project.folder))
            for number, mask in enumerate(masks()):
                version = MaskVersion(f"r{number}", f"o{number}", "accepted", mask_to_rle(mask), **facts)
                project.save(project.photo(1), version)
            project.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self.file = folder / "project" / "project.db"
        self.sound = self.file.read_bytes()

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.engine.exporting import export
        from sam_hub.engine.queue import Queue
        from sam_hub.engine.status import as_text, problems, status
        from sam_hub.engine.store import Project

        for path in self.file.parent.iterdir():
            path.unlink()
        whole = rng.random() < 0.5
        self.file.write_bytes(mutated_bytes(self.sound, rng) if whole else self.sound)
        if not whole:
            self.change_rows(rng)
        with Project.open(self.file.parent) as project:
            out = self.folder / "out"
            shutil.rmtree(out, ignore_errors=True)
            for use in (
                lambda: problems(project),
                lambda: as_text(status(project)),
                lambda: Queue(project).next("me", "me"),
                lambda: export(project, str(rng.choice(["sa1b", "coco", "yolo"])), out),
            ):
                with contextlib.suppress(SamHubError):
                    use()

    def change_rows(self, rng: np.random.Generator) -> None:
        """Values of any kind where SQLite lets them in; its rules are switched off."""
        import sqlite3

        db = sqlite3.connect(self.file, isolation_level=None)
        db.execute("PRAGMA ignore_check_constraints = ON")
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        odd = [None, 0, -1, 2**62, 1e308, "", "x", "../x", "/dev/zero", "[", "{}", "[[1]]", b"\xff\x00", "P" * 50]
        tables = ("settings", "photos", "masks", "objects", "photo_counts", "mask_counts", "rounds")
        for _ in range(int(rng.integers(1, 4))):
            table = tables[int(rng.integers(len(tables)))]
            columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
            column = columns[int(rng.integers(len(columns)))]
            with contextlib.suppress(sqlite3.Error):
                db.execute(f"UPDATE {table} SET {column} = ?", (odd[int(rng.integers(len(odd)))],))
        db.close()


KINDS: dict[str, type[Kind]] = {
    "config": Config,
    "preprocessor": Preprocessor,
    "safetensors": Safetensors,
    "bundle": Bundle,
    "coco": Coco,
    "labelme": Labelme,
    "sa1b": Sa1bTar,
    "yolo": Yolo,
    "labelstudio": LabelStudio,
    "cvat": Cvat,
    "image": Pictures,
    "tiff": Tiffs,
    "plan": Plan,
    "tile": Tile,
    "project": EngineProject,
    "checkpoint": Checkpoint,
}


def run_cases(kind: Kind, numbers: range, seed: int, tell: Callable[[str], None]) -> None:
    """In a child: a line before and after each case."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
    for number in numbers:
        tell(f"{number}\tstarted")
        try:
            kind.run(np.random.default_rng([seed, number]))
            outcome = "result"
        except SamHubError:
            outcome = "sentence"
        except BaseException as e:
            frames = traceback.extract_tb(e.__traceback__)
            ours = [f for f in frames if "/sam_hub/" in f.filename or "/exporters/" in f.filename] or frames
            place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            outcome = f"{type(e).__name__} at {place}: {' '.join(str(e).split())[:120]}"
        tell(f"{number}\t{outcome}")


def fuzz(kind: Kind, first: int, cases: int, seed: int) -> tuple[Counter, dict[int, str]]:
    """How the cases ended, and the faults among them."""
    ends: Counter = Counter()
    faults: dict[int, str] = {}
    with contextlib.suppress(Exception):
        kind.run(np.random.default_rng([seed, first]))  # what is imported now is there for every child
    number = first
    while number < first + cases:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            silent = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silent, 1)
            os.dup2(silent, 2)
            try:
                run_cases(kind, range(number, first + cases), seed, partial(_tell, write))
            finally:
                os._exit(0)
        os.close(write)
        number = _follow(read, child, number, ends, faults)
    return ends, faults


def _tell(pipe: int, line: str) -> None:
    os.write(pipe, f"{line}\n".encode())


def _computed(process: int) -> float:
    """Seconds of computing of a process, however busy the machine is."""
    with open(f"/proc/{process}/stat") as f:
        user, system = f.read().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _follow(read: int, child: int, number: int, ends: Counter, faults: dict[int, str]) -> int:
    """Read a child's lines until it ends; returns the next case."""
    import select

    held, running = b"", None
    hung, began = False, _computed(child)
    while True:
        ready, _, _ = select.select([read], [], [], 1)
        if not ready:
            hung = _computed(child) - began > SECONDS
            if not hung:
                continue
        data = os.read(read, 65536) if ready else b""
        began = _computed(child)
        held += data
        *lines, held = held.split(b"\n")
        for line in lines:
            text, _, outcome = line.decode(errors="replace").partition("\t")
            if outcome == "started":
                running = int(text)
                continue
            running, number = None, int(text) + 1
            ends[outcome if outcome in ("result", "sentence") else "fault"] += 1
            if outcome not in ("result", "sentence"):
                faults[int(text)] = outcome
        if data:
            continue
        if hung:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        os.close(read)
        if running is not None:
            ends["fault"] += 1
            faults[running] = "hung" if hung else f"died of signal {os.WTERMSIG(status)}"
            number = running + 1
        return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Write the counts and faults here as JSON.")
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    report: dict[str, Any] = {}
    for name in args.kinds:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as place:
            ends, faults = fuzz(KINDS[name](Path(place)), args.first, args.cases, args.seed)
        report[name] = {**ends, "seconds": round(time.perf_counter() - start), "faults": faults}
        print(f"{name:13}" + "  ".join(f"{k} {v}" for k, v in sorted(ends.items())), flush=True)
        for number, what in list(faults.items())[:20]:
            print(f"    {number}: {what}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1))
    raise SystemExit(any(kind["faults"] for kind in report.values()))


if __name__ == "__main__":
    main()
