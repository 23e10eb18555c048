"""sam-hub reads every annotation that it writes: each writer with each reader, photos with EXIF rotation included."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from sam_hub.demo.exports import FORMATS, Scene
from sam_hub.demo.objects import Object
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.data.discovery import open_dataset
from sam_hub.data.inspection import inspect
from sam_hub.data.sa1b import Sample
from sam_hub.evaluation.metrics import mask_iou
from sam_hub.ops.masks import mask_to_rle

ANY_MASK = ("--points-per-side", 2, "--pred-iou-thresh", 0, "--stability-score-thresh", 0, "--box-nms-thresh", 1)
BOXES = ("--box", "10,20,60,70", "--box", "30,5,70,40")
ROTATED = 6


@pytest.fixture(params=[None, ROTATED], ids=["upright", "turned by EXIF"])
def photos(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photo.jpg and, below it, more/photo.jpg."""
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    if request.param:
        exif[0x0112] = request.param
    noise = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("photo.jpg", "more/photo.jpg"):
        Image.fromarray(noise).resize((120, 80)).save(tmp_path / "photos" / name, exif=exif)
    return tmp_path / "photos"


def sam_hub(*arguments: object) -> None:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output


def masks_of(sample: Sample) -> list[np.ndarray]:
    return [sample.mask(i) for i in range(len(sample.annotations))]


def same(found: Iterable[np.ndarray], expected: Iterable[np.ndarray], least: float = 1) -> None:
    """Compare in any order, because files are sorted by name."""
    found, expected = list(found), list(expected)
    assert len(found) == len(expected) > 0
    for mask in expected:
        assert max(float(mask_iou(mask, other)) for other in found) >= least


def test_what_segment_writes(photos: Path, tiny_model: Path):
    """png, json and coco: next to the photo, in a separate folder, and under a custom name."""
    photo = photos / "photo.jpg"
    beside = tmp = photos.parent / "beside"
    beside.mkdir()
    (beside / "photo.jpg").write_bytes(photo.read_bytes())
    call = ("segment", photo, "--model", tiny_model, *BOXES)
    sam_hub(*call, "--format", "json", "--out", f"{beside}/")
    (truth,) = open_dataset(beside)
    expected = masks_of(truth)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(photo)))
    assert np.array_equal(truth.image, upright) and expected[0].shape == upright.shape[:2]

    tmp = photos.parent
    sam_hub(*call, "--format", "json", "--out", tmp / "alone" / "any.json")
    same(masks_of(open_dataset(tmp / "alone", photos)[0]), expected)
    (beside / "photo.mask.json").rename(tmp / "alone" / "photo.mask.json")
    sam_hub(*call, "--format", "png", "--out", f"{beside}/")
    same(masks_of(open_dataset(beside)[0]), expected)
    sam_hub(*call, "--format", "coco", "--out", f"{tmp}/coco/")
    same(masks_of(open_dataset(tmp / "coco", photos)[0]), expected)
    same(masks_of(open_dataset(tmp / "coco" / "coco.json", photos)[0]), expected)
    sam_hub(*call, "--format", "png", "--out", f"{tmp}/pair/masks/")
    (tmp / "pair" / "images").mkdir()
    (tmp / "pair" / "images" / "photo.jpg").write_bytes(photo.read_bytes())
    same(masks_of(open_dataset(tmp / "pair")[0]), expected)


def test_what_everything_writes(photos: Path, tiny_model: Path):
    sam_hub("everything", photos, "--model", tiny_model, "--out", photos.parent / "out", *ANY_MASK)
    out = photos.parent / "out"
    of_coco, of_masks = (open_dataset(p, photos) for p in (out, out / "masks"))
    assert len(of_coco) == len(of_masks) == 2
    for one, other in zip(of_coco, of_masks, strict=True):
        same(masks_of(one), masks_of(other))
        assert one.image.shape == other.image.shape and len(one.annotations) > 1
    assert inspect(open_dataset(out / "coco.json", photos), max_area=1.0).objects == sum(
        len([m for m in masks_of(s) if m.any()]) for s in of_masks
    )
    (photos / "photo.json").write_bytes((out / "masks" / "photo.json").read_bytes())  # beside the photo
    same(masks_of(open_dataset(photos)[0]), masks_of(next(s for s in of_masks if s.name.endswith("photo.jpg"))))


def test_what_everything_writes_is_evaluated(photos: Path, tiny_model: Path):
    """Called as in the docs."""
    out = photos.parent / "out"
    sam_hub("everything", photos, "--model", tiny_model, "--out", out, *ANY_MASK)
    few = ("--no-baselines", "--max-objects", 1, "--images", photos)
    sam_hub("eval", tiny_model, out / "coco.json", out / "masks", *few)


def read_with_photo(folder: Path, place: str) -> Sample:
    """The photo is copied to where a user would put it."""
    (folder / place).mkdir(exist_ok=True)
    (folder / "photo.jpg").rename(folder / place / "photo.jpg")
    return open_dataset(folder if place == "images" else folder / place)[0]


READERS: dict[str, tuple[Callable[[Path], Sample], float]] = {
    "masks": (lambda d: read_with_photo(d, "masks"), 1),
    "coco": (lambda d: open_dataset(d / "coco.json")[0], 1),
    "sa1b": (lambda d: open_dataset(d)[0], 1),
    "yolo": (lambda d: open_dataset(d / "yolo")[0], 0.9),
    "cvat": (lambda d: open_dataset(d / "cvat" / "annotations.xml", d)[0], 1),
    "labelmap": (lambda d: read_with_photo(d, "images"), 1),
    "labelme": (lambda d: read_with_photo(d, "labelme"), 1),
    "labelstudio": (lambda d: open_dataset(d / "labelstudio", d)[0], 1),
}
FOR_PEOPLE = {"cutouts", "svg"}


def files_of(kind: str, scene: Scene) -> dict[str, bytes]:
    written = (file for file in FORMATS[kind](scene) if file is not None)
    return {
        name: content if isinstance(content, bytes) else b"".join(part for part in content if part)
        for name, content in written
    }


@pytest.mark.parametrize("kind", sorted(set(FORMATS) - FOR_PEOPLE))
def test_what_the_page_writes(tmp_path: Path, kind: str):
    image = np.random.default_rng(0).integers(0, 255, (80, 120, 3), dtype=np.uint8)
    masks = np.zeros((3, 80, 120), bool)
    masks[0, 10:30, 10:40] = masks[1, 40:70, 60:110] = masks[2, 5:35, 70:100] = True
    masks[2, 15:25, 80:90] = False  # a hole
    names = ("big cat", "", "Katze-2")
    scene = Scene("photo", image, [Object(n, mask_to_rle(m)) for n, m in zip(names, masks, strict=True)])
    Image.fromarray(image).save(tmp_path / "photo.jpg")
    for name, content in files_of(kind, scene).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    read, least = READERS[kind]
    same(masks_of(read(tmp_path)), masks, least)
