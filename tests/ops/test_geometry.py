"""Sizes and coordinates against the original's arithmetic, written out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam_hub.ops.geometry import resized_size, scale_boxes, scale_points

SIDES = st.integers(1, 20_000)


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((427, 640), 1024, (683, 1024)),  # the golden image
        ((640, 427), 1024, (1024, 683)),
        ((3, 2), 1024, (1024, 683)),
        ((1024, 1024), 1024, (1024, 1024)),
        ((1, 1), 512, (512, 512)),
        ((1000, 1), 4, (4, 1)),  # the original gives a width of 0, and fails
    ],
)
def test_known_sizes(size, longest, expected):
    assert resized_size(size, longest) == expected


@given(SIDES, SIDES, st.sampled_from([64, 512, 1024]))
def test_the_long_side_is_exact_and_the_short_one_rounds_half_up(height, width, longest):
    h, w = resized_size((height, width), longest)
    assert max(h, w) == longest
    exact = min(height, width) * longest / max(height, width)
    assert min(h, w) == max(1, np.floor(exact + 0.5)) or abs(exact % 1 - 0.5) < 1e-9


def test_points_are_scaled_in_x_by_the_width():
    points = np.array([[[0, 0], [640, 427]], [[213.5, 158.25], [1, 2]]])
    scaled = scale_points(points, (427, 640), (683, 1024))
    assert scaled.dtype == np.float32 and scaled.shape == (2, 2, 2)
    np.testing.assert_array_equal(scaled[0], [[0, 0], [1024, 683]])
    np.testing.assert_array_equal(scaled[1, 0], np.array([213.5 * 1.6, 158.25 * (683 / 427)], np.float32))


def test_the_arithmetic_is_float64():
    """float32 would round the point, the factor and then the product."""
    xs = np.arange(1, 4093) + 1 / 3
    scaled = scale_points(np.stack([xs, xs], -1), (4093, 4093), (1023, 1023))[:, 0]
    exact = (xs * (1023 / 4093)).astype(np.float32)
    np.testing.assert_array_equal(scaled, exact)
    assert (xs.astype(np.float32) * np.float64(1023 / 4093)).astype(np.float32).tolist() != exact.tolist()
    assert (xs * np.float32(1023 / 4093)).astype(np.float32).tolist() != exact.tolist()


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_a_box_is_its_two_corners(height, width):
    boxes = np.array([[1, 2, 30.5, 40], [0, 0, width, height]])
    new = resized_size((height, width), 512)
    corners = scale_points(boxes.reshape(2, 2, 2), (height, width), new)
    np.testing.assert_array_equal(scale_boxes(boxes, (height, width), new), corners.reshape(2, 4))
    np.testing.assert_allclose(scale_boxes(boxes, (height, width), new)[1], [0, 0, new[1], new[0]], rtol=1e-6)
