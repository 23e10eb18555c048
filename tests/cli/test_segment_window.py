"""``sam-hub segment --window``: only the pixels around a prompt of a large image are read."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sam_hub.cli import app
from sam_hub.errors import PromptError
from sam_hub.inference.opening import open_predictor
from sam_hub.ops.masks import rle_to_mask
from sam_hub.tiling.picture import Picture
from sam_hub.tiling.windows import predict_in_window, window_around

tifffile = pytest.importorskip("tifffile")
SIZE = (150, 200)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The pixels of large.tif in the current folder."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(3).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    values = np.asarray(Image.fromarray(noise).resize(SIZE[::-1]))
    tifffile.imwrite("large.tif", values, photometric="rgb", tile=(32, 32))
    return values


@pytest.mark.parametrize(
    ("points", "box", "side", "window"),
    [
        ([[100, 75]], None, 64, (68, 43, 132, 107)),
        ([[0, 0]], None, 64, (0, 0, 64, 64)),
        ([[200, 150]], None, 64, (136, 86, 200, 150)),
        ([[90, 70], [110, 80]], None, 64, (68, 43, 132, 107)),
        (None, [20, 20, 100, 60], 64, (0, 0, 120, 120)),  # larger than the window: half as much again
        (None, [0, 0, 200, 150], 64, (0, 0, 200, 150)),
        ([[10, 10]], None, 1024, (0, 0, 200, 150)),
    ],
)
def test_where_a_window_lies(points, box, side, window):
    points, box = (None if v is None else np.array(v) for v in (points, box))
    assert window_around(points, box, SIZE, side) == window


def segment(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["segment", "large.tif", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_the_mask_is_that_of_the_window(large, tiny_model):
    predictor = open_predictor(str(tiny_model))
    predictor.set_image(large[43:107, 68:132])
    masks, scores, _ = predictor.predict(np.array([[32, 32]]), np.array([1]))
    expected = np.zeros(SIZE, bool)
    expected[43:107, 68:132] = masks[scores.argmax()]
    call = ("--model", tiny_model, "--point", "100,75", "--window", 64, "--out", "out/")
    segment(
        *call, *(w for f in ("png", "json", "svg", "cutout", "labelmap", "coco") for w in ("--format", f)), "--overlay"
    )
    np.testing.assert_array_equal(np.asarray(Image.open("out/large.mask.png")) > 0, expected)
    np.testing.assert_array_equal(np.asarray(Image.open("out/labelmap/large.png")) > 0, expected)
    (record,) = json.loads(Path("out/large.mask.json").read_text())["annotations"]
    np.testing.assert_array_equal(rle_to_mask(record["segmentation"]), expected)
    y, x = np.nonzero(expected)
    assert record["bbox"] == [x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1] and record["point_coords"] == [[100, 75]]
    assert Image.open("out/large.overlay.jpg").size == (64, 64)
    assert f'width="{SIZE[1]}" height="{SIZE[0]}"' in Path("out/large.mask.svg").read_text()

    with Picture("large.tif") as picture:
        found, iou, window = predict_in_window(predictor, picture, np.array([[100, 75]]), np.array([1]), side=64)
        assert window == (68, 43, 132, 107) and np.array_equal(found, masks) and np.array_equal(iou, scores)
        with pytest.raises(PromptError, match="outside the image, which is 200 x 150"):
            predict_in_window(predictor, picture, np.array([[300, 75]]), np.array([1]))
        with pytest.raises(PromptError, match="give some"):
            predict_in_window(predictor, picture)


def test_boxes_have_windows_of_their_own(large, tiny_model):
    boxes = ("--box", "5,5,30,30", "--box", "160,100,190,140")
    segment("--model", tiny_model, *boxes, "--window", 64, "--format", "json", "--out", "out/")
    for record, (x0, y0, x1, y1) in zip(
        json.loads(Path("out/large.mask.json").read_text())["annotations"],
        [(0, 0, 64, 64), (136, 86, 200, 150)],
        strict=True,
    ):
        mask = rle_to_mask(record["segmentation"])
        outside = mask.copy()
        outside[y0:y1, x0:x1] = False
        assert mask.shape == SIZE and mask.any() and not outside.any()


def test_what_makes_no_sense(large):
    assert "omit --text and --mask" in segment("--text", "a cat", "--window", 64, code=2).stderr
    assert "outside the image, which is 200 x 150" in segment("--point", "300,10", "--window", 64, code=1).stderr
