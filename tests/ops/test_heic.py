"""HEIC photos: read with pillow-heif; without it, an error that says so."""

import io
from importlib import util

import numpy as np
import pytest
from PIL import Image

from sam_hub.errors import ImageError
from sam_hub.ops.images import read_image, readable_formats

LEFT_TURNED = 6  # EXIF: the first row of what is stored is the right side of the photo


def photo() -> np.ndarray:
    levels = np.zeros((64, 96, 3), np.uint8)
    levels[:32, :48], levels[:32, 48:], levels[32:] = (220, 30, 30), (30, 200, 60), (40, 60, 210)
    return levels


@pytest.fixture(scope="module")
def stored() -> bytes:
    pytest.importorskip("pillow_heif")
    readable_formats()
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = LEFT_TURNED
    Image.fromarray(photo()).save(file, "HEIF", quality=95, exif=exif.tobytes())
    return file.getvalue()


def test_a_heic_photo_is_read_upright(stored, tmp_path):
    path = tmp_path / "IMG_0001.HEIC"
    path.write_bytes(stored)
    expected = np.rot90(photo(), -1)
    for source in (stored, path):
        found = read_image(source)
        assert found.shape == (96, 64, 3) and found.dtype == np.uint8
        assert np.abs(found[::16, ::16].astype(int) - expected[::16, ::16]).mean() < 12


def test_without_pillow_heif_it_is_told_what_to_install(monkeypatch):
    head = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name, *a: None if name == "pillow_heif" else find(name, *a))
    readable_formats()
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    with pytest.raises(ImageError, match="HEIC photo, which needs pillow-heif: install it with `pip install") as e:
        read_image(head)
    assert "heic" in str(e.value)
    with pytest.raises(ImageError, match="not an image in a format that is read here"):
        read_image(b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42mp41")
