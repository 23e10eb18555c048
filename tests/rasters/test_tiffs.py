"""TIFFs written by tifffile and rasterio: bands, layouts, pages, windows, and damaged files."""

import io
import struct
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sam_hub.errors import ImageBandsWarning, ImageError
from sam_hub.ops.bounds import trusting_size
from sam_hub.ops.images import read_image
from sam_hub.rasters.geotiff import GeoTiffRaster
from sam_hub.rasters.opening import open_map
from sam_hub.rasters.tiff import TiffRaster

tifffile = pytest.importorskip("tifffile")
FIVE = np.random.default_rng(0).integers(0, 60_000, (70, 90, 5), dtype=np.uint16)
BYTES = (FIVE // 256).astype(np.uint8)
CONTIG, PLANAR = ({"photometric": "minisblack", "planarconfig": c} for c in ("contig", "separate"))
LAYOUTS = {
    "strips": {},
    "one strip": {"rowsperstrip": 70},
    "tiles": {"tile": (32, 16)},
    "deflated tiles": {"tile": (32, 16), "compression": "zlib", "predictor": True},
    "LZW strips": {"rowsperstrip": 9, "compression": "lzw"},
    "BigTIFF": {"tile": (32, 32), "bigtiff": True},
    "big-endian": {"byteorder": ">"},
    "big-endian tiles": {"byteorder": ">", "tile": (16, 32), "compression": "zlib"},
}
WINDOWS = [(0, 0, 90, 70), (5, 7, 6, 8), (15, 31, 33, 65), (64, 0, 90, 70), (0, 69, 90, 70)]


def save(path: Path, values: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(path, values, **options)
    return path


@pytest.mark.parametrize("planar", [False, True], ids=["chunky", "planar"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_window_of_every_layout(tmp_path, layout, planar):
    stored = np.moveaxis(FIVE, -1, 0) if planar else FIVE
    path = save(tmp_path / "a.tif", stored, **(PLANAR if planar else CONTIG), **LAYOUTS[layout])
    for opened in (TiffRaster(path, "a"), GeoTiffRaster(path, "a")):
        with opened as raster:
            assert (raster.size, raster.bands, raster.dtype, raster.pages) == ((70, 90), 5, np.uint16, 1)
            for x0, y0, x1, y1 in WINDOWS:
                found = raster.read((x0, y0, x1, y1), (3, 0, 3))
                np.testing.assert_array_equal(found, FIVE[y0:y1, x0:x1][..., [3, 0, 3]])


def test_read_image_takes_them(tmp_path):
    contig = save(tmp_path / "a.tif", BYTES, **CONTIG)
    planar = save(tmp_path / "b.tif", np.moveaxis(BYTES, -1, 0), **PLANAR, tile=(32, 32))
    for source in (contig, planar, contig.read_bytes(), io.BytesIO(planar.read_bytes()), str(contig)):
        np.testing.assert_array_equal(read_image(source, bands=(3, 2, 1)), BYTES[..., [3, 2, 1]])
        with pytest.warns(ImageBandsWarning, match="has 5 bands"):
            np.testing.assert_array_equal(read_image(source), BYTES[..., :3])


def test_a_deep_picture_keeps_its_contrast(tmp_path):
    """Pillow has 8 bits for several bands: 12 of 16 bits would be nearly black."""
    path = save(tmp_path / "a.tif", FIVE[..., :3] // 16, photometric="rgb")
    np.testing.assert_array_equal(read_image(path, (0, 4095)), read_image(FIVE[..., :3] // 16, (0, 4095)))
    assert read_image(path, (0, 4095)).max() > 200


def test_pages(tmp_path):
    stack = FIVE[..., :4].transpose(2, 0, 1)
    for options in (
        {},
        {"compression": "zlib"},
        {"imagej": True, "metadata": {"axes": "ZYX"}},
        {"metadata": {"axes": "ZYX"}},
    ):
        path = save(tmp_path / "a.tif", stack, photometric="minisblack", **options)
        for page in range(4):
            np.testing.assert_array_equal(read_image(path, "type", page=page), read_image(stack[page], "type"))
        with pytest.raises(ImageError, match="has 4 pages, 0 to 3, and no page 4"):
            read_image(path, page=4)
        np.testing.assert_array_equal(read_image(path, "type"), read_image(stack[0], "type"))
    with pytest.raises(ImageError, match="no band 1"):
        read_image(path, bands=(1,), page=0)


def test_plain_pages_are_bands_where_bands_are_asked_for(tmp_path):
    path = save(tmp_path / "a.tif", BYTES.transpose(2, 0, 1), photometric="minisblack")
    np.testing.assert_array_equal(read_image(path, bands=(4, 1, 0)), BYTES[..., [4, 1, 0]])


@pytest.mark.parametrize("kind", [{"imagej": True}, {"ome": True}, {"compression": "zlib"}])
@pytest.mark.parametrize("axes", ["CYX", "ZCYX", "TZCYX"])
def test_channels_of_a_microscope(tmp_path, kind, axes):
    """Each channel is a page of the file, and a band of the picture; planes and times are pages."""
    stack = np.random.default_rng(1).integers(0, 255, (2, 3, 4, 40, 50), dtype=np.uint8)[(0,) * (5 - len(axes))]
    path = save(
        tmp_path / ("a.ome.tif" if "ome" in kind else "a.tif"),
        stack,
        metadata={"axes": axes},
        photometric="minisblack",
        **kind,
    )
    planes = stack.reshape(-1, 4, 40, 50)
    for page, plane in enumerate(planes):
        found = read_image(path, bands=(3, 1, 0), page=page)
        np.testing.assert_array_equal(found, plane[[3, 1, 0]].transpose(1, 2, 0))
    np.testing.assert_array_equal(read_image(path), planes[0][:3].transpose(1, 2, 0))


def test_nothing_measured_is_black_and_does_not_count(tmp_path):
    values = np.linspace(100, 900, 70 * 90, dtype=np.float32).reshape(70, 90)
    expected = read_image(values, "1%,99%")
    for hole, tags in ((np.nan, []), (-9999, [(42113, "s", 0, "-9999", True)])):
        holed = np.vstack([values, np.full((30, 90), hole, np.float32)])
        path = save(tmp_path / "a.tif", holed, extratags=tags, photometric="minisblack")
        found = read_image(path, "1%,99%", bands=(0,))
        np.testing.assert_array_equal(found[:70], expected)
        assert not found[70:].any()


def test_what_tifffile_cannot_decode_rasterio_reads(tmp_path, monkeypatch):
    path = save(tmp_path / "a.tif", BYTES, **CONTIG, compression="lzw")
    monkeypatch.setattr(TiffRaster, "__init__", lambda *a, **k: (_ for _ in ()).throw(ImageError("no codec")))
    np.testing.assert_array_equal(read_image(path, bands=(3, 2, 1)), BYTES[..., [3, 2, 1]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_that_is_turned(tmp_path, orientation):
    path = save(tmp_path / "a.tif", BYTES, **CONTIG, extratags=[(274, "H", 1, orientation, True)])
    plain = Image.fromarray(BYTES[..., :3])
    exif = plain.getexif()
    exif[274] = orientation
    plain.save(tmp_path / "b.png", exif=exif)
    np.testing.assert_array_equal(read_image(path, bands=(0, 1, 2)), read_image(tmp_path / "b.png"))


def test_white_is_zero(tmp_path):
    path = save(tmp_path / "a.tif", BYTES[..., 0], photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path, bands=(0,)), read_image(path))


@pytest.mark.parametrize("reader", [TiffRaster, GeoTiffRaster])
@pytest.mark.parametrize("options", [{}, {"tile": (32, 32), "compression": "zlib"}])
def test_files_that_end_early(tmp_path, reader, options):
    path = save(tmp_path / "a.tif", FIVE, **CONTIG, **options)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    try:
        with reader(path, "a") as raster:
            raster.read((0, 0, 10, 10))
            with pytest.raises(
                ImageError, match=r"^a (is damaged or cut short|ends early).*; save or download it again$"
            ):
                raster.read()
    except ImageError as e:  # the directory was at the end
        assert "save or download it again" in str(e)


def test_damaged_bytes_never_raise_anything_else(tmp_path):
    rng = np.random.default_rng(2)
    good = save(tmp_path / "a.tif", BYTES, **CONTIG, tile=(32, 32), compression="zlib").read_bytes()
    for _ in range(60):
        data = bytearray(good)
        for place in rng.integers(0, len(data), 8):
            data[place] = rng.integers(256)
        data[:4] = good[:4]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_image(bytes(data))
            except ImageError as e:
                assert "\n" not in str(e)


def test_a_header_that_claims_too_much(tmp_path):
    path = save(tmp_path / "a.tif", BYTES, **CONTIG)
    data = bytearray(path.read_bytes())
    for tag in (256, 257):  # width and height
        at = data.index(struct.pack("<H", tag), int.from_bytes(data[4:8], "little"))
        data[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 100_000)
    for source in (bytes(data), path):
        path.write_bytes(bytes(data))
        with pytest.raises(ImageError):
            read_image(source, bands=(0, 1, 2))


def with_tags(path: Path, **values: int) -> None:
    """Overwrite tags of the first page; the pixels stay as few as they are."""
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for name, value in values.items():
            tiff.pages[0].tags[name].overwrite(value)


@pytest.mark.parametrize("reader", [TiffRaster, GeoTiffRaster])
def test_a_tile_that_claims_to_unpack_to_gigabytes(tmp_path, reader):
    path = save(tmp_path / "a.tif", BYTES, **CONTIG, tile=(32, 32), compression="zlib")
    with_tags(path, TileWidth=65_536, TileLength=65_536)
    with pytest.raises(ImageError, match=r"a packs \d+ GB into one tile or strip; .*--trust-size"), reader(path, "a"):
        pass
    with trusting_size(True), suppress(ImageError), reader(path, "a"):
        pass  # what the library says of it


def test_pages_and_bands_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((9, 8, 8), np.uint8), photometric="minisblack")
    monkeypatch.setattr("sam_hub.rasters.raster.PAGES", 8)
    with pytest.raises(ImageError, match=r"a has 9 pages, over 8; .*--trust-size"):
        TiffRaster(path, "a")
    with trusting_size(True), TiffRaster(path, "a") as raster:
        assert raster.pages == 9
    monkeypatch.setattr("sam_hub.rasters.raster.PAGES", 9)
    monkeypatch.setattr("sam_hub.rasters.raster.BANDS", 8)
    with pytest.raises(ImageError, match=r"a has 9 bands, over 8; .*--trust-size"):
        TiffRaster(path, "a", pages_as_bands=True)


def test_a_stack_that_claims_more_pages_than_it_has(tmp_path):
    """As ImageJ describes a stack: one directory, and the number of pages in a text."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), imagej=True)
    path.write_bytes(path.read_bytes().replace(b"images=3", b"images=9").replace(b"slices=3", b"slices=9"))
    with suppress(ImageError):
        read_image(path, page=2)


def test_without_the_libraries(tmp_path, monkeypatch):
    path = save(tmp_path / "a.tif", BYTES, **CONTIG)
    monkeypatch.setattr("sam_hub.ops.packages.util.find_spec", lambda name: None)
    with pytest.raises(ImageError, match=r"a\.tif needs tifffile: install it with .*\[science\]"):
        read_image(path)
    rgb = save(tmp_path / "b.tif", FIVE[..., :3], photometric="rgb")
    np.testing.assert_array_equal(read_image(rgb), (FIVE[..., :3] >> 8).astype(np.uint8))  # Pillow's reading


def test_where_on_the_earth(tmp_path):
    rasterio = pytest.importorskip("rasterio")
    from rasterio.transform import from_origin

    profile = {"driver": "GTiff", "width": 90, "height": 70, "count": 5, "dtype": "uint16", "nodata": 7}
    with rasterio.open(
        tmp_path / "a.tif", "w", crs="EPSG:32632", transform=from_origin(5e5, 5.4e6, 2, 3), **profile
    ) as f:
        f.write(FIVE.transpose(2, 0, 1))
    with open_map(tmp_path / "a.tif", "a") as raster:
        assert raster.georeference.transform == (2, 0, 5e5, 0, -3, 5.4e6) and "32632" in raster.georeference.crs
        assert raster.nodata == 7
        values = raster.read((0, 0, 4, 4))
        values[1, 2] = 7
        assert not raster.valid(values)[1, 2] and raster.valid(values).sum() == 15
