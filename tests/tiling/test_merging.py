"""Known label images, cut into tiles and merged again."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam_hub.errors import WrongUsage
from sam_hub.ops.masks import mask_to_rle, rle_to_mask
from sam_hub.tiling.grid import Grid, shared
from sam_hub.tiling.merging import merge, separate
from sam_hub.tiling.pieces import Piece

Labels = np.ndarray


def cut(labels: Labels, grid: Grid, connected: bool = False) -> list[Piece]:
    """What a perfect model finds in each tile: the pixels of each label, or each connected part of them."""
    pieces = []
    for tile, (x0, y0, x1, y1) in enumerate(grid.windows):
        window = labels[y0:y1, x0:x1]
        for value in np.unique(window[window > 0]):
            mask = window == value
            parts = [mask]
            if connected:
                count, numbers = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
                parts = [numbers == k for k in range(1, count)]
            pieces += [Piece.of(part, (x0, y0), tile) for part in parts]
    return pieces


def assert_back(labels: Labels, grid: Grid, connected: bool = False) -> None:
    """Each label is one mask again, and there is no other."""
    found = merge(cut(labels, grid, connected), grid)
    values = [value for value in np.unique(labels) if value]
    assert len(found) == len(values)
    back = np.zeros_like(labels)
    height, width = labels.shape
    for piece in found:
        mask = piece.within((0, 0, width, height))
        assert piece.area == mask.sum()
        (value,) = np.unique(labels[mask])
        np.testing.assert_array_equal(mask, labels == value)
        back[mask] = value
    np.testing.assert_array_equal(back, labels)


def ellipses(size: tuple[int, int], seed: int, count: int, largest: int) -> Labels:
    """Connected labels that touch and cover each other."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(size, np.int32)
    for value in range(1, count + 1):
        centre = rng.integers(0, size[::-1])
        axes = rng.integers(1, largest, 2)
        cv2.ellipse(labels, centre.tolist(), axes.tolist(), float(rng.integers(180)), 0, 360, value, -1)
    out = np.zeros(size, np.int32)
    for number, value in enumerate(np.unique(labels[labels > 0]), start=1):  # the largest part of each
        n, numbers, stats, _ = cv2.connectedComponentsWithStats((labels == value).astype(np.uint8), connectivity=4)
        out[numbers == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()] = number if n > 1 else 0
    return out


SIZES = st.tuples(st.integers(20, 150), st.integers(20, 150))


@settings(deadline=None, max_examples=150)
@given(size=SIZES, seed=st.integers(0, 10**6), count=st.integers(1, 25), largest=st.integers(2, 90),
       tile=st.integers(16, 70), overlap=st.floats(0.05, 0.5), connected=st.booleans())  # fmt: skip
def test_a_label_picture_comes_back(size, seed, count, largest, tile, overlap, connected):
    assert_back(ellipses(size, seed, count, largest), Grid(size, tile, overlap), connected)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10**6), tile=st.integers(16, 40), overlap=st.floats(0.05, 0.5), connected=st.booleans())
