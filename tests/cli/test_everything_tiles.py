"""``sam-hub everything --tile``: large images read by windows, damage, areas without data, and resuming."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sam_hub import SamAutomaticMaskGenerator
from sam_hub.cli import app
from sam_hub.errors import OutputError
from sam_hub.inference.opening import open_predictor
from sam_hub.ops.masks import rle_to_mask
from sam_hub.tiling.generate import generate_tiled
from sam_hub.tiling.grid import Grid
from sam_hub.tiling.picture import Picture

tifffile = pytest.importorskip("tifffile")
GRID = dict(points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0)
CLICKS = ("--points-per-side", 3, "--pred-iou-thresh", 0, "--stability-score-thresh", 0)
SIZE = (150, 200)
TILES = Grid(SIZE, 80, 0.25)


def photo(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize(SIZE[::-1]))


def save(path: Path, values: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, values, photometric="rgb", **{"tile": (32, 32), "compression": "zlib", **options})
    return path


@pytest.fixture
def everything(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Result:
        words = ["everything", "--model", tiny_model, *CLICKS, "--tile", 80, *arguments]
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == code, result.output
        return result

    return run


def annotations(path: str = "out/masks/a.json") -> list[dict]:
    return json.loads(Path(path).read_text())["annotations"]


def test_a_tile_without_masks_warns_of_nothing(everything, tiny_model):
    save(Path("a.tif"), photo())
    result = everything("a.tif", "--stability-score-thresh", 1, "--pred-iou-thresh", 1, "--out", "out")
    assert annotations() == [] and "no mask is left" not in result.stderr


def test_as_python_finds_them(everything, tiny_model):
    save(Path("a.tif"), photo())
    everything("a.tif", "--out", "out")
    generator = SamAutomaticMaskGenerator(open_predictor(str(tiny_model)), **GRID)
    told = []
    expected = list(generate_tiled(generator, "a.tif", 80, progress=lambda done, total: told.append((done, total))))
    assert told == [(i, len(TILES.windows)) for i in range(1, len(TILES.windows) + 1)] and len(told) > 4
    found = annotations()
    assert len(found) == len(expected) > 3
    for number, (one, other) in enumerate(zip(found, expected, strict=True), start=1):
        x, y, w, h = other["bbox"]
        assert one == {**other, "id": number, "bbox": [x, y, w + 1, h + 1]}
        mask = rle_to_mask(one["segmentation"])
        assert mask.shape == SIZE and mask.sum() == one["area"]
        rows, columns = np.nonzero(mask)
        assert one["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
        (px, py), (cx, cy, cw, ch) = one["point_coords"][0], one["crop_box"]
        assert cx <= px < cx + cw and cy <= py < cy + ch
    assert json.loads(Path("out/coco.json").read_text())["images"] == [
        {"id": 1, "file_name": "a.tif", "width": SIZE[1], "height": SIZE[0]}
    ]
    assert Image.open("out/previews/a.jpg").size == SIZE[::-1] and not Path("out/tiles").exists()


def test_a_picture_of_one_tile_is_as_without_tiles(everything, tiny_model):
    Image.fromarray(photo()[:70, :70]).save("a.png")
    everything("a.png", "--out", "out")
    words = ["everything", "a.png", "--model", tiny_model, *CLICKS, "--out", "whole"]
    assert CliRunner().invoke(app, [str(w) for w in words]).exit_code == 0
    assert annotations() == annotations("whole/masks/a.json")


def test_only_windows_are_read(everything, monkeypatch):
    from sam_hub.rasters.raster import Raster

    read, largest = Raster.read, []

    def spy(self, window=None, bands=None):
        largest.append((window[2] - window[0]) * (window[3] - window[1]))
        return read(self, window, bands)

    monkeypatch.setattr(Raster, "read", spy)
    monkeypatch.setattr("sam_hub.tiling.picture.SAMPLE_SIDE", 20)
    save(Path("a.tif"), photo().astype(np.uint16) * 257)
    everything("a.tif", "--out", "out", "--no-preview")
    assert len(largest) == 36 + len(TILES.windows) and max(largest) == 80 * 80


def test_every_tile_has_the_same_black_and_white(tmp_path):
    ramp = np.repeat(np.linspace(100, 900, SIZE[0] * SIZE[1], dtype=np.float32).reshape(SIZE)[..., None], 3, 2)
    path = save(tmp_path / "a.tif", ramp)
    with Picture(path, "0%,100%") as picture:
        parts = [picture.read(window)[0].astype(float) for window in TILES.windows]
    for part, (x0, y0, x1, y1) in zip(parts, TILES.windows, strict=True):
        assert np.abs(part - (ramp[y0:y1, x0:x1] - 100) / 800 * 255).max() < 3


def test_where_nothing_is_measured(everything, monkeypatch):
    values = photo().astype(np.float32)
    values[:, :120] = np.nan
    values[100:, 150:] = np.nan
    save(Path("a.tif"), values)
    seen = []
    generate = SamAutomaticMaskGenerator.generate
    monkeypatch.setattr(
        SamAutomaticMaskGenerator, "generate", lambda s, p, *a: (seen.append(s.point_grids[0]), generate(s, p, *a))[1]
    )
    everything("a.tif", "--out", "out", "--range", "0,255")
    holes = np.isnan(values).all(axis=2)
    with_data = [w for w in TILES.windows if not holes[w[1] : w[3], w[0] : w[2]].all()]
    assert 0 < len(with_data) < len(TILES.windows) and len(seen) == len(with_data)
    assert min(len(points) for points in seen) < 9  # no clicks in holes
    found = annotations()
    assert found and not any((rle_to_mask(a["segmentation"]) & holes).any() for a in found)
    save(Path("b.tif"), np.full((*SIZE, 3), np.nan, np.float32))
    everything("b.tif", "--out", "empty", "--range", "0,255")
    assert annotations("empty/masks/b.json") == []


def damage(path: Path, tile: int) -> None:
    with tifffile.TiffFile(path) as tiff:
        offset, count = tiff.pages[0].dataoffsets[tile], tiff.pages[0].databytecounts[tile]
    data = bytearray(path.read_bytes())
    data[offset : offset + count] = bytes(count)
    path.write_bytes(bytes(data))


def test_a_damaged_tile(everything):
    """It is reported, the rest is done, and a repaired file is resumed."""
    path = save(Path("a.tif"), photo())
    good = path.read_bytes()
    everything("a.tif", "--out", "good")
    damage(path, 0)
    result = everything("a.tif", "--out", "out", code=1)
    assert "photos: 0 done" in result.stdout and "done before" not in result.stdout
    error = result.stderr
    assert "1 of 9 tiles could not be read, the others are done (the tile at 0, 0: " in error
    assert len(annotations()) > 0 and Path("out/coco.json").is_file() and Path("out/tiles/a").is_dir()
    assert "1 of" in everything("a.tif", "--out", "out", "--resume", code=1).stderr
    path.write_bytes(good)
    everything("a.tif", "--out", "out", "--resume")
    assert annotations() == annotations("good/masks/a.json") and not Path("out/tiles").exists()


def test_a_file_that_ends_early_and_one_that_is_none(everything):
    path = save(Path("a.tif"), photo(), tile=None, rowsperstrip=10, compression=None)
    path.write_bytes(path.read_bytes()[: -SIZE[1] * 3 * 60])
    Path("b.tif").write_bytes(b"II*\0" + bytes(50))
    save(Path("c.tif"), photo(1))
    result = everything("a.tif", "b.tif", "c.tif", "--out", "out", code=1)
    lines = [line for line in result.stderr.splitlines() if line.startswith("  ")]
    assert len(lines) == 2 and "a.tif: " in lines[0] and "b.tif" in lines[1]
    assert annotations() and annotations("out/masks/c.json")


def test_going_on_after_a_full_disk(everything, monkeypatch):
    """Finished tiles are not repeated, and the results are those of an undisturbed run."""
    save(Path("a.tif"), photo())
    everything("a.tif", "--out", "good")
    from sam_hub.annotation import tiles

    write, generate, calls = tiles.write_atomically, SamAutomaticMaskGenerator.generate, []

    def full(path, data):
        if len(calls) == 4:
            raise OutputError("cannot write: No space left on device; free some space or choose another disk")
        write(path, data)

    monkeypatch.setattr(SamAutomaticMaskGenerator, "generate", lambda s, *a: (calls.append(1), generate(s, *a))[1])
    monkeypatch.setattr(tiles, "write_atomically", full)
    assert "No space left" in everything("a.tif", "--out", "out", code=1).stderr
    assert len(list(Path("out/tiles/a").iterdir())) == 3
    monkeypatch.setattr(tiles, "write_atomically", write)
    calls.clear()
    everything("a.tif", "--out", "out", "--resume")
    assert len(calls) == len(TILES.windows) - 3
    assert Path("out/masks/a.json").read_bytes() == Path("good/masks/a.json").read_bytes()
    assert Path("out/coco.json").read_bytes() == Path("good/coco.json").read_bytes()


DAMAGES = {
    "not a list": 5,
    "deep": None,
    "no whole numbers": {"box": [0.5, 0, 9, 9]},
    "outside of its tile": {"box": [0, 0, 10**9, 10**9]},
    "empty": {"box": [5, 5, 5, 5]},
    "run lengths": {"counts": "PPPP"},
    "another area": {"area": 10**6},
    "a fact is missing": {"facts": {}},
    "a fact too many": {"facts": {"segmentation": 1}},
    "not finite": {"facts": {"predicted_iou": float("nan")}},
}


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES)
def test_what_a_tile_has_left_is_checked(tmp_path, change):
    """A tile with a damaged file counts as not done."""
    from dataclasses import asdict

    from sam_hub.annotation.tiles import _read
    from sam_hub.results import json_bytes
    from sam_hub.tiling.pieces import Piece

    facts = {"predicted_iou": 0.9, "point_coords": [[4, 5]], "stability_score": 0.95, "crop_box": [0, 0, 40, 40]}
    window = (40, 0, 80, 40)
    piece = Piece.of(np.ones((9, 7), bool), (50, 10), 3, facts)
    path = tmp_path / "0-1.json"
    (record,) = json.loads(json_bytes([asdict(piece)]))
    path.write_text(json.dumps([record]))
    assert _read(path, 3, window) == [piece]
    if isinstance(change, dict):
        more = {**record["facts"], **change["facts"]} if change.get("facts") else {}
        path.write_text(json.dumps([{**record, **change, **({"facts": more} if more else {})}]))
    else:
        path.write_text("[" * 10**5 if change is None else json.dumps(change))
    assert _read(path, 3, window) is None


def test_a_changed_picture_starts_anew(everything):
    path = save(Path("a.tif"), photo())
    damage(path, 0)
    everything("a.tif", "--out", "out", code=1)
    save(Path("a.tif"), photo(5))
    everything("a.tif", "--out", "out", "--resume")
    everything("a.tif", "--out", "good")
    assert annotations() == annotations("good/masks/a.json")


def test_settings_of_another_run(everything):
    save(Path("a.tif"), photo())
    everything("a.tif", "--out", "out")
    assert "overlap" in everything("a.tif", "--out", "out", "--resume", "--overlap", 0.4, code=1).stderr
    assert "bands" in everything("a.tif", "--out", "out", "--resume", "--bands", "2,1,0", code=1).stderr
    result = CliRunner().invoke(app, ["everything", "a.tif", "--out", "new", "--overlap", "0.3"])
    assert result.exit_code == 2 and "--overlap needs --tile" in result.stderr


def test_masks_that_do_not_overlap(everything):
    save(Path("a.tif"), photo())
    everything("a.tif", "--out", "out", "--non-overlapping", "--format", "labelmap", "--min-mask-area", 20)
    found = annotations()
    masks = np.array([rle_to_mask(a["segmentation"]) for a in found])
    assert masks.sum(axis=0).max() == 1 and min(a["area"] for a in found) >= 20
    values = np.asarray(Image.open("out/labelmap/a.png"))
    for a, mask in zip(found, masks, strict=True):
        np.testing.assert_array_equal(values == a["id"], mask)


def test_a_map(everything):
    """An image written by rasterio gives outlines in its coordinate system."""
    rasterio, pyogrio, shapely = map(pytest.importorskip, ("rasterio", "pyogrio", "shapely"))
    rasterize = pytest.importorskip("rasterio.features").rasterize
    transform = rasterio.Affine(0.5, 0, 500_000, 0, -0.5, 5_400_000)
    profile = {"driver": "GTiff", "width": SIZE[1], "height": SIZE[0], "count": 4, "dtype": "uint16", "tiled": True}
    profile |= {"blockxsize": 64, "blockysize": 64, "compress": "lzw", "crs": "EPSG:32632", "transform": transform}
    bands = np.dstack([photo(), photo(1)[..., :1]]).astype(np.uint16) * 16
    with rasterio.open("a.tif", "w", **profile) as file:
        file.write(bands.transpose(2, 0, 1))
    arguments = ("--bands", "3,2,1", "--range", "0,4095", "--format", "gpkg", "--format", "geojson")
    everything("a.tif", "--out", "out", *arguments)
    masks = [rle_to_mask(a["segmentation"]) for a in annotations()]
    for path in ("out/gpkg/a.gpkg", "out/geojson/a.geojson"):
        meta, _, shapes, _ = pyogrio.raw.read(path)
        assert "32632" in meta["crs"] and len(shapes) == len(masks) > 1
        for shape, mask in zip(shapely.from_wkb(shapes), masks, strict=True):
            np.testing.assert_array_equal(rasterize([shape], SIZE, transform=transform) > 0, mask)
    save(Path("b.tif"), photo())
    text = everything("b.tif", "--out", "nowhere", "--format", "gpkg", code=1).stderr
    assert "b.tif has no coordinate reference system" in text and annotations("nowhere/masks/b.json")
