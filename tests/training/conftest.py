"""A tiny `pocket`, and photos with coloured disks."""

import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.masks import mask_to_rle
from sam_hub.training.pocket_recipes import POCKET_RECIPES, PocketRecipe

from ..models.conftest import randomise, tiny_config


def disks(rng: np.random.Generator, count: int = 3) -> tuple[np.ndarray, list[np.ndarray]]:
    """A dark photo (80, 110, 3) with bright disks, and their masks."""
    y, x = np.mgrid[:80, :110]
    image, masks = np.full((80, 110, 3), rng.integers(0, 90, 3), np.uint8), []
    for _ in range(count):
        cx, cy, r = rng.integers(20, 90), rng.integers(20, 60), rng.integers(9, 18)
        mask = (x - cx) ** 2 + (y - cy) ** 2 < r * r
        image[mask] = rng.integers(120, 255, 3)
        masks.append(mask)
    return image, masks


def box_of(mask: np.ndarray) -> list[int]:
    y, x = np.nonzero(mask)
    return [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of four photos with three disks each."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for shard in ("one", "two"):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for i in range(4):
                image, masks = disks(rng)
                annotations = [
                    {"id": j, "segmentation": mask_to_rle(mask), "bbox": box_of(mask)} for j, mask in enumerate(masks)
                ]
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, "JPEG")
                text = json.dumps({"image": {"width": 110, "height": 80}, "annotations": annotations})
                for name, data in ((f"{shard}_{i}.jpg", buffer.getvalue()), (f"{shard}_{i}.json", text.encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


@pytest.fixture(scope="session")
def recipe() -> PocketRecipe:
    """Six quick steps on both shards."""
    return replace(
        POCKET_RECIPES["pocket-256"],
        image_size=64,
        images=2,
        objects=3,
        shards={"one": 0.5, "two": 0.5},
        steps=6,
        warmup=2,
    )


@pytest.fixture(scope="session")
def new_model() -> Callable[..., SamModel]:
    """A tiny model with random weights, the same each time."""

    def make(vision: str = "sam_hub_pocket", **settings: object) -> SamModel:
        return randomise(SamModel(tiny_config(vision, image_size=64, **settings)))

    return make
