"""Result files, read back by independent code."""

import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from sam_hub import results
from sam_hub.data.sa1b import Sa1bDataset

H, W = 90, 120


def _disc(x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:H, :W]
    return np.hypot(columns - x, rows - y) <= radius


MASKS = {
    "disc": _disc(60, 40, 25),
    "ring": _disc(60, 40, 30) & ~_disc(60, 40, 12),
    "two": _disc(20, 20, 10) | _disc(95, 65, 15),
    "corner": _disc(0, 0, 20),
    "rectangle": np.pad(np.ones((20, 30), bool), ((10, H - 30), (40, W - 70))),
    "full": np.ones((H, W), bool),
    "pixel": np.pad(np.ones((1, 1), bool), ((7, H - 8), (9, W - 10))),
    "empty": np.zeros((H, W), bool),
}
masks = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (H, W, 3), dtype=np.uint8)


def _open(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@masks
def test_mask_png_is_the_mask(mask: np.ndarray) -> None:
    picture = _open(results.mask_png(mask))
    assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (W, H))
    np.testing.assert_array_equal(np.asarray(picture), np.where(mask, 255, 0))


@masks
def test_cutout_keeps_the_object_and_hides_the_rest(mask: np.ndarray, image: np.ndarray) -> None:
    picture = _open(results.cutout_png(image, mask))
    assert (picture.format, picture.mode) == ("PNG", "RGBA")
    rgba = np.asarray(picture)
    if not mask.any():
        assert picture.size == (W, H) and not rgba.any()
        return
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    window = np.s_[top : rows[-1] + 2, left : columns[-1] + 2]
    inside = mask[window]
    assert rgba.shape[:2] == inside.shape
    np.testing.assert_array_equal(rgba[inside, :3], image[window][inside])
    assert not rgba[rgba[..., 3] == 0].any(), "background is hidden in transparent pixels"
    deep = np.asarray(_erode(inside, 3))
    far = np.asarray(_erode(~inside, 3))
    assert (rgba[deep, 3] == 255).all() and (rgba[far, 3] == 0).all()


def _erode(mask: np.ndarray, steps: int) -> np.ndarray:
    """Pixels more than ``steps`` away (city block) from the outside of the mask; the frame's border is no outside."""
    for _ in range(steps):
        p = np.pad(mask, 1, constant_values=True)
        mask = p[1:-1, 1:-1] & p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:]
    return mask


def test_cutout_edge_is_antialiased(image: np.ndarray) -> None:
    alpha = np.asarray(_open(results.cutout_png(image, MASKS["disc"])))[..., 3]
    soft = np.count_nonzero((alpha > 0) & (alpha < 255))
    assert 2 * np.pi * 25 < soft < 4 * 2 * np.pi * 25
    assert alpha.sum() / 255 == pytest.approx(MASKS["disc"].sum(), rel=0.02), "the edge moved"


def _rings(svg: bytes) -> list[list[np.ndarray]]:
    root = ET.fromstring(svg)
    assert root.get("viewBox") == f"0 0 {W} {H}"
    paths = root.findall("{http://www.w3.org/2000/svg}path")
    assert [p.get("id") for p in paths] == [f"object-{i + 1}" for i in range(len(paths))]
    assert all(p.get("fill-rule") == "evenodd" for p in paths)
    rings = [re.findall(r"M([^MZ]+)Z", p.get("d")) for p in paths]
    return [[np.array([[float(v) for v in xy.split(",")] for xy in r.split("L")]) for r in ring] for ring in rings]


def _fill(rings: list[np.ndarray]) -> np.ndarray:
    """Even-odd filling by Pillow at 8x, sampled at pixel centres."""
    inside = np.zeros((H, W), bool)
    for ring in rings:
        canvas = Image.new("1", (W * 8, H * 8))
        ImageDraw.Draw(canvas).polygon([tuple(xy) for xy in ring * 8], fill=1)
        inside ^= np.asarray(canvas)[4::8, 4::8]
    return inside


@masks
def test_exact_svg_fills_to_the_mask(mask: np.ndarray) -> None:
    (rings,) = _rings(results.outlines_svg([mask], exact=True))
    np.testing.assert_array_equal(_fill(rings), mask)


@masks
def test_svg_stays_near_the_mask_with_few_corners(mask: np.ndarray) -> None:
    (rings,) = _rings(results.outlines_svg([mask]))
    (steps,) = _rings(results.outlines_svg([mask], exact=True))
    assert len(rings) == len(steps)
    assert sum(map(len, rings)) <= max(sum(map(len, steps)) / 2, 12)
    wrong = _fill(rings) ^ mask
    assert not _erode(wrong, 1).any(), "an outline is more than a pixel off"
    assert wrong.sum() <= 0.05 * mask.sum()


def test_smooth_svg_never_leaves_a_convex_mask() -> None:
    """Averages of points on its outline lie inside."""
    (rings,) = _rings(results.outlines_svg([MASKS["rectangle"]]))
    np.testing.assert_array_equal([rings[0].min(0), rings[0].max(0)], [[40, 10], [70, 30]])


def test_svg_holds_every_mask_in_order() -> None:
    drawn = _rings(results.outlines_svg([MASKS["disc"], MASKS["two"], MASKS["empty"]]))
    assert [len(r) for r in drawn] == [1, 2, 0]


@masks
def test_annotation_is_what_coco_computes(mask: np.ndarray) -> None:
    record = results.annotation(mask, 3, predicted_iou=0.5)
    reference = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    assert record["id"] == 3 and record["predicted_iou"] == 0.5
    assert record["segmentation"] == {"size": [H, W], "counts": reference["counts"].decode()}
    assert record["area"] == coco_mask.area(reference)
    assert record["bbox"] == coco_mask.toBbox(reference).tolist()
    json.dumps(record)


def _document(name: str, first: int) -> dict:
    chosen = [MASKS["disc"], MASKS["ring"]]
    return results.sa1b_document(name, (H, W), (results.annotation(m, first + i) for i, m in enumerate(chosen)))


def test_sa1b_file_is_read_by_the_dataset(tmp_path, image: np.ndarray) -> None:
    (tmp_path / "photo.jpg").write_bytes(results.jpeg(image))
    (tmp_path / "photo.json").write_bytes(results.json_bytes(_document("photo.jpg", 1)))
    sample = Sa1bDataset(tmp_path)[0]
    assert sample.image.shape == (H, W, 3)
    np.testing.assert_array_equal(sample.mask(1), MASKS["ring"])


def test_coco_file_is_read_by_pycocotools(tmp_path) -> None:
    path = tmp_path / "all.json"
    path.write_bytes(results.json_bytes(results.coco_document([_document("é.jpg", 1), _document("b.jpg", 1)])))
    coco = COCO(path)
    assert sorted(coco.imgs) == [1, 2] and coco.imgs[1]["file_name"] == "é.jpg"
    assert sorted(coco.anns) == [1, 2, 3, 4], "annotations of two images share a number"
    assert coco.getAnnIds(imgIds=[2]) == [3, 4] and coco.getCatIds() == [1]
    np.testing.assert_array_equal(coco.annToMask(coco.anns[4]), MASKS["ring"])


def test_jpeg_is_the_picture() -> None:
    image = np.full((H, W, 3), (200, 30, 90), np.uint8)
    picture = _open(results.jpeg(image))
    assert picture.format == "JPEG"
    assert np.abs(np.asarray(picture).astype(int) - image).max() <= 3
