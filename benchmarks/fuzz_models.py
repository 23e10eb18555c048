"""Fuzzed models, exports and files of runs: one file is mutated, then everything is read."""

import contextlib
import io
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_data import SIZE, Kind, masks, photo
from fuzz_mutations import mutated_bytes, mutated_json, mutated_weights

from sam_hub.errors import SamHubError
from sam_hub.ops.masks import mask_to_rle

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.models.conftest import TINY_ENCODERS, randomise, tiny_config


def tiny(encoder: str) -> tuple[Any, Any]:
    """A model of 64 pixels and a few thousand random parameters, and its processor."""
    from sam_hub.models.image_processing_sam import SamImageProcessor
    from sam_hub.models.modeling_sam import SamModel

    model = randomise(SamModel(tiny_config(encoder, image_size=64))).eval()
    return model, SamImageProcessor.for_config(model.config)


class ModelKind(Kind):
    """The folder of a tiny model."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.sound = self.saved("sam_hub_pocket", folder)

    def saved(self, encoder: str, folder: Path) -> dict[str, bytes]:
        """Write a tiny model to a folder; returns its files."""
        model, processor = tiny(encoder)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


class Config(ModelKind):
    """Configurations of every encoder that the families declare."""

    def __init__(self, folder: Path) -> None:
        Kind.__init__(self, folder)
        self.models = [(folder / name, self.saved(name, folder / name)) for name in sorted(TINY_ENCODERS)]

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub import SamModel

        folder, sound = self.models[int(rng.integers(len(self.models)))]
        (folder / "config.json").write_bytes(mutated_json(json.loads(sound["config.json"]), rng))
        SamModel.from_pretrained(folder)


class Preprocessor(ModelKind):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "processor_config.json").unlink(missing_ok=True)  # it would be read first
        self.settings = tiny("sam_hub_pocket")[1].to_dict()

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.inference.runtime import read_preparation
        from sam_hub.models.image_processing_sam import SamImageProcessor

        (self.folder / "preprocessor_config.json").write_bytes(mutated_json(self.settings, rng))
        pixels = np.zeros((*SIZE, 3), np.uint8)
        with contextlib.suppress(SamHubError):
            read_preparation(self.folder)(pixels)
        SamImageProcessor.from_pretrained(self.folder)(pixels)


class Safetensors(ModelKind):
    """Mostly the header is mutated."""

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


class Checkpoint(Kind):
    """A .pt in the original layout, with damaged bytes or wrong contents."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from sam_hub.convert import to_original

        self.weights = to_original(tiny("sam_vision_model")[0].state_dict(), "sam")
        self.sound = self.file(self.weights)

    @staticmethod
    def file(weights: dict[str, Any]) -> bytes:
        import torch

        buffer = io.BytesIO()
        torch.save({"model": weights, "step": 3}, buffer)
        return buffer.getvalue()

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.convert import read_checkpoint, to_ours

        path, inside = self.folder / "x.pt", rng.random() < 0.5
        path.write_bytes(self.file(mutated_weights(self.weights, rng)) if inside else mutated_bytes(self.sound, rng))
        to_ours(read_checkpoint(path))


class Bundle(Kind):
    """An exported folder with a damaged manifest, proof or processor configuration."""

    files = ("export.json", "proof/proof.npz", "preprocessor_config.json", "proof/0.png")

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from sam_hub.exporters.bundle import export_bundle

        self.home = folder / "bundle"
        model, processor = tiny("sam_hub_pocket")
        export_bundle("tiny", self.home, {"onnx": ("fp32",)}, model=model, processor=processor)
        self.sound = {name: (self.home / name).read_bytes() for name in self.files}

    def run(self, rng: np.random.Generator) -> None:
        from sam_hub.exporters.manifest import Manifest
        from sam_hub.exporters.proof import Proof

        name = self.files[int(rng.integers(len(self.files)))]
        path, sound = self.home / name, self.sound[name]
        try:
            mutate = name.endswith(".json") and rng.random() < 0.8
            path.write_bytes(mutated_json(json.loads(sound), rng) if mutate else mutated_bytes(sound, rng))
            if name == "export.json":
                Manifest.read(self.home).check_files(self.home)
            else:
                Proof.load(self.home)
        finally:
            path.write_bytes(sound)


class Plan(Kind):
    """The plan that `everything --resume` reads."""

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
    """A tile's intermediate file that `everything --resume` reads."""

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
    """A project's file, with damaged bytes or a wrong value in a row."""

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
        """Write values of any type, with SQLite's checks switched off."""
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
