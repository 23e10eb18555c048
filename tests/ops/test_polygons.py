"""Polygons are checked and cut before they are filled, and filled as pycocotools does."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from sam_hub.errors import DataError
from sam_hub.ops.polygons import FARTHEST, polygons_to_rle
from sam_hub.ops.run_lengths import rle_area, rle_to_mask

SIZE = (20, 30)
near = st.integers(-40, 60).map(float)
rings = st.lists(st.tuples(near, near), min_size=3, max_size=8).map(lambda r: [v for xy in r for v in xy])


@given(st.lists(rings, min_size=1, max_size=20))
def test_near_polygons_are_filled_as_before(polygons: list[list[float]]) -> None:
    clipped = [np.clip(np.reshape(p, (-1, 2)), [-30, -20], [60, 40]).ravel().tolist() for p in polygons]
    theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(clipped, *SIZE))).astype(bool)
    assert np.array_equal(rle_to_mask(polygons_to_rle(clipped, SIZE)), theirs)


@pytest.mark.parametrize("far", [100, 1e4, 1e8])
@pytest.mark.parametrize("turn", range(8))
def test_far_corners_do_not_move_the_edges_inside(far: float, turn: int) -> None:
    """A half plane through the middle of the image: its mask does not depend on how far its corners are."""
    angle = turn * math.pi / 4 + 0.1
    along, across = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    middle = np.array([SIZE[1] / 2, SIZE[0] / 2])

    def half(reach: float) -> np.ndarray:
        ring = [middle + reach * v for v in (along, along + across, across - along, -along)]
        return rle_to_mask(polygons_to_rle([np.concatenate(ring).tolist()], SIZE))

    assert 0.3 < half(far).mean() < 0.7
    assert np.count_nonzero(half(far) != half(20)) <= 2  # corners are rounded to a fifth of a pixel


def test_polygons_around_and_beside_the_image() -> None:
    assert rle_area(polygons_to_rle([[-1e8, -1e8, 1e8, -1e8, 1e8, 1e8, -1e8, 1e8]], SIZE)) == SIZE[0] * SIZE[1]
    assert rle_area(polygons_to_rle([[1e7, 1e7, 2e7, 1e7, 2e7, 2e7]], SIZE)) == 0


@pytest.mark.parametrize("part", [[3.0, 4.0], [3.0, 4.0, 9.0, 9.0], []], ids=["one point", "two points", "nothing"])
@pytest.mark.parametrize("first", [True, False])
def test_parts_without_area_cost_nothing(part: list[float], first: bool) -> None:
    square = [2, 3, 12, 3, 12, 9, 2, 9]
    whole = polygons_to_rle([square], SIZE)
    assert polygons_to_rle([part, square] if first else [square, part], SIZE) == whole and rle_area(whole) == 60
    with pytest.raises(DataError, match="three corners"):
        polygons_to_rle([part], SIZE)


@pytest.mark.parametrize(
    ("polygon", "why"),
    [
        ([1, 2, 3, 4, 5, math.nan], "not finite"),
        ([1, 2, 3, 4, 5, math.inf], "not finite"),
        ([1, 2, 3, 4, 5, 2 * FARTHEST], "far outside"),
        ([1, 2, 3, 4, 5, 10**400], "far outside"),
        ([1, 2, 3, 4, 5], "not a list of numbers"),
        ([1, 2, 3, 4, 5, "6"], "not a list of numbers"),
        ([[1, 2], [3, 4], [5, 6], [7, 8]], "not a list of numbers"),
        (5, "not a list of numbers"),
        ("1 2 3 4 5 6", "not a list of numbers"),
        ({"x": 1}, "not a list of numbers"),
        ([0, 0, 30, 20] * 50_000, "pixels long"),
    ],
)
def test_what_is_no_polygon_is_named(polygon: object, why: str) -> None:
    for polygons in ([polygon], [[1, 2, 9, 2, 9, 9], polygon]):
        with pytest.raises(DataError, match=why):
            polygons_to_rle(polygons, SIZE)
