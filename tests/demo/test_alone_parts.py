"""The parts of the page without a server against Pillow, pycocotools, OpenCV and the package itself."""

import base64
import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from sam_hub.inference.upsample import MaskFrame, enlarge
from sam_hub.labels.formats import writer
from sam_hub.labels.images import ImageLabels
from sam_hub.ops import tidying
from sam_hub.ops.geometry import resized_size
from sam_hub.ops.mask_prompt import mask_prompt
from sam_hub.ops.masks import mask_to_rle, remove_small_regions
from sam_hub.ops.preparation import Preparation

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node: apt-get install nodejs")


def text_of(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def array_of(text: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(shape)


@pytest.fixture
def node(root, tmp_path):
    """node(case, ...) -> what each call gave"""

    def run(*cases: dict) -> list[Any]:
        given, out = tmp_path / "given.json", tmp_path / "out.json"
        given.write_text(json.dumps(cases))
        script = root / "tests" / "demo" / "alone_parts.mjs"
        command = ["node", "--experimental-default-type=module", str(script), str(given), str(out)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(out.read_text())

    return run


def rgba(image: np.ndarray) -> str:
    return text_of(np.dstack([image, np.full(image.shape[:2], 255, np.uint8)]))


def blobs(size: tuple[int, int], seed: int = 0, level: float = 0.55) -> np.ndarray:
    """A mask with islands, holes and touches of the border."""
    noise = cv2.GaussianBlur(np.random.default_rng(seed).random(size).astype(np.float32), (0, 0), 3)
    return noise > np.quantile(noise, level)


@pytest.mark.parametrize("filter", [Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS])
def test_resizing_is_pillows(node, root, filter):
    """Every grey level, smaller and larger, by halves and by odd factors, in bands and at once."""
    photo = Image.open(root / "examples" / "cat.jpg").convert("RGB")
    pixels, sizes = np.asarray(photo), [(512, 341), (300, 37), (97, 300), (900, 599), (451, 128)]
    cases = [
        {"call": "resize", "rgba": rgba(pixels), "width": photo.width, "height": photo.height, "to": size, "band": band}
        for size, band in zip(sizes, (256, 64, 300, 7, 256), strict=True)
    ]
    for size, found in zip(sizes, node(*({**case, "filter": int(filter)} for case in cases)), strict=True):
        expected = np.asarray(photo.resize(size, filter)).astype(int)
        assert np.abs(array_of(found, np.uint8, expected.shape) - expected).max() <= (0 if filter == 2 else 1)


@pytest.mark.parametrize("mode", ["longest_side", "stretch", "stretch_float"])
@pytest.mark.parametrize("min_max", [False, True])
def test_the_input_of_a_model_is_the_packages(node, root, mode, min_max):
    pixels = np.asarray(Image.open(root / "examples" / "cat.jpg"))
    how = Preparation(longest=96, padded=(96, 96), frame=96, resize_mode=mode, do_min_max=min_max)
    settings = {"longest": 96, "padded": [96, 96], "frame": 96, "resize_mode": mode, "resample": 2}
    settings |= {"mean": how.mean, "std": how.std, "rescale_factor": how.rescale_factor, "do_min_max": min_max}
    (found,) = node({"call": "prepare", "rgba": rgba(pixels), "size": pixels.shape[:2], "how": settings})
    np.testing.assert_allclose(array_of(found, np.float32, (3, 96, 96)), how(pixels).pixel_values[0], atol=2e-5)


@pytest.mark.parametrize("how", ["crop", "bicubic", "probability"])
@pytest.mark.parametrize("size", [(300, 451), (41, 90), (700, 260)])
def test_masks_are_enlarged_as_in_the_package(node, how, size):
    padded, low = (128, 128), (32, 32)
    input_size = resized_size(size, 128) if how == "crop" else (128, 128)
    logits = cv2.GaussianBlur(np.random.default_rng(3).normal(size=low).astype(np.float32), (0, 0), 1.5) * 10
    case = {"call": "enlarge", "logits": text_of(logits), "low": low, "padded": padded, "input": input_size}
    (found,) = node({**case, "size": size, "how": how})
    frame = MaskFrame(padded, input_size, size, how)
    expected, window = enlarge(logits, frame, return_logits=True), found["window"]
    rows, columns = (slice(window[a], window[a] + window[b]) for a, b in (("top", "height"), ("left", "width")))
    values = array_of(found["values"], np.float32, (window["height"], window["width"]))
    np.testing.assert_allclose(values, expected[rows, columns], atol=2e-4)
    mask, shape = expected > 0, found["shape"]
    assert shape["area"] == pytest.approx(mask.sum(), abs=2)
    assert (coco_mask.decode(shape["rle"]).astype(bool) != mask).sum() <= 2
    ys, xs = np.nonzero(coco_mask.decode(shape["rle"]))
    assert shape["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]


def test_run_lengths_are_cocos(node):
    sizes = [(1, 1), (5, 7), (60, 91), (300, 451)]
    masks = [np.zeros((4, 6), bool), np.ones((4, 6), bool), *(blobs(size, i) for i, size in enumerate(sizes))]
    cases = [{"call": "rle", "size": m.shape, "counts": mask_to_rle(m)["counts"]} for m in masks]
    for mask, case, found in zip(masks, cases, node(*cases), strict=True):
        assert found["text"] == case["counts"]
        if mask.any():
            assert found["facts"]["rle"] == {"size": list(mask.shape), "counts": case["counts"]}
            assert found["facts"]["area"] == mask.sum()
            assert found["facts"]["bbox"] == coco_mask.toBbox(case_rle(case)).tolist()
        else:
            assert found["facts"] is None


def case_rle(case: dict) -> dict:
    return {"size": list(case["size"]), "counts": case["counts"].encode()}


def test_small_regions_go_as_in_the_package(node):
    masks = [blobs((80, 110), 5), ~blobs((80, 110), 6), np.pad(np.ones((3, 3), bool), 10), np.ones((9, 9), bool)]
    masks[3][4, 4] = False
    for mask in masks:
        (found,) = node({"call": "tidy", "pixels": text_of(mask.astype(np.uint8)), "size": mask.shape, "least": 25})
        expected, filled = remove_small_regions(mask, 25, "holes")
        expected, cut = remove_small_regions(expected, 25, "islands")
        assert found["changed"] == (filled or cut)
        assert np.array_equal(array_of(found["pixels"], np.uint8, mask.shape), expected)


def test_masks_are_tidied_as_in_the_package(node):
    """Run for run, with clicks on specks, in holes and beside the photo; and the values that an outline follows."""
    rng, cases, expected, differ = np.random.default_rng(7), [], [], 0
    for seed, size in enumerate([(80, 110), (61, 33), (1, 9), (120, 90), (40, 40)]):
        for share in (0.004, 0.02, 0.2):
            mask = blobs(size, seed, (0.35, 0.55, 0.8)[seed % 3])
            points = rng.uniform(-2, np.array(size[::-1]) + 2, (30, 2))
            labels = rng.integers(0, 2, 30)
            how = {"share": share, "points": points.tolist(), "labels": labels.tolist()}
            cases.append({"call": "tidied", "counts": mask_to_rle(mask)["counts"], "size": size, "how": how})
            expected.append(tidying.tidy(mask, share, points, labels))
            differ += not np.array_equal(expected[-1], tidying.tidy(mask, share))
    assert differ > 3  # clicks count
    for case, mask, found in zip(cases, expected, node(*cases), strict=True):
        assert found == mask_to_rle(mask)["counts"], case["how"]["share"]
    values = rng.normal(size=(50, 60)).astype(np.float32) + np.where(blobs((50, 60), 3, 0.5), 1, -1)
    how = {"share": 0.02, "points": [[33.0, 30.0]], "labels": [1]}
    window = {"top": 7, "left": 5, "height": 50, "width": 60}
    case = {"call": "tidied_values", "values": text_of(values.astype(np.float32)), "window": window, "size": (80, 90)}
    (found,) = node({**case, "how": how})
    mask = tidying.tidy_window(values > 0, (5, 7), 0.02, np.array(how["points"]), np.array([1]))
    found = array_of(found, np.float32, values.shape)
    assert np.array_equal(found > 0, mask) and np.allclose(abs(found), np.maximum(abs(values), mask * 1e-6))


def filled(path: str, size: tuple[int, int], times: int = 4) -> np.ndarray:
    """SVG path data, filled even-odd."""
    out = np.zeros((size[0] * times, size[1] * times), bool)
    for ring in path.replace("M", "").split("Z"):
        if xy := [float(v) * times - 0.5 for v in ring.split()]:
            layer = Image.new("1", out.shape[::-1])
            ImageDraw.Draw(layer).polygon(xy, fill=1)
            out ^= np.asarray(layer)
    return np.asarray(Image.fromarray(out.astype(np.uint8) * 255).resize(size[::-1], Image.Resampling.BOX)) > 127


def test_an_outline_holds_the_mask(node):
    mask = blobs((120, 160), 9, 0.7)
    (found,) = node({"call": "path", "counts": mask_to_rle(mask)["counts"], "size": mask.shape})
    drawn = filled(found, mask.shape)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.97


def test_rings_close_around_every_part_and_hole(node):
    values = np.where(blobs((40, 50), 2), 1.0, -1.0).astype(np.float32)
    (found,) = node({"call": "rings", "values": text_of(values), "size": values.shape})
    parts = cv2.connectedComponents((values > 0).astype(np.uint8), connectivity=4)[0] - 1
    assert len(found) >= parts
    for ring in found:
        xy = np.array(ring).reshape(-1, 2)
        assert np.abs(xy - np.roll(xy, 1, axis=0)).max() <= 1


def test_painting_makes_the_mask_prompt(node):
    """Painted as by OpenCV, except for pixels along the edge; the prompt is the package's for that mask."""
    size, scale = (300, 600), 512 / 600
    strokes = [
        {"points": [[100, 60], [300, 200], [420, 90]], "radius": 20},
        {"points": [[300, 200]], "radius": 9, "erase": True},
    ]
    (found,) = node({"call": "paint", "strokes": strokes, "size": size, "side": 64})
    painted = array_of(found["pixels"], np.uint8, (found["height"], found["width"])).astype(bool)
    canvas = np.zeros(painted.shape, np.uint8)
    for stroke in strokes:
        track = np.rint(np.array(stroke["points"]) * scale * 16).astype(np.int32)
        color, thick = 0 if stroke.get("erase") else 1, round(2 * stroke["radius"] * scale)
        cv2.polylines(canvas, [track.reshape(-1, 1, 2)], False, color, thick, shift=4)
        if len(track) == 1:
            cv2.circle(canvas, track[0].tolist(), round(thick * 8), color, -1, shift=4)
    assert (painted & (canvas > 0)).sum() / (painted | (canvas > 0)).sum() > 0.97
    np.testing.assert_allclose(array_of(found["prompt"], np.float32, (1, 64, 64)), mask_prompt(painted, 64), atol=0.2)
    ys, xs = np.nonzero(painted)
    np.testing.assert_allclose(found["box"], np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / scale, atol=2)


def test_yolo_labels_hold_the_mask(node):
    mask = blobs((90, 120), 4, 0.8)
    (line,) = node({"call": "yolo", "counts": mask_to_rle(mask)["counts"], "size": mask.shape})
    label, *numbers = line.split()
    assert label == "3"
    ring = " ".join(str(float(v) * side) for v, side in zip(numbers, (120, 90) * (len(numbers) // 2), strict=True))
    drawn = filled(f"M{ring} Z", mask.shape)
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.93


def test_labels_are_those_that_the_package_writes(node):
    """Label map, labelme, CVAT and Label Studio; masks that overlap, and names with what XML does not take."""
    size, names = (90, 120), ["cup", "a \"<b>\" & 'c'", "cup", "ü\n"]
    masks = [blobs(size, 4, 0.3), blobs(size, 5, 0.8), np.zeros(size, bool), blobs(size, 6, 0.9)]
    masks[2][89, 119] = True
    records = [
        {"segmentation": mask_to_rle(m), "name": n, "predicted_iou": 0.5} for m, n in zip(masks, names, strict=True)
    ]
    image = ImageLabels("a b.jpg", size, records)
    given = [
        {"counts": r["segmentation"]["counts"], "name": n, "score": 0.5} for r, n in zip(records, names, strict=True)
    ]
    (found,) = node({"call": "labels", "objects": given, "size": size, "stem": "a b"})

    def written(kind: str, **options: bool) -> dict[str, bytes]:
        files = writer(kind)([image], **options)
        return {n: c if isinstance(c, bytes) else b"".join(c) for n, c in files}

    expected = np.asarray(Image.open(io.BytesIO(written("labelmap", non_overlapping=True)["a b.png"])))
    picture = Image.open(io.BytesIO(base64.b64decode(found["picture"])))
    assert picture.mode.startswith("I") and np.array_equal(np.asarray(picture), expected)
    assert set(np.unique(expected)) == {0, 1, 2, 3, 4}
    theirs = json.loads(written("labelme")["a b.json"])
    for ours, shape in zip(found["labelme"]["shapes"], theirs["shapes"], strict=True):
        one, two = (np.asarray(Image.open(io.BytesIO(base64.b64decode(s.pop("mask"))))) for s in (ours, shape))
        assert np.array_equal(one, two)
    assert found["labelme"] == theirs
    assert found["cvat"] == written("cvat")["annotations.xml"].decode()
    files = written("labelstudio")
    assert found["tasks"] == json.loads(files["tasks.json"]) and found["view"] == files["labels.xml"].decode()


def test_files_that_are_imported(node):
    mask, size = blobs((60, 80), 7, 0.8), (60, 80)
    record = {"segmentation": mask_to_rle(mask), "predicted_iou": 0.5, "point_coords": [[3, 4]], "category_id": 2}
    document = {
        "images": [{"id": 1, "width": 80, "height": 60}],
        "categories": [{"id": 2, "name": "cup\n"}],
        "annotations": [record, {"segmentation": [[10, 10, 40, 10, 40, 30, 10, 30]], "input_box": [1, 2, 300, 4]}],
    }
    wrong = ["{", "{}", {**document, "images": [{"id": 1, "width": 9, "height": 9}]}]
    wrong.append({"annotations": [{"segmentation": {"size": [60, 80], "counts": "xx"}}]})
    cases = [text if isinstance(text, str) else json.dumps(text) for text in (document, *wrong)]
    (first, second), *failures = node(*({"call": "import", "text": text, "size": size} for text in cases))
    assert first["name"] == "cup" and first["score"] == 0.5 and first["points"] == [[3, 4]] and first["labels"] == [1]
    assert np.array_equal(coco_mask.decode(first["rle"]).astype(bool), mask)
    assert second["area"] == 600 and second["bbox"] == [10, 10, 30, 20] and second["box"] is None
    words = ["not JSON", "no annotations", "9 x 9 pixels", "do not fit"]
    assert all(word in failure["error"] for word, failure in zip(words, failures, strict=True))


def test_png_and_zip_open_elsewhere(node, tmp_path: Path):
    grey = np.random.default_rng(1).integers(0, 256, (20, 30), np.uint8)
    color = np.random.default_rng(2).integers(0, 256, (7, 9, 4), np.uint8)
    files = [["a/b.txt", base64.b64encode(b"hello " * 99).decode()], ["ü.png", text_of(grey)]]
    one, two, archive = node(
        {"call": "png", "levels": text_of(grey), "width": 30, "height": 20, "channels": 1},
        {"call": "png", "levels": text_of(color), "width": 9, "height": 7, "channels": 4},
        {"call": "zip", "files": files},
    )
    for text, expected in ((one, grey), (two, color)):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(base64.b64decode(text)))), expected)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(archive))) as opened:
        assert opened.testzip() is None
        assert {n: opened.read(n) for n in opened.namelist()} == {n: base64.b64decode(t) for n, t in files}
