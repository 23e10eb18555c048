"""Run lengths are validated before use; valid ones are decoded as by pycocotools."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from sam_hub.data.coco import CocoDataset
from sam_hub.data.inspection import usable_objects
from sam_hub.data.sa1b import Sample, check_segmentation, decode_segmentation
from sam_hub.errors import DataError
from sam_hub.ops.images import MAX_PIXELS
from sam_hub.ops.masks import mask_to_rle, mask_to_uncompressed_rle
from sam_hub.ops.run_lengths import check_rle, compress_rle, rle_area, rle_counts, rle_to_mask

ROOT = Path(__file__).parents[2]
small_masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(lambda s: arrays(bool, s))


def written(counts: list[int]) -> str:
    """Any counts in the compressed form, negative ones too (``maskApi.c``, rleToString)."""
    text = ""
    for i, count in enumerate(counts):
        x = count - (counts[i - 2] if i > 2 else 0)
        more = True
        while more:
            c, x = x & 31, x >> 5
            more = x != -1 if c & 16 else x != 0
            text += chr(48 + (c | 32 if more else c))
    return text


@given(st.lists(st.integers(0, 3_000_000), min_size=1, max_size=30).filter(any))
def test_counts_of_either_form(counts: list[int]) -> None:
    size = [1, sum(counts)]
    packed = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)["counts"]
    assert written(counts) == packed.decode()
    for form in (counts, tuple(counts), [float(c) for c in counts], packed, packed.decode()):
        assert rle_counts({"size": size, "counts": form}, size).tolist() == counts
        assert compress_rle({"size": size, "counts": form}) == {"size": size, "counts": packed.decode()}
        assert rle_area({"size": size, "counts": form}) == sum(counts[1::2])


@given(small_masks)
def test_masks_of_either_form(mask: np.ndarray) -> None:
    for rle in (mask_to_rle(mask), mask_to_uncompressed_rle(mask)):
        checked = check_rle({**rle, "more": 1}, mask.shape)
        assert checked == rle and checked["counts"] == rle["counts"]
        found = rle_to_mask(rle, mask.shape)
        assert found.dtype == bool and np.array_equal(found, mask)


SIZE = [4, 5]
DAMAGED = {
    "no run lengths": (None, "is not run lengths"),
    "a list": ([1, 2], "is not run lengths"),
    "no counts": ({"size": SIZE}, "neither text"),
    "no size": ({"counts": [20]}, "their size"),
    "a size of text": ({"size": "45", "counts": [20]}, "their size"),
    "a size of three": ({"size": [4, 5, 1], "counts": [20]}, "their size"),
    "a size of floats": ({"size": [4.0, 5.0], "counts": [20]}, "their size"),
    "a negative size": ({"size": [-4, -5], "counts": [20]}, "their size"),
    "a size beyond every image": ({"size": [MAX_PIXELS, 2], "counts": [2 * MAX_PIXELS]}, "million"),
    "another size": ({"size": [5, 4], "counts": [20]}, "is of an image of 4 x 5"),
    "empty counts": ({"size": SIZE, "counts": []}, "no counts"),
    "empty text": ({"size": SIZE, "counts": ""}, "no counts"),
    "counts of text": ({"size": SIZE, "counts": ["20"]}, "not whole"),
    "counts of lists": ({"size": SIZE, "counts": [[20]]}, "not whole"),
    "fractions": ({"size": SIZE, "counts": [19.5, 0.5]}, "not whole"),
    "not finite": ({"size": SIZE, "counts": [float("inf"), 20.0]}, "not whole"),
    "nan": ({"size": SIZE, "counts": [float("nan"), 20.0]}, "not whole"),
    "beyond 64 bits": ({"size": SIZE, "counts": [1 << 70, 20]}, "beyond 64"),
    "a negative run": ({"size": SIZE, "counts": [10, -3, 13]}, "negative"),
    "a negative run, compressed": ({"size": SIZE, "counts": written([10, -3, 13])}, "negative"),
    "a negative difference too far, compressed": ({"size": SIZE, "counts": written([5, 5, 5, -5, 10])}, "negative"),
    "a negative first run, compressed": ({"size": SIZE, "counts": written([-5, 25])}, "negative"),
    "too short": ({"size": SIZE, "counts": [10, 9]}, "cover"),
    "too short, compressed": ({"size": SIZE, "counts": written([10, 9])}, "cover"),
    "too long": ({"size": SIZE, "counts": [10, 11]}, "cover"),
    "too long, compressed": ({"size": SIZE, "counts": written([10, 11])}, "cover"),
    "runs that wrap around 32 bits": ({"size": SIZE, "counts": [10, (1 << 32) + 10]}, "cover"),
    "runs that wrap around 32 bits, compressed": ({"size": SIZE, "counts": written([10, (1 << 32) + 10])}, "cover"),
    "a sum that wraps around 64 bits": ({"size": SIZE, "counts": [(1 << 63) - 1, (1 << 63) - 1, 22]}, "cover"),
    "an unfinished count": ({"size": SIZE, "counts": written([10, 10])[:-1] + "Z"}, "is cut short"),
    "a count of a hundred characters": ({"size": SIZE, "counts": "P" * 100 + "0"}, "too long"),
    "a character that is none": ({"size": SIZE, "counts": "d~0"}, "a character"),
    "a character below": ({"size": SIZE, "counts": "d\x000"}, "a character"),
    "no ASCII": ({"size": SIZE, "counts": "dé"}, "a character"),
    "bytes that are none": ({"size": SIZE, "counts": b"\xff\xff"}, "a character"),
    "some empty runs too many, compressed": ({"size": SIZE, "counts": "0" * 45 + "d0"}, "more than pixels"),
    "a million empty runs": ({"size": SIZE, "counts": [0] * 1_000_000 + [20]}, "more than pixels"),
    "a million empty runs, compressed": ({"size": SIZE, "counts": "0" * 1_000_000 + "d0"}, "more than pixels"),
}  # fmt: skip


@pytest.mark.parametrize(("rle", "why"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_run_lengths_are_named(rle: object, why: str) -> None:
    for read in (rle_counts, check_rle, rle_to_mask, rle_area):
        with pytest.raises(DataError, match=f"^the mask .*{why}"):
            read(rle, SIZE)
    if not isinstance(rle, dict) or rle.get("size") != [5, 4]:
        with pytest.raises(DataError, match="the mask"):
            compress_rle(rle)
    for read in (check_segmentation, decode_segmentation):
        with pytest.raises(DataError, match=r"a\.png: the mask"):
            read(rle, SIZE, "a.png")


@pytest.mark.parametrize(
    ("size", "counts"), [([1 << 20, 1 << 20], [1 << 40]), (SIZE, "0" * 2_000_000), (SIZE, [0] * 2_000_000)]
)
def test_no_memory_is_taken_for_what_cannot_be(size: list[int], counts: str | list[int]) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"million pixels|more than pixels"):
            rle_to_mask({"size": size, "counts": counts})
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


legal = st.text(st.characters(min_codepoint=48, max_codepoint=111), max_size=12)
compressed_counts = legal | st.text(max_size=8) | st.binary(max_size=8) | st.lists(st.integers(-30, 40)).map(written)
plain_counts = st.lists(st.integers(-30, 40) | st.floats() | st.integers(-(1 << 66), 1 << 66) | st.none(), max_size=8)
sides = st.integers(-1, 9)
any_rle = st.fixed_dictionaries({"size": st.lists(sides, min_size=2, max_size=2), "counts": compressed_counts})
any_rle |= st.fixed_dictionaries({"size": st.lists(sides, min_size=2, max_size=2), "counts": plain_counts})


def through_readers(rle: dict) -> None:
    """What every reader does with a segmentation: a named problem, or what pycocotools makes of it."""
    size = tuple(rle["size"])
    try:
        mask = rle_to_mask(rle)
    except DataError:
        mask = None
    reader = CocoDataset.__new__(CocoDataset)
    reader.path = "x.json"
    found = reader._object({"segmentation": rle}, size, "a.png", 0)
    assert ("problem" in found) == (mask is None)
    if mask is None:
        return
    checked = compress_rle(rle)
    assert np.array_equal(coco_mask.decode(checked).astype(bool).reshape(mask.shape), mask)
    assert coco_mask.area(checked) == rle_area(rle) == mask.sum()
    if mask.size:
        usable_objects(Sample("a.png", np.zeros((*size, 3), np.uint8), [{"segmentation": rle}]))


def fuzz(examples: int) -> None:
    settings(max_examples=examples, deadline=None, database=None)(given(any_rle)(through_readers))()


def test_random_run_lengths_never_end_the_process() -> None:
    """In a process of its own: without the checks it would be killed, not fail."""
    code = "from tests.ops.test_run_lengths import fuzz; fuzz(1500); print('alive')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0 and done.stdout == "alive\n", done.stderr[-2000:]


@pytest.mark.parametrize("reader", ["coco", "sa1b"])
def test_a_negative_run_in_a_file_is_named_and_the_rest_is_read(tmp_path, reader: str) -> None:
    """The compressed form, which pycocotools would follow to a place before the mask."""
    from PIL import Image

    from sam_hub.data.discovery import open_dataset
    from sam_hub.data.inspection import inspect

    mask = np.zeros((4, 5), bool)
    mask[1:3, 1:3] = True
    Image.new("RGB", (5, 4)).save(tmp_path / "a.png")
    annotations = [
        {"id": i + 1, "image_id": 1, "segmentation": s, "bbox": [0, 0, 1, 1]}
        for i, s in enumerate([DAMAGED["a negative run, compressed"][0], mask_to_rle(mask)])
    ]
    document = {"annotations": annotations}
    if reader == "coco":
        document["images"] = [{"id": 1, "file_name": "a.png"}]
    else:
        document["image"] = {"file_name": "a.png"}
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = inspect(open_dataset(tmp_path))
    assert found.objects == 1 and any("negative" in p for p in found.problems)


@pytest.mark.parametrize("block", [1, 2, 5, 1000])
def test_long_texts_are_unpacked_in_blocks(block, monkeypatch):
    """The same counts and the same refusals, wherever a text is cut."""
    from sam_hub.ops import run_lengths

    rng = np.random.default_rng(0)
    masks = [rng.random((90, 70)) < share for share in (0.02, 0.5)] + [np.ones((90, 70), bool)]
    masks[0][:, 20:60] = True
    monkeypatch.setattr(run_lengths, "BLOCK", block)
    for mask in masks:
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        np.testing.assert_array_equal(rle_to_mask(rle), mask)
        text = rle["counts"].decode()
        for damaged in (text[:-1] + "o", text + "oooooooo0", text + "!", text + "1"):
            with pytest.raises(DataError, match="damaged run lengths"):
                rle_to_mask({"size": [90, 70], "counts": damaged})
