"""Value ranges: data that uses little of its type's range keeps its contrast, and a default range warns."""

import warnings

import numpy as np
import pytest
from PIL import Image

from sam_hub.errors import ImageError, ImageRangeWarning
from sam_hub.ops.images import read_image
from sam_hub.ops.value_range import check_range, to_uint8

LEVELS = np.random.default_rng(0).integers(0, 256, (60, 40)).astype(np.uint8)

SPARSE = {  # data whose type does not tell its range, made from 8-bit levels
    "12 bits in uint16": lambda v: v.astype(np.uint16) * 16,
    "12 bits of the other byte order": lambda v: (v.astype(np.uint16) * 16).astype(">u2"),
    "10 bits in uint16 with an offset": lambda v: v.astype(np.uint16) * 4 + 500,
    "Hounsfield units in int16": lambda v: v.astype(np.int16) * 10 - 1000,
    "uint32": lambda v: v.astype(np.uint32) * 16,
    "uint32, 24 bits": lambda v: v.astype(np.uint32) * 2**16,
    "8 bits in int64": lambda v: v.astype(np.int64),
    "8 bits in uint16": lambda v: v.astype(np.uint16),
    "16 bits in int32": lambda v: v.astype(np.int32) * 257,
    "float of 12 bits": lambda v: v.astype(np.float32) * 16,
    "float of 8 bits": lambda v: v.astype(np.float32),
    "float in [-1, 1]": lambda v: v / 127.5 - 1,
    "12 bits divided by 65535": lambda v: v / 65535 * 16,
    "float16": lambda v: (v / 64).astype(np.float16),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_data_that_does_not_use_its_types_range_keeps_its_contrast_and_warns(kind):
    with pytest.warns(ImageRangeWarning, match="value_range="):
        found = read_image(SPARSE[kind](LEVELS))
    assert np.abs(found[..., 0].astype(int) - LEVELS).max() <= 2


@pytest.mark.parametrize(
    "array",
    [
        LEVELS,
        LEVELS // 8,  # a dark photo
        LEVELS.astype(np.uint16) * 257,
        LEVELS.astype(np.uint32) * (2**24),
        LEVELS / 255,
        (LEVELS / 255).astype(np.float32),
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4), np.float32),
    ],
)
def test_data_that_uses_its_types_range_is_scaled_by_it_and_nobody_is_warned(array):
    white = 1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(array)
    np.testing.assert_array_equal(found[..., 0], np.rint(array / white * 255))


def test_a_few_bright_pixels_do_not_decide():
    array = np.tile(LEVELS.astype(np.uint16) * 16, (20, 20))
    array[7, 9] = array[500, 3] = 65535
    with pytest.warns(ImageRangeWarning):
        found = read_image(array)
    assert found[7, 9, 0] == 255 and found[..., 0].std() > 60
    array[100:110, 100:110] = 65535  # an object
    np.testing.assert_array_equal(read_image(array)[..., 0], (array.astype(int) + 128) // 257)


@pytest.mark.parametrize(
    ("value_range", "low", "high"),
    [
        ((0, 4095), 0, 4095),
        ("0,4095", 0, 4095),
        ([-100.5, 3000], -100.5, 3000),
        ("type", 0, 65535),
        ("1e2,2e3", 100, 2000),
    ],
)
def test_a_range_that_is_given_wins(value_range, low, high):
    array = LEVELS.astype(np.uint16) * 16
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = read_image(array, value_range)
    np.testing.assert_array_equal(
        found[..., 0], np.clip(np.rint((array.astype(float) - low) * 255 / (high - low)), 0, 255)
    )


def test_a_range_holds_for_8_bits_and_for_signed_types_too():
    np.testing.assert_array_equal(
        read_image(LEVELS, (100, 200))[..., 1], np.clip(np.rint((LEVELS - 100.0) * 255 / 100), 0, 255)
    )
    hounsfield = LEVELS.astype(np.int16) * 10 - 1000
    window = np.clip(np.rint((hounsfield + 160.0) * 255 / 400), 0, 255)
    np.testing.assert_array_equal(read_image(hounsfield, (-160, 240))[..., 2], window)
    assert read_image(hounsfield, "type")[..., 0].max() < 140  # -32768 ... 32767


def test_percentiles_are_of_the_image():
    ramp = np.arange(1000, dtype=np.float64).reshape(20, 50) * 1e6
    found = read_image(ramp, "10%, 90%")
    low, high = np.percentile(ramp, (10, 90))
    np.testing.assert_array_equal(found[..., 0], np.clip(np.rint((ramp - low) / (high - low) * 255), 0, 255))
    assert read_image(np.full((3, 3), 7.0), "1%,99%").max() == 0


def test_files_and_pil_images_take_a_range(tmp_path):
    deep = LEVELS.astype(np.uint16) * 16
    Image.fromarray(deep).save(tmp_path / "deep.tif")
    with pytest.warns(ImageRangeWarning, match=r"deep\.tif: uint16 values use less than a quarter"):
        found = read_image(tmp_path / "deep.tif")
    assert np.abs(found[..., 0].astype(int) - LEVELS).max() <= 1
    exact = np.rint(deep / 4095 * 255)
    for source in (tmp_path / "deep.tif", Image.fromarray(deep), (tmp_path / "deep.tif").read_bytes()):
        np.testing.assert_array_equal(read_image(source, (0, 4095))[..., 0], exact)
    below = Image.fromarray(LEVELS.astype(np.int32) * 10 - 1000)
    with pytest.warns(ImageRangeWarning):
        assert np.abs(read_image(below)[..., 0].astype(int) - LEVELS).max() <= 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("value_range", [None, (0, 1), "1%,99%"])
def test_values_that_are_no_numbers_are_named_and_counted(value, value_range):
    array = (LEVELS / 255).astype(np.float32)
    array[3, :2] = value
    with pytest.raises(ImageError, match=r"^the image array has 2 values that are NaN or infinite; .*nan_to_num"):
        read_image(array, value_range)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "1",
        "1,2,3",
        "a,b",
        "5,5",
        "9,3",
        "1%,99",
        "0%,101%",
        "-1%,5%",
        "nan,1",
        (1,),
        (3, 2),
        (0, np.inf),
        7,
        "min,max",
    ],
)
def test_a_range_that_means_nothing_is_refused(wrong):
    with pytest.raises(ImageError, match="value_range must be 'auto', 'type', LOW,HIGH"):
        check_range(wrong)
    with pytest.raises(ImageError, match="value_range must be"):
        read_image(LEVELS, wrong)


def test_a_range_may_be_an_array():
    assert check_range(np.array([0, 4095])) == (0, 4095)


@pytest.mark.parametrize("kind", ["u1", "u2", ">u2", "i4", "i8", "f4", "f8"])
def test_grey_levels_of_any_type_become_bytes(kind):
    levels = np.arange(256).reshape(16, 16)
    found = to_uint8(levels.astype(kind), (0, 255))
    assert found.dtype == np.uint8 and np.array_equal(found, levels)
