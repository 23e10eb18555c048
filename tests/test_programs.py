"""Unmodified programs from PyPI, written for ``segment_anything``, after `sam_hub.compat.install`.

They are skipped if they are not installed: ``docs/how-to/from-segment-anything.md`` says how.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sam_hub.compat
from sam_hub import SamAutomaticMaskGenerator, SamModel, SamPredictor


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """``segment_anything`` is this package; what was imported before comes back."""
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "segment_anything"}
    for name in before:
        del sys.modules[name]
    sam_hub.compat.install()
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "segment_anything"]:
        del sys.modules[name]
    sys.modules.update(before)


@pytest.fixture(scope="module")
def weights(root: Path) -> Path:
    """The embedded model, where these programs expect a checkpoint."""
    return root / "sam_hub" / "assets" / "pocket"


@pytest.fixture(scope="module")
def photo(root: Path) -> np.ndarray:
    return np.asarray(Image.open(root / "examples" / "cat.jpg").convert("RGB"))


@pytest.fixture(scope="module")
def predictor(photo: np.ndarray) -> SamPredictor:
    predictor = SamPredictor("pocket")
    predictor.set_image(photo)
    return predictor


@pytest.fixture
def scene(photo: np.ndarray, tmp_path: Path) -> Path:
    """The photo as a map."""
    rasterio = pytest.importorskip("rasterio")
    height, width = photo.shape[:2]
    place = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8", "crs": "EPSG:32633"}
    with rasterio.open(tmp_path / "scene.tif", "w", transform=rasterio.Affine(1, 0, 5e5, 0, -1, 5e6), **place) as file:
        file.write(photo.transpose(2, 0, 1))
    return tmp_path / "scene.tif"


FEW = {"points_per_side": 4, "pred_iou_thresh": 0.5, "stability_score_thresh": 0.6}


def everything(photo: np.ndarray, **settings: object) -> list[dict]:
    return SamAutomaticMaskGenerator(SamModel.from_pretrained("pocket").eval(), **settings).generate(photo)


def test_samgeo(weights, photo, predictor, scene, monkeypatch):
    """segment-geospatial: everything in a GeoTIFF, and boxes and clicks."""
    samgeo = pytest.importorskip("samgeo.samgeo")
    monkeypatch.chdir(scene.parent)
    sam = samgeo.SamGeo(model_type="vit_h", checkpoint=str(weights), device="cpu", sam_kwargs=FEW)
    sam.generate("scene.tif", output="masks.tif", foreground=True, unique=True)
    found, expected = sam.masks, everything(photo, **FEW)
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one["segmentation"], other["segmentation"]) and one["bbox"] == other["bbox"]
    with pytest.importorskip("rasterio").open("masks.tif") as file:
        assert file.crs.to_epsg() == 32633 and file.read(1).max() > 0

    sam = samgeo.SamGeo(model_type="vit_h", checkpoint=str(weights), device="cpu", automatic=False)
    sam.set_image("scene.tif")
    masks, scores, _ = sam.predict(point_coords=[[200, 150]], point_labels=[1], return_results=True)
    expected = predictor.predict(np.array([[200, 150]]), np.array([1]), multimask_output=True)
    assert np.array_equal(scores, expected[1]) and np.array_equal(masks, expected[0])
    boxes = [[25, 1, 400, 298], [60, 20, 440, 290]]
    upside_down = [[x0, y1, x1, y0] for x0, y0, x1, y1 in boxes]  # as samgeo takes pixels in a picture's own system
    masks = sam.predict(boxes=upside_down, point_crs="EPSG:32633", return_results=True)[0]
    boxes = predictor.transform.apply_boxes_torch(torch.tensor(boxes), photo.shape[:2])
    assert torch.equal(masks.cpu(), predictor.predict_torch(None, None, boxes, multimask_output=True)[0].cpu())


def test_segment_anything_utils(weights, photo):
    """segment-anything-utils: its loader of generators."""
    load = pytest.importorskip("segment_anything_utils.load")
    sam = sys.modules["segment_anything"].sam_model_registry["vit_b"](checkpoint=weights).to(device="cpu")
    found = load.load_generator(sam, {**FEW, "convert_to_rle": True}).generate(photo)
    expected = everything(photo, **FEW, output_mode="coco_rle")
    assert [one["segmentation"] for one in found] == [one["segmentation"] for one in expected] != []


def test_orthomasker(weights, photo, scene, tmp_path):
    """orthomasker: everything in a GeoTIFF as polygons in its coordinate system."""
    module = pytest.importorskip("orthomasker.mask_generator")
    found = module.MaskGenerator(str(weights), "vit_h").generate_geojson(str(scene), str(tmp_path / "masks.geojson"))
    expected = everything(photo)
    assert found.crs.to_epsg() == 32633 and set(found["id"]) == set(range(len(expected))) != set()
    scores = found.groupby("id")["confidence"].first()
    assert scores.tolist() == [round(one["stability_score"] * 100, 1) for one in expected]
