"""Photos from visitors: accepted, refused and expired."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from sam_hub.demo.limits import Limits, Refusal
from sam_hub.demo.photos import decode_base64, read_photo

from sam_hub.errors import ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)


def encoded(kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_formats(kind):
    data = encoded(kind, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(read_photo(data, Limits()), PIXELS)


def test_a_turned_photo_stands_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side
    np.testing.assert_array_equal(read_photo(encoded("PNG", exif=exif), Limits()), np.rot90(PIXELS, -1))


@pytest.mark.parametrize(
    ("data", "error", "words"),
    [
        (b"", ImageError, "empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", ImageError, "not a photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", ImageError, "not a photo"),
        (encoded("PNG")[:200], ImageError, "damaged"),
        (encoded("PNG") + bytes(3000), Refusal, "larger than"),
    ],
)
def test_what_is_no_photo(data, error, words):
    limits = replace(Limits(), upload_bytes=len(encoded("PNG")) + 2000)
    with pytest.raises(error, match=words):
        read_photo(data, limits)


def test_too_many_pixels_are_refused_before_they_are_decoded(monkeypatch):
    data = encoded("PNG")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(Refusal, match="million pixels") as refused:
        read_photo(data, replace(Limits(), pixels=PIXELS.shape[0] * PIXELS.shape[1] - 1))
    assert refused.value.status == 413


def test_base64_with_and_without_a_prefix():
    text = base64.b64encode(encoded("PNG")).decode()
    assert decode_base64(text, Limits()) == decode_base64(f"data:image/png;base64,{text}", Limits()) == encoded("PNG")


@pytest.mark.parametrize(
    "text", ["/etc/passwd", "file:///etc/passwd", "http://127.0.0.1/x.jpg", 7, None, {"path": "/"}]
)
def test_paths_and_addresses_are_no_photos(text):
    with pytest.raises(ImageError):
        data = decode_base64(text, Limits())
        read_photo(data, Limits())


def test_too_long_a_text_is_not_decoded():
    with pytest.raises(Refusal):
        decode_base64("A" * 3000, replace(Limits(), upload_bytes=1000))