def test_windings_come_back(seed, tile, overlap, connected):
    """Thin snakes that cross many tiles, in and out, side by side."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((100, 110), np.int32)
    for value in (1, 2, 3):
        x, y = (int(v) for v in rng.integers(0, 100, 2))
        for _ in range(int(rng.integers(2, 12))):
            to_x, to_y = (int(v) for v in rng.integers(0, 100, 2))
            free = np.zeros_like(labels, np.uint8)
            cv2.line(free, (x, y), (to_x, y), 1, 3)
            cv2.line(free, (to_x, y), (to_x, to_y), 1, 3)
            labels[(free > 0) & (labels == 0)] = value
            x, y = to_x, to_y
    out = np.zeros_like(labels)
    for value in (1, 2, 3):
        n, numbers, stats, _ = cv2.connectedComponentsWithStats((labels == value).astype(np.uint8), connectivity=4)
        if n > 1:
            out[numbers == 1 + stats[1:, cv2.CC_STAT_AREA].argmax()] = value
    assert_back(out, Grid(out.shape, tile, overlap), connected)


GRID = Grid((100, 100), 40, 0.25)


def picture(*boxes: tuple[int, int, int, int]) -> Labels:
    labels = np.zeros((100, 100), np.int32)
    for value, (x0, y0, x1, y1) in enumerate(boxes, start=1):
        labels[y0:y1, x0:x1] = value
    return labels


@pytest.mark.parametrize(
    "boxes",
    {
        "where four tiles meet": [(25, 25, 48, 48)],
        "across whole tiles": [(5, 45, 95, 55)],
        "of the whole picture": [(0, 0, 100, 100)],
        "two that touch along a seam": [(10, 20, 35, 80), (35, 20, 60, 80)],
        "two that touch across a seam": [(10, 30, 90, 50), (10, 50, 90, 70)],
        "in the shared strip alone": [(31, 3, 39, 9), (31, 12, 39, 15)],
        "one in the hole of another": [(20, 20, 80, 80), (40, 40, 60, 60)],
        "pixels": [(32, 33, 33, 34), (34, 33, 35, 34)],
    }.items(),
    ids=lambda item: item[0],
)
@pytest.mark.parametrize("connected", [False, True])
def test_objects(boxes, connected):
    assert len(GRID.windows) > 4
    assert_back(picture(*boxes[1]), GRID, connected)


def test_a_comb_whose_teeth_lie_in_one_tile_and_its_back_in_the_next():
    labels = np.zeros((40, 70), np.int32)
    labels[5:35, 45:50] = 1
    for y in (5, 15, 25):
        labels[y : y + 4, 5:50] = 1
    assert_back(labels, Grid((40, 70), 40, 0.25), connected=True)


def test_masks_that_differ_a_little_on_a_seam():
    grid = Grid((40, 70), 40, 0.25)
    left, right = np.zeros((2, 40, 40), bool)
    left[10:30, 20:] = True
    right[11:31, :20] = True
    (x0, *_), (x1, *_) = grid.windows
    (found,) = merge([Piece.of(left, (x0, 0), 0), Piece.of(right, (x1, 0), 1)], grid)
    assert found.box == (20, 10, 50, 31)


def test_a_part_and_its_whole_that_agree_by_more_than_half_stay_two():
    """Each is joined with what it agrees with most, and with nothing else."""
    grid = Grid((40, 70), 40, 0.25)
    part, whole = np.zeros((2, 40, 70), bool)
    part[10:26, 20:50] = whole[10:36, 20:50] = True
    windows = enumerate(grid.windows)
    pieces = [Piece.of(mask[:, x0:x1], (x0, 0), tile) for tile, (x0, _, x1, _) in windows for mask in (part, whole)]
    found = merge(pieces, grid)
    assert [piece.box for piece in found] == [(20, 10, 50, 26), (20, 10, 50, 36)]


def test_what_a_tile_shows_whole_is_not_joined_with_what_the_next_one_makes_of_it():
    """Of two tiles that show an object whole, the better mask is taken as it is."""
    grid = Grid((40, 70), 40, 0.25)
    (left, _, right_edge, _), (right, *_) = grid.windows
    masks = np.zeros((2, 40, 70), bool)
    masks[0, 10:20, 31:38], masks[1, 11:21, 31:38] = True, True
    pieces = [Piece.of(masks[0, :, left:right_edge], (left, 0), 0, {"predicted_iou": 0.7})]
    pieces.append(Piece.of(masks[1, :, right:], (right, 0), 1, {"predicted_iou": 0.9}))
    assert merge(pieces, grid) == [pieces[1]]


def test_a_fragment_and_a_duplicate_go_and_a_part_stays():
    """Not joined, because they do not agree on the strip: a tile saw a sliver of what the other has whole."""
    grid = Grid((40, 70), 40, 0.25)
    strip = shared(*grid.windows)
    whole, sliver, part = np.zeros((3, 40, 40), bool)
    whole[5:35, 5:39] = True
    sliver[5:12, : strip[2] - strip[0] - 1] = True
    part[10:20, 10:20] = True
    pieces = [Piece.of(whole, (0, 0), 0, {"predicted_iou": 0.9}), Piece.of(part, (0, 0), 0, {"predicted_iou": 0.8})]
    left_over = Piece.of(sliver, (strip[0], 0), 1, {"predicted_iou": 0.95})
    assert merge([*pieces, left_over], grid) == pieces


@pytest.mark.parametrize("box", [(0, 12, 8, 20), (12, 0, 20, 8), (92, 80, 100, 88), (80, 92, 88, 100)])
def test_a_part_at_the_border_of_the_picture_is_no_fragment(box):
    """The border of its tile cuts it off only where the picture goes on."""
    x0, y0, x1, y1 = box
    pieces = [Piece.of(np.ones((40, 40), bool), window[:2], tile) for tile, window in enumerate(GRID.windows)]
    inside = [tile for tile, w in enumerate(GRID.windows) if w[0] <= x0 and w[1] <= y0 and x1 <= w[2] and y1 <= w[3]]
    part = Piece.of(np.ones((y1 - y0, x1 - x0), bool), (x0, y0), inside[0])
    found = merge([*pieces, part], GRID)
    assert [piece.box for piece in found] == [(0, 0, 100, 100), box]


@settings(deadline=None, max_examples=100)
@given(seed=st.integers(0, 10**6), part=st.integers(1, 400))
def test_masks_in_strips(seed, part):
    """However few pixels are unpacked at a time."""
    import sam_hub.tiling.pieces as module

    rng = np.random.default_rng(seed)
    whole, pieces = np.zeros((50, 60), bool), []
    for _ in range(int(rng.integers(1, 6))):
        h, w = (int(v) for v in rng.integers(1, 30, 2))
        x, y = int(rng.integers(0, 61 - w)), int(rng.integers(0, 51 - h))
        mask = rng.random((h, w)) < rng.random()
        mask[rng.integers(h), rng.integers(w)] = True
        pieces.append(Piece.of(mask, (x, y)))
        whole[y : y + h, x : x + w] |= mask
    before, module.PART = module.PART, part
    try:
        found = module.united(pieces)
        assert module.common(found, pieces[0]) == pieces[0].area == module.common(pieces[0], pieces[0])
    finally:
        module.PART = before
    np.testing.assert_array_equal(found.within((0, 0, 60, 50)), whole)
    np.testing.assert_array_equal(rle_to_mask(found.rle((50, 60))), whole)
    assert found.rle((50, 60)) == mask_to_rle(whole) and found.area == whole.sum()
    x0, y0, x1, y1 = found.box
    np.testing.assert_array_equal(found.at(np.arange(x0, x1), np.arange(y0, y1)), whole[y0:y1, x0:x1])


def test_apart():
    labels = picture((10, 10, 60, 60), (30, 30, 90, 90))
    large, small = np.zeros((2, 100, 100), bool)
    large[10:90, 10:90], small[40:50, 40:50] = True, True
    found = separate([Piece.of(large, (0, 0)), Piece.of(small, (0, 0)), Piece.of(small, (0, 0))], GRID)
    whole = (0, 0, *labels.shape)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].within(whole), large & ~small)
    np.testing.assert_array_equal(found[1].within(whole), small)


@settings(deadline=None, max_examples=200)
@given(size=st.tuples(st.integers(1, 5000), st.integers(1, 5000)), tile=st.integers(16, 1500),
       overlap=st.floats(0.001, 0.5))  # fmt: skip
def test_tiles_cover_the_picture_and_overlap(size, tile, overlap):
    grid = Grid(size, tile, overlap)
    for starts, length in ((grid.tops, size[0]), (grid.lefts, size[1])):
        assert starts[0] == 0 and max(starts[-1] + tile, length) == max(length, tile)
        assert starts[-1] + tile >= length
        assert all(0 < b - a <= tile - max(1, int(tile * overlap)) for a, b in pairwise(starts))
    assert all(x1 - x0 == min(tile, size[1]) and y1 - y0 == min(tile, size[0]) for x0, y0, x1, y1 in grid.windows)


@pytest.mark.parametrize(("tile", "overlap"), [(15, 0.25), (1024, 0), (1024, 0.51), (1024, -1), (1024, float("nan"))])
def test_grids_that_are_refused(tile, overlap):
    with pytest.raises(WrongUsage):
        Grid((100, 100), tile, overlap)
