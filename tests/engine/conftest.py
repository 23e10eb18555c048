"""Small projects with noise for photos; no test here depends on the content."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_hub.engine import photos
from sam_hub.engine.store import MaskVersion, Project
from sam_hub.ops.masks import mask_to_rle

SIZE = (24, 32)
"""(H, W)"""


def write_photos(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        noise = np.random.default_rng(i).integers(0, 256, (*SIZE, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i:03}.png")
    return folder


def blob(seed: int) -> np.ndarray:
    """A mask of two rectangles with a hole."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(SIZE, bool)
    for _ in range(2):
        y, x = rng.integers(0, 14), rng.integers(0, 20)
        mask[y : y + 9, x : x + 10] = True
    mask[y + 3, x + 4] = False
    return mask


def version(request: str, object: str = "a", state: str = "accepted", seed: int = 0, **more: object) -> MaskVersion:
    base = {"stage": "assisted", "round": 0, "model": "pocket", "annotator": "ann"}
    return MaskVersion(request, object, state, mask_to_rle(blob(seed)), **{**base, **more})


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    made = []

    def make(count: int = 6, held_share: float = 0.2, name: str = "cells") -> Project:
        folder = write_photos(tmp_path / "photos", count)
        project = Project.create(tmp_path / name, "pocket", held_share)
        made.append(project)
        photos.add(project, photos.find([folder], project.folder))
        return project

    yield make
    for project in made:
        project.close()


@pytest.fixture
def project(make_project: Callable[..., Project]) -> Project:
    return make_project()
