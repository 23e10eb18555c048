"""Samples: augmented views with their masks, a pure function of seed and index."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hub.data.sa1b import Sa1bDataset, Sample
from sam_hub.errors import DataError
from sam_hub.ops.masks import mask_to_rle
from sam_hub.training.episodes import EpisodeDataset, ViewPreparation, choose_view, collate
from sam_hub.training.recipe import LARGE_SCALE_JITTER, NO_AUGMENTATION, Augmentation, Recipe

from .conftest import box_of, disks

GREY = ViewPreparation(64, 64, (127.0,) * 3, (128.0,) * 3)
PLAIN = Recipe(objects=3, augmentation=NO_AUGMENTATION)


def episodes(shards: Path, recipe, length: int = 40, preparation: ViewPreparation = GREY, **options) -> EpisodeDataset:
    return EpisodeDataset(
        [Sa1bDataset(shards / f"{n}.tar") for n in ("one", "two")], recipe, length, preparation, **options
    )


def blocks(pixels: torch.Tensor) -> torch.Tensor:
    """(3, 64, 64) -> the mean grey of each low-res pixel, (16, 16)."""
    return pixels.mean(0).reshape(16, 4, 16, 4).mean((1, 3))


def test_samples_depend_on_seed_and_index_alone(shards, recipe):
    first, again = episodes(shards, recipe), episodes(shards, recipe)
    other = episodes(shards, replace(recipe, seed=1))
    for i in (7, 3):
        a, b = first[i], again[i]
        assert a["pixel_values"].shape == (3, 64, 64) and a["labels"].shape == (3, 16, 16)
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert not torch.equal(a["pixel_values"], other[i]["pixel_values"]) and a["seed"] != other[i]["seed"]
    assert not torch.equal(first[7]["pixel_values"], first[3]["pixel_values"])
    with pytest.raises(IndexError):
        first[40]


@pytest.mark.parametrize("augmentation", [Augmentation(), LARGE_SCALE_JITTER, Augmentation(copy_paste=1.0)])
def test_masks_stay_on_their_objects_through_the_augmentation(shards, recipe, augmentation):
    """The disks are brighter than the ground: under a mask the view must be bright."""
    data = episodes(shards, replace(recipe, background_probability=0.0, augmentation=augmentation))
    agree = []
    for i in range(40):
        grey = blocks(data[i]["pixel_values"])
        agree += [(grey[m].mean() > grey[~m].mean()).item() for m in data[i]["labels"].bool()]
    assert np.mean(agree) > 0.9


def test_the_rest_of_the_photo_is_an_object(shards, recipe):
    data = episodes(shards, replace(recipe, background_probability=1.0), 20)
    dark = 0
    for i in range(20):
        grey = blocks(data[i]["pixel_values"])
        dark += any(grey[m].mean() < grey[~m].mean() for m in data[i]["labels"].bool() if 0 < m.sum() < m.numel())
    assert dark >= 15


@pytest.mark.parametrize("repeat", [False, True])
def test_no_box_asks_for_the_rest_of_the_photo(shards, repeat):
    """Its box is the whole photo, which says nothing about what is meant; every other object may have a box."""
    plain = replace(PLAIN, objects=6, min_area=1, repeat_objects=repeat)
    data = episodes(shards, replace(plain, background_probability=1.0), wholes=(1.0, 1.0))
    for item in (data[i] for i in range(20)):
        grey = blocks(item["pixel_values"])
        ground = torch.stack([grey[m].mean() < grey[~m & (grey != 0)].mean() for m in item["labels"].bool()])
        assert ground.any() and torch.equal(item["boxable"], ~ground)
    assert "boxable" not in episodes(shards, plain)[0]


def test_the_objects_of_some_data_sets_are_one_object_together(shards):
    plain = replace(PLAIN, objects=5, min_area=1)

    def labels(recipe: Recipe, shares: tuple, wholes: tuple | None) -> list[torch.Tensor]:
        data = episodes(shards, recipe, weights=shares, wholes=wholes)
        return [data[i]["labels"].bool() for i in range(12)]

    for masks in labels(plain, (1.0, 0.0), (1.0, 0.0)):
        sizes = masks.flatten(1).sum(1)
        whole, parts = masks[sizes.argmax()], masks[sizes.argsort()[:-1]].any(0)
        assert len(masks) == 4 and (whole ^ parts).sum() <= 4  # where neither of two parts fills half of a pixel
    assert {len(masks) for masks in labels(plain, (0.0, 1.0), (1.0, 0.0))} == {3}
    assert {len(masks) for masks in labels(plain, (1.0, 0.0), None)} == {3}
    with_ground = replace(plain, background_probability=1.0)
    for masks in labels(with_ground, (1.0, 0.0), (1.0, 1.0)):
        # The whole and the background leave nothing out.
        assert len(masks) == 5 and min((a ^ b ^ masks.any(0)).sum() for a in masks for b in masks if a is not b) <= 4
    for whole, ground in labels(replace(with_ground, objects=2), (1.0, 0.0), (1.0, 1.0)):
        assert (whole & ground).sum() <= 4 and (whole | ground).sum() >= 16 * 11  # the photo, in low-res pixels
    for masks in labels(replace(with_ground, objects=1), (1.0, 0.0), (1.0, 1.0)):
        assert len(masks) == 1  # never more than are asked for


def test_without_augmentation_it_is_what_the_model_will_see(shards):
    """Against the processor, up to its other resize filter; and every object is where it is in the photo."""
    from PIL import Image

    from sam_hub import SamImageProcessor

    processor = SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    data = episodes(shards, PLAIN, preparation=ViewPreparation.of(processor))
    samples = [s for shard in data.datasets for s in shard]
    for i in range(6):
        got = data[i]
        seen = [processor(Image.fromarray(s.image), return_tensors="pt")["pixel_values"][0] for s in samples]
        distance = [(got["pixel_values"] - pixels).abs().mean().item() for pixels in seen]
        assert min(distance) < 0.05 < sorted(distance)[1]
        sample = samples[int(np.argmin(distance))]
        small = [np.asarray(Image.fromarray(sample.mask(j)).convert("L").resize((16, 12), Image.BOX)) for j in range(3)]
        for label in got["labels"].bool().numpy():
            overlap = [(label[:12] & (s > 127)).sum() / (label[:12] | (s > 127)).sum() for s in small]
            assert max(overlap) > 0.7


def test_pasted_objects_cover_what_was_there(shards, recipe):
    """There are more objects, and the picture has changed."""
    plain = replace(PLAIN, objects=64, augmentation=replace(NO_AUGMENTATION, copy_paste=0.0))
    pasted = replace(plain, augmentation=replace(NO_AUGMENTATION, copy_paste=1.0))
    without, with_ = episodes(shards, plain), episodes(shards, pasted)
    assert sum(len(with_[i]["labels"]) for i in range(20)) > sum(len(without[i]["labels"]) for i in range(20)) + 10
    changed = [not torch.equal(with_[i]["pixel_values"], without[i]["pixel_values"]) for i in range(20)]
    assert np.mean(changed) > 0.8


def test_whole_things_are_pasted_small_and_anywhere():
    """A red block beside a green one is one thing, pasted onto a photo of a blue one, at half its size."""

    def photo(name: str, colours: list[tuple[slice, slice, int]]) -> Sample:
        image, annotations = np.full((64, 64, 3), 20, np.uint8), []
        for rows, columns, channel in colours:
            mask = np.zeros((64, 64), bool)
            mask[rows, columns] = True
            image[mask, channel] = 220
            annotations.append({"segmentation": mask_to_rle(mask), "bbox": box_of(mask)})
        return Sample(name, image, annotations)

    whole = photo("whole", [(slice(16, 48), slice(16, 32), 0), (slice(16, 48), slice(32, 48), 1)])
    plain = photo("plain", [(slice(8, 56), slice(8, 56), 2)])
    recipe = replace(PLAIN, objects=8, min_area=1, label_stride=1)
    recipe = replace(recipe, augmentation=replace(NO_AUGMENTATION, copy_paste=1.0, paste_scale=(0.5, 0.5)))
    data = EpisodeDataset([[whole], [plain]], recipe, 40, GREY, weights=[0, 1], wholes=[1.0, 0.0])
    counts, corners = [], set()
    for item in (data[i] for i in range(40)):
        red, green, blue = item["pixel_values"] > 0
        masks = item["labels"].bool()
        pasted = [m for m in masks if (m & (red | green)).any()]
        (own,) = [m for m in masks if (m & blue).any()]
        assert torch.equal(own, blue) and masks.sum(0).max() <= 1  # what is below is cut
        counts.append(len(pasted))
        if len(pasted) == 1:
            corners.add(tuple(pasted[0].nonzero().min(0).values.tolist()))
            assert [int((pasted[0] & colour).sum()) for colour in (red, green)] == [16 * 8, 16 * 8]
    assert set(counts) == {0, 1, 2, 3} and 10 < counts.count(0) < 30 and len(corners) >= 5


def test_numbered_views_are_few_and_the_first_is_whole(shards):
    data = episodes(shards, replace(PLAIN, augmentation=Augmentation()), 60, views=3)
    keys = dict(data.each_view())
    assert len(keys) == 8 * 3
    seen = {data[i]["pixel_values"].numpy().tobytes() for i in range(60)}
    known = {GREY.pixel_values(view).numpy().tobytes() for view in keys.values()}
    assert seen <= known and len(seen) > 12
    assert sum(view.shape == (47, 64, 3) for view in keys.values()) >= 8  # 80 x 110 whole


@pytest.mark.parametrize("stretched", [True, False])
def test_stretched_and_padded_inputs(shards, stretched):
    data = episodes(shards, PLAIN, preparation=replace(GREY, stretched=stretched))
    padding = [(data[i]["pixel_values"][:, 48:] == 0).all().item() for i in range(5)]
    assert padding == [not stretched] * 5


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(5, 200),
    width=st.integers(5, 200),
    low=st.floats(0.1, 1.0),
    high=st.floats(1.0, 4.0),
    stretched=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_a_view_lies_in_the_photo_and_fits_the_input(height, width, low, high, stretched, seed):
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), bool)
    y, x = rng.integers(height), rng.integers(width)
    mask[y : y + 9, x : x + 9] = True
    sample = Sample(
        "a", np.zeros((height, width, 3), np.uint8), [{"segmentation": mask_to_rle(mask), "bbox": box_of(mask)}]
    )
    view = choose_view(sample, 64, stretched, Augmentation(scale=(low, high)), rng)
    assert 0 <= view.rows.start < view.rows.stop <= height and 0 <= view.columns.start < view.columns.stop <= width
    shown = view.render(sample.image, 64, 1)
    assert max(shown.shape[:2]) <= 64 and min(shown.shape[:2]) >= 1


def test_the_collated_batch_says_what_is_padding():
    samples = [
        {
            "pixel_values": torch.zeros(3, 4, 4),
            "labels": torch.ones(n, 2, 2),
            "boxable": torch.arange(n) != 1,
            "seed": torch.tensor(n),
        }
        for n in (1, 3)
    ]
    batch = collate(samples)
    assert set(batch) == {"pixel_values", "labels", "boxable", "valid", "seeds"}
    assert batch["boxable"].tolist() == [[True, False, False], [True, False, True]]
    assert batch["labels"].shape == (2, 3, 2, 2) and batch["seeds"].tolist() == [1, 3]
    assert batch["valid"].tolist() == [[True, False, False], [True] * 3]
    assert torch.equal(batch["labels"].any(-1).any(-1), batch["valid"])


class Damaged:
    """Every third image cannot be read, and one object of the others is nothing."""

    name, path = "damaged", Path("damaged")

    def __len__(self) -> int:
        return 9

    def __getitem__(self, index: int) -> Sample:
        if index % 3 == 0:
            raise DataError(f"{index}.jpg is broken")
        image, masks = disks(np.random.default_rng(index))
        masks.append(np.zeros_like(masks[0]))
        boxes = [box_of(m) if m.any() else [0, 0, 0, 0] for m in masks]
        return Sample(
            str(index), image, [{"segmentation": mask_to_rle(m), "bbox": b} for m, b in zip(masks, boxes, strict=True)]
        )


def test_damaged_samples_are_named_once_and_replaced():
    data = EpisodeDataset([Damaged()], PLAIN, 30, GREY)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert all(data[i]["labels"].flatten(1).any(1).all() for i in range(30))
    said = sorted(str(w.message) for w in caught if "left out" in str(w.message))
    assert said == [f"left out: {i}.jpg is broken" for i in (0, 3, 6)]


def test_nothing_to_train_on_is_refused(shards):
    with pytest.raises(DataError, match="no usable object"):
        episodes(shards, replace(PLAIN, min_area=10_000))[0]
