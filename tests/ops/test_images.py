"""Reading all kinds of images, and the network's input bit for bit."""

import io
import json
import os
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from safetensors.numpy import load_file

from sam_hub.errors import ImageError
from sam_hub.ops.images import MAX_PIXELS, normalize_and_pad, read_image, resize_longest_side

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 5, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (7, 5), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (7, 5), dtype=np.uint8)
DEEP = np.array(  # rounds down and up at every place where that can happen
    [[0, 1, 128, 129, 256], [257, 300, 1000, 32768, 40000], [60000, 65279, 65407, 65534, 65535]], np.uint16
)
SHALLOW = np.rint(DEEP / 257).astype(np.uint8)


def grey(levels: np.ndarray) -> np.ndarray:
    return np.repeat(levels[..., None], 3, -1)


def encode(image: Image.Image | np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, kind, **options)
    return file.getvalue()


def sentence(source: object) -> str:
    """What `read_image` says of a source that it refuses."""
    with pytest.raises(ImageError) as e:
        read_image(source)
    text = str(e.value)
    assert text and "\n" not in text and len(text) < 400
    return text


# ---------------------------------------------------------------- modes


def palette_image(transparency: bytes | int | None) -> Image.Image:
    image = Image.fromarray(GREY % 4, "L").copy()
    image = image.convert("P")
    image.putdata((GREY % 4).ravel().tolist())
    image.putpalette([10, 20, 30, 200, 100, 0, 255, 255, 255, 1, 2, 3])
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


PALETTE = np.array([[10, 20, 30], [200, 100, 0], [255, 255, 255], [1, 2, 3]], np.uint8)
MODES = {
    "RGB": (Image.fromarray(RGB), RGB),
    "RGBA": (Image.fromarray(np.dstack([RGB, ALPHA])), RGB),  # dropped, not blended
    "RGBX": (Image.fromarray(RGB).convert("RGBX"), RGB),
    "L": (Image.fromarray(GREY), grey(GREY)),
    "LA": (Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)]), grey(GREY)),
    "1": (Image.fromarray(GREY > 127), grey(np.where(GREY > 127, 255, 0).astype(np.uint8))),
    "P": (palette_image(None), PALETTE[GREY % 4]),
    "P with one transparent colour": (palette_image(2), PALETTE[GREY % 4]),
    "P with alpha for each colour": (palette_image(bytes([0, 100, 255])), PALETTE[GREY % 4]),
    "CMYK": (Image.fromarray(255 - RGB).convert("CMYK"), 255 - RGB),
    "I;16": (Image.fromarray(DEEP), grey(SHALLOW)),
    "I;16B": (Image.frombytes("I;16B", (5, 3), DEEP.astype(">u2").tobytes()), grey(SHALLOW)),
    "I": (Image.fromarray(DEEP.astype(np.int32)), grey(SHALLOW)),
    "F": (Image.fromarray((GREY / 255).astype(np.float32)), grey(GREY)),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode(mode):
    image, expected = MODES[mode]
    assert image.mode == mode.split()[0]
    before = image.tobytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(image), expected)
    assert image.tobytes() == before


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "PA", "La", "RGBa"])
def test_modes_that_are_rounded_on_the_way(mode):
    """They have the right colours up to the rounding of their own conversion."""
    opaque = Image.fromarray(np.dstack([RGB, np.full_like(GREY, 255)]))
    image = {
        "PA": lambda: palette_image(None).convert("PA"),
        "La": lambda: Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (5, 7), 255)]).convert("La"),
        "RGBa": lambda: opaque.convert("RGBa"),
        "LAB": lambda: Image.new("LAB", (5, 7), (255, 128, 128)),  # white
    }.get(mode, lambda: Image.fromarray(RGB).convert(mode))()
    expected = {"PA": PALETTE[GREY % 4], "La": grey(GREY), "LAB": np.full((7, 5, 3), 255)}.get(mode, RGB)
    assert image.mode == mode
    assert np.abs(read_image(image).astype(int) - expected).max() <= 6


