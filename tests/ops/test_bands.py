"""Bands: which three of many, of arrays and pictures; TIFFs are in tests/rasters."""

import warnings

import numpy as np
import pytest
from PIL import Image

from sam_hub.errors import ImageBandsWarning, ImageError
from sam_hub.ops.images import read_image

FIVE = np.random.default_rng(0).integers(0, 256, (7, 6, 5), dtype=np.uint8)


def test_bands_of_an_array():
    for bands in ((0, 1, 2), (4, 2, 0), (1, 1, 1), np.array([3, 0, 4])):
        np.testing.assert_array_equal(read_image(FIVE, bands=bands), FIVE[..., list(bands)])
    np.testing.assert_array_equal(read_image(FIVE, bands=(3,)), FIVE[..., [3, 3, 3]])
    np.testing.assert_array_equal(read_image(FIVE[..., :2], bands=(1,)), FIVE[..., [1, 1, 1]])


def test_the_first_three_by_default_with_a_word():
    with pytest.warns(
        ImageBandsWarning, match=r"has 5 bands, so bands 0, 1 and 2 were taken; choose others with bands="
    ):
        np.testing.assert_array_equal(read_image(FIVE), FIVE[..., :3])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(FIVE[..., :4]), FIVE[..., :3])  # RGBA
        read_image(FIVE, bands=(0, 1, 2))


def test_the_range_is_that_of_the_bands_looked_at():
    deep = FIVE.astype(np.uint16) * 100
    deep[..., 4] = 65535
    expected = read_image(np.ascontiguousarray(deep[..., :3]), "1%,99%")
    np.testing.assert_array_equal(read_image(deep, "1%,99%", bands=(0, 1, 2)), expected)


def test_bands_of_a_picture():
    rgb = Image.fromarray(FIVE[..., :3])
    np.testing.assert_array_equal(read_image(rgb, bands=(2, 1, 0)), FIVE[..., [2, 1, 0]])
    np.testing.assert_array_equal(read_image(Image.fromarray(FIVE[..., :4]), bands=(3,)), FIVE[..., [3, 3, 3]])
    np.testing.assert_array_equal(
        read_image(rgb.quantize(250), bands=(0,))[..., 0], read_image(rgb.quantize(250))[..., 0]
    )


def test_a_grey_photo_has_one_band():
    with pytest.raises(ImageError, match="has one band, 0, and no band 9"):
        read_image(FIVE[..., 0], bands=(9,))


@pytest.mark.parametrize(
    ("bands", "hint"),
    [
        ((0, 1, 5), "has 5 bands, 0 to 4, and no band 5"),
        ((-1,), "no band -1"),
        ((0, 1), "one (grey) or three"),
        ((), "counted from 0"),
        ((0.0, 1, 2), "counted from 0"),
        ((True,), "counted from 0"),
    ],
)
def test_bands_that_are_none(bands, hint):
    with pytest.raises(ImageError) as e:
        read_image(FIVE, bands=bands)
    assert hint in str(e.value)
