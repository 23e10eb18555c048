"""Synthetic scenes and textures, and augmented views and colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sam_hub.data.sa1b import Sa1bDataset, Sample
from sam_hub.training import textures
from sam_hub.training.colours import STRONG_CHANGES, change_strongly
from sam_hub.training.episodes import choose_view
from sam_hub.training.pack import draw_order, pack
from sam_hub.training.pocket import open_shards, pocket_episodes
from sam_hub.training.pocket_recipes import POCKET_RECIPES, VARIED_SHARDS
from sam_hub.training.recipe import Augmentation
from sam_hub.training.scenes import SceneDataset, paste
from sam_hub.training.textures import KINDS, TextureDataset

from ..models.conftest import tiny_config


@pytest.fixture
def scenes(shards: Path) -> SceneDataset:
    data = [Sa1bDataset(shards / f"{name}.tar") for name in ("one", "two")]
    return SceneDataset(data, [0.5, 0.5], [False, True], seed=3, side=120)


def check(sample: Sample, smallest: int) -> None:
    """Every annotation agrees with its mask, and none is empty."""
    assert sample.image.dtype == np.uint8 and sample.image.ndim == 3
    for i, annotation in enumerate(sample.annotations):
        mask = sample.mask(i)
        y, x = np.nonzero(mask)
        assert annotation["area"] == mask.sum() >= smallest
        assert annotation["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1]


def test_scenes_are_a_function_of_seed_and_number(scenes: SceneDataset):
    first, again = scenes[5], scenes[5]
    np.testing.assert_array_equal(first.image, again.image)
    assert first.annotations == again.annotations
    assert not np.array_equal(first.image, scenes[6].image)
    found = [scenes[i] for i in range(12)]
    for sample in found:
        assert max(sample.image.shape[:2]) == 120
        check(sample, 12)
    assert sum(len(sample.annotations) for sample in found) > 12


def test_a_thing_that_is_more_than_twice_as_long_as_the_scene():
    long = np.full((250, 10, 3), 200, np.uint8), [np.ones((250, 10), np.float32)]
    for seed in range(10):
        scene, layers = paste(np.zeros((100, 100, 3), np.uint8), [], long, np.random.default_rng(seed))
        assert len(layers) == 1 and 10 * 20 < layers[0].sum() <= 10 * 100 and scene.any()


def test_a_scene_has_things_of_every_size_and_parts_inside_things(scenes: SceneDataset):
    sides, nested = [], 0
    for i in range(40):
        sample = scenes[i]
        masks = [sample.mask(j) for j in range(len(sample.annotations))]
        sides += [max(a["bbox"][2:]) for a in sample.annotations]
        nested += sum((a & b).sum() == a.sum() and a is not b for a in masks for b in masks)
    assert min(sides) <= 15 and max(sides) >= 50 and nested > 5


def test_what_is_pasted_hides_what_lay_there():
    canvas = np.full((40, 40, 3), 90, np.uint8)
    below = np.zeros((40, 40), bool)
    below[5:35, 5:35] = True
    thing = np.full((20, 20, 3), 200, np.uint8), [np.ones((20, 20), np.float32)]
    scene, layers = paste(canvas, [below], thing, np.random.default_rng(0))
    assert len(layers) == 2 and layers[1].any()
    assert not (layers[0] & layers[1]).any()
    np.testing.assert_array_equal(layers[0], below & ~layers[1])
    assert scene[layers[1]].mean() > 95 and canvas.mean() == 90


@pytest.mark.parametrize("kind", KINDS, ids=lambda f: f.__name__)
def test_textures_have_objects_whose_masks_fit(kind, monkeypatch):
    monkeypatch.setattr(textures, "KINDS", (kind,))
    data = TextureDataset(seed=1, side=128)
    sample = data[4]
    check(sample, 16)
    assert sample.annotations and sample.image.shape == (128, 128, 3)
    np.testing.assert_array_equal(sample.image, data[4].image)
    assert not np.array_equal(sample.image, data[5].image)


def test_cells_and_their_nuclei_are_nested():
    _, masks = textures.cells(160, np.random.default_rng(0))
    inside = [(a, b) for a in masks for b in masks if a is not b and (a & b).sum() == a.sum()]
    assert inside and all(a.sum() < b.sum() for a, b in inside)


@pytest.mark.parametrize("change", STRONG_CHANGES, ids=lambda f: f.__name__)
def test_strong_changes_keep_the_shape(change):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (30, 40, 3), np.uint8)
    changed = change(image, rng)
    assert changed.shape == image.shape and changed.dtype == np.uint8 and not np.array_equal(changed, image)
    assert change_strongly(image, rng).shape == image.shape


def test_zoomed_views_show_one_small_object_large():
    image = np.zeros((400, 600, 3), np.uint8)
    sample = Sample("small", image, [{"bbox": [300, 200, 20, 12]}])
    zoomed = Augmentation(scale=(1.0, 1.0), zoom=1.0)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        view = choose_view(sample, 512, False, zoomed, rng)
        assert 0.14 * 512 <= 20 * view.scale[1] <= 0.61 * 512 and max(view.scale) <= 8.001
        assert view.columns.start < 320 and view.columns.stop > 300 and view.rows.start < 212 and view.rows.stop > 200


def test_the_varied_recipe_draws_from_every_shard(shards: Path):
    recipe = replace(
        POCKET_RECIPES["pocket-512-varied"],
        image_size=64,
        objects=3,
        steps=6,
        images=2,
        shards={"one": 0.3, "scenes": 0.3, "textures": 0.2, "two": 0.2},
        wholes={"two": 1.0},
    )
    assert list(open_shards(shards, recipe)) == list(recipe.shards)
    episodes = pocket_episodes(shards, recipe, tiny_config("sam_hub_pocket", image_size=64))
    for i in range(12):
        item = episodes[i]
        assert item["pixel_values"].shape == (3, 64, 64) and item["labels"].shape == (3, 32, 32)
    assert sum(VARIED_SHARDS.values()) == pytest.approx(1.0)


def test_packed_shards_fit_and_hold_scaled_masks(shards: Path, tmp_path: Path):
    sources = [shards / "one.tar", shards / "two.tar"]
    manifest = pack(sources, tmp_path / "all", 2**20, side=55)
    assert {name: row["images"] for name, row in manifest["shards"].items()} == {"one": 4, "two": 4}
    before, after = Sa1bDataset(sources[0]), Sa1bDataset(tmp_path / "all" / "one.tar")
    for i in range(4):
        assert after[i].image.shape == (40, 55, 3)
        check(after[i], 9)
        for j in range(len(after[i].annotations)):
            assert after[i].mask(j).mean() == pytest.approx(before[i].mask(j).mean(), rel=0.1)
    budget = 36_000
    manifest = pack(sources, tmp_path / "few", budget)
    size = sum((tmp_path / "few" / f"{name}.tar").stat().st_size for name in ("one", "two"))
    assert 0 < size <= budget and sum(row["images"] for row in manifest["shards"].values()) < 8


def test_small_shards_are_packed_whole_before_large_ones():
    order = list(draw_order([4, 400], seed=0))
    first = order[:44]
    assert sorted(i for s, i in first if s == 0) == [0, 1, 2, 3]
    assert len(order) == 404 and len(set(order)) == 404