@pytest.mark.parametrize(
    ("kind", "mode", "lossless"),
    [
        ("PNG", "RGBA", True),
        ("PNG", "P", True),
        ("PNG", "1", True),
        ("PNG", "I;16", True),
        ("TIFF", "CMYK", True),
        ("TIFF", "F", True),
        ("BMP", "L", True),
        ("GIF", "P", True),
        ("WEBP", "RGBA", True),
        ("JPEG", "CMYK", False),
        ("JPEG", "L", False),
    ],
)
def test_every_mode_through_a_file(kind, mode, lossless):
    image, expected = MODES[mode]
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {"quality": 100} if kind == "JPEG" else {}
    found = read_image(encode(image, kind, **options))
    if lossless:
        np.testing.assert_array_equal(found, expected)
    else:
        assert np.abs(found.astype(int) - expected).mean() < 5


def test_an_animation_is_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    file = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_image(file), np.full((4, 4, 3), (255, 0, 0), np.uint8))


# ---------------------------------------------------------------- EXIF

TURNS = {  # orientation -> the stored pixels as a viewer shows them
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("opened", [False, True])
def test_exif_orientation(orientation, opened):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(RGB, exif=exif.tobytes())
    source = Image.open(io.BytesIO(data)) if opened else data
    np.testing.assert_array_equal(read_image(source), TURNS[orientation](RGB))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_exif_that_is_nonsense_does_not_hide_the_image():
    for exif in (b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0", b"garbage"):
        np.testing.assert_array_equal(read_image(encode(RGB, exif=exif)), RGB)


# ---------------------------------------------------------------- sources


class Stream:
    """A file that can be read but not rewound, as from a network."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def test_every_source(tmp_path):
    data = encode(RGB)
    path = tmp_path / "with space & ü.png"
    path.write_bytes(data)
    sources = [str(path), path, path.as_uri(), data, bytearray(data), memoryview(data), io.BytesIO(data), Stream(data)]
    for source in [*sources, Image.open(path), RGB]:
        np.testing.assert_array_equal(read_image(source), RGB)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(read_image(file), RGB)
    with Image.open(path) as image:
        read_image(image)
        assert image.size == (5, 7)  # still usable


ARRAYS = {
    "RGB": (RGB, RGB),
    "grey": (GREY, grey(GREY)),
    "one channel": (GREY[..., None], grey(GREY)),
    "RGBA": (np.dstack([RGB, ALPHA]), RGB),
    "bool": (GREY > 127, grey(np.where(GREY > 127, 255, 0).astype(np.uint8))),
    "uint16": (DEEP, grey(SHALLOW)),
    "uint16 of the other byte order": (DEEP.astype(">u2"), grey(SHALLOW)),
    "float32": ((RGB / 255).astype(np.float32), RGB),
    "float64": (RGB / 255, RGB),
    "float16": ((RGB / 255).astype(np.float16), RGB),
    "float just above 1": (np.full((2, 2), 1 + 1e-7), np.full((2, 2, 3), 255, np.uint8)),
    "turned": (RGB.swapaxes(0, 1)[::-1], RGB.swapaxes(0, 1)[::-1]),
    "read-only": (np.broadcast_to(np.uint8(7), (4, 4, 3)), np.full((4, 4, 3), 7, np.uint8)),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_array(kind):
    array, expected = ARRAYS[kind]
    found = read_image(array)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.uint8 and found.flags.c_contiguous and found.flags.writeable
    assert not np.shares_memory(found, array)


# ---------------------------------------------------------------- refusals


def test_missing_folder_empty_and_remote(tmp_path):
    assert "does not exist" in sentence(tmp_path / "no.png")
    assert "does not exist" in sentence("file:///no/such/image.png")
    assert "is a folder" in sentence(tmp_path)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    for source in (empty, b"", io.BytesIO()):
        assert "empty (0 bytes)" in sentence(source)
    for url in ("https://example.org/a.png", "http://x/y", "s3://bucket/key", "file://elsewhere/a.png"):
        assert "download it first" in sentence(url)
    assert "cannot be opened" in sentence("a\0b")
    assert "convert it to PNG or JPEG" in sentence(b"%PDF-1.7 is no image")
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert "notes.txt is not an image" in sentence(text)


@pytest.mark.parametrize("source", [None, 3, [1, 2], {}, io.StringIO("x"), object()])
def test_things_that_are_no_image(source):
    assert "give a path" in sentence(source)


@pytest.mark.parametrize(
    ("array", "hint"),
    [
        (np.zeros((3, 7, 5)), "(channels) to the end"),
        (np.zeros((5, 70, 60)), "move the bands (channels) to the end"),
        (np.zeros((7, 5, 2)), "got (7, 5, 2); choose one with bands="),
        (np.zeros(7), "got (7,)"),
        (np.zeros((1, 7, 5, 3)), "got (1, 7, 5, 3)"),
        (np.zeros((0, 5)), "no pixels"),
        (np.zeros((5, 0, 3)), "no pixels"),
        (np.zeros((7, 5), complex), "got complex128"),
        (np.zeros((7, 5), object), "got object"),
        (np.full((7, 5), "x"), "integers, floats or bool"),
        (np.full((7, 5), np.nan), "35 values that are NaN"),
    ],
)
def test_wrong_arrays(array, hint):
    assert hint in sentence(array)


BIG = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
FILES = {kind: encode(BIG, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_files(tmp_path, kind, share):
    data = FILES[kind][: int(len(FILES[kind]) * share)]
    path = tmp_path / "cut"
    path.write_bytes(data)
    for source, name in ((data, "the image in memory"), (path, str(path))):
        assert sentence(source).startswith((f"{name} is damaged or cut short", f"{name} is not an image"))


def test_a_name_with_a_line_break_is_told_in_one_line():
    file = io.BytesIO(b"nothing")
    file.name = "a\nb.jpg"
    with pytest.raises(ImageError) as told:
        read_image(file)
    assert r"'a\nb.jpg'" in str(told.value) and "\n" not in str(told.value)


def test_a_pil_image_whose_file_is_cut():
    image = Image.open(io.BytesIO(FILES["JPEG"][:-2000]))
    assert "the PIL image is damaged or cut short" in sentence(image)


@settings(deadline=None, max_examples=300)
@given(
    kind=st.sampled_from(sorted(FILES)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1),
    keep=st.floats(0, 1),
)
def test_damaged_files_never_raise_anything_else(kind, changes, keep):
    data = bytearray(FILES[kind][: 1 + int(keep * len(FILES[kind]))])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow on odd metadata
        try:
            assert read_image(bytes(data)).shape[2] == 3
        except ImageError as e:
            assert "\n" not in str(e)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds one chunk of zeros."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + pixels


def test_a_decompression_bomb(monkeypatch):
    bomb = png_header(200_000, 100_000)
    assert "178 million pixels; scale it down" in sentence(bomb)
    assert "178 million pixels" in sentence(png_header(MAX_PIXELS + 1, 1))
    assert "damaged" in sentence(png_header(MAX_PIXELS // 2, 1))  # allowed, but its data is missing
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # Pillow's own check off: COCO's run lengths are the limit
    assert "4294 million pixels" in sentence(bomb)
    assert "4294 million pixels" in sentence(Image.open(io.BytesIO(bomb)))


def test_the_limit_is_pillows(monkeypatch):
    """A program that trusts its files lifts Pillow's limit, and with it ours."""
    large = encode(RGB)
    monkeypatch.setattr("sam_hub.ops.images.MAX_PIXELS", 20)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "million pixels" in sentence(large)
    for limit in (35, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        np.testing.assert_array_equal(read_image(large), RGB)


def test_a_bomb_that_only_warns(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "million pixels" in sentence(encode(RGB))


@pytest.mark.parametrize("data", [b"%PDF-1.7\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"])
def test_formats_that_start_programs_or_hold_no_photo_are_not_opened(tmp_path, monkeypatch, data):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *a, **k: pytest.fail("Ghostscript was started"))
    (tmp_path / "photo.jpg").write_bytes(data)
    for source in (data, tmp_path / "photo.jpg"):
        assert "is not an image in a format that" in sentence(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path, not_for_ever):
    os.mkfifo(tmp_path / "photo.jpg")
    assert "not a regular file" in sentence(tmp_path / "photo.jpg")


def test_thin_images_work():
    image = read_image(Image.new("RGB", (10_000, 10), (1, 2, 3)))
    assert image.shape == (10, 10_000, 3)
    assert resize_longest_side(image, 1024).shape == (1, 1024, 3)
    assert resize_longest_side(read_image(np.zeros((1, 1), np.uint8)), 512).shape == (512, 512, 3)


# ---------------------------------------------------------------- the network's input


@pytest.fixture(scope="module")
def golden(golden_dir):
    sys.path.insert(0, str(golden_dir))
    try:
        import fill
    finally:
        sys.path.pop(0)
    spec = json.loads((golden_dir / "sam_vit_b.json").read_text())
    image = fill.golden_image(*(spec["image"][k] for k in ("seed", "height", "width")))
    return spec, image, load_file(golden_dir / "sam_vit_b.safetensors")


def test_preprocessing_is_the_originals_to_the_last_bit(golden):
    spec, image, tensors = golden
    mean, std = (np.array(spec["preprocessing"][k]) / 255 for k in ("mean", "std"))
    found = normalize_and_pad(resize_longest_side(read_image(image), 1024), mean, std, (1024, 1024))[None]
    assert found.shape == tuple(spec["full_shapes"]["preprocessed"]) and found.dtype == np.float32
    np.testing.assert_array_equal(found[:, :, ::64, ::64], tensors["preprocessed_sample"])
    assert found.mean(dtype=np.float64) == pytest.approx(tensors["preprocessed_mean"][0], abs=1e-6)
    assert found.std(dtype=np.float64) == pytest.approx(tensors["preprocessed_std"][0], abs=1e-6)


def test_resizing_is_pillows():
    image = RNG.integers(0, 256, (37, 53, 3), dtype=np.uint8)
    for longest in (16, 53, 200):
        expected = ImageOps.contain(Image.fromarray(image), (longest, longest), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(resize_longest_side(image, longest), np.asarray(expected))
    assert resize_longest_side(image, 53) is not image
    nearest = resize_longest_side(image, 106, Image.Resampling.NEAREST)
    np.testing.assert_array_equal(nearest, image.repeat(2, 0).repeat(2, 1))


def test_normalisation_comes_before_the_padding():
    out = normalize_and_pad(RGB, [0.5, 0.25, 0.1], [0.5, 0.2, 0.3], (10, 8))
    assert out.shape == (3, 10, 8)
    assert not out[:, 7:].any() and not out[:, :, 5:].any()
    expected = (RGB / 255 - [0.5, 0.25, 0.1]) / [0.5, 0.2, 0.3]
    np.testing.assert_allclose(out[:, :7, :5], expected.transpose(2, 0, 1), atol=1e-6)


def test_scale_and_no_padding():
    np.testing.assert_allclose(normalize_and_pad(RGB, 10.0, 2.0, scale=1.0), (RGB.transpose(2, 0, 1) - 10.0) / 2)
    assert normalize_and_pad(RGB, 0.5, 0.5).shape == (3, 7, 5)


@pytest.mark.parametrize("padded", [(6, 5), (7, 4)])
def test_an_image_larger_than_the_input_is_refused(padded):
    with pytest.raises(ImageError, match="5 x 7 pixels does not fit"):
        normalize_and_pad(RGB, 0.5, 0.5, padded)


def test_reading_needs_no_path_type(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")

    class Place:
        def __fspath__(self) -> str:
            return str(tmp_path / "a.png")

    assert isinstance(Path(Place()), Path)
    np.testing.assert_array_equal(read_image(Place()), RGB)
