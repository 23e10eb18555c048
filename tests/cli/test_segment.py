"""``sam-hub segment``: which files it writes and where, and that masks are the predictor's."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from typer.testing import CliRunner, Result

from sam_hub import SamModel, SamPredictor
from sam_hub.cli import app
from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.ops.tidying import tidy
from sam_hub.segmentation.outputs import Destination, Format
from sam_hub.segmentation.photo import SegmentedPhoto

CLICK, BACKGROUND, BOX, OTHER_BOX = (30, 40), (100, 10), (10, 10, 60, 60), (50, 20, 110, 70)
Segment = Callable[..., Result]


@pytest.fixture
def segment(tiny_model: Path, workplace: Path) -> Segment:
    """Run the command in the workplace with the tiny model."""

    def run(*arguments: object, code: int = 0) -> Result:
        words = ["segment", "--model", tiny_model, *arguments]
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def predictor(tiny_model: Path, workplace: Path) -> SamPredictor:
    predictor = SamPredictor(SamModel.from_pretrained(tiny_model).eval())
    predictor.set_image(np.asarray(Image.open("photo.png")))
    return predictor


def _mask(path: str | Path) -> np.ndarray:
    levels = np.asarray(Image.open(path))
    assert set(np.unique(levels)) <= {0, 255} and levels.shape == (80, 120)
    return levels > 0


def _text(numbers: tuple) -> str:
    return ",".join(map(str, numbers))


def _written(folder: Path = Path()) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"photo.png", "other.jpg"}


# What is found


def test_a_click_gives_the_candidate_with_the_best_predicted_iou(segment: Segment, predictor: SamPredictor) -> None:
    result = segment("photo.png", "--point", _text(CLICK))
    masks, scores, _ = predictor.predict(np.array([CLICK]), np.array([1]))
    assert _written() == {"photo.mask.png"} and result.stdout == "photo.mask.png\n"
    np.testing.assert_array_equal(_mask("photo.mask.png"), masks[scores.argmax()])
    assert f"{scores.max():.2f}" in result.stderr


def test_tidy_drops_specks_and_fills_holes(segment: Segment, predictor: SamPredictor) -> None:
    segment("photo.png", "-p", _text(CLICK), "--tidy", 0.4)
    masks, scores, _ = predictor.predict(np.array([CLICK]), np.array([1]))
    plain = masks[scores.argmax()]
    expected = tidy(plain, 0.4, np.array([CLICK]), np.array([1]))
    assert (expected != plain).any()
    np.testing.assert_array_equal(_mask("photo.mask.png"), expected)


def test_masks_are_tidied_as_the_model_says(segment: Segment, predictor: SamPredictor, tiny_model: Path) -> None:
    own = Path("own").absolute()
    shutil.copytree(tiny_model, own)
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "tidy": 0.4}))
    segment("photo.png", "-p", _text(CLICK), "--model", own)
    masks, scores, _ = predictor.predict(np.array([CLICK]), np.array([1]), tidy=0.4)
    plain = predictor.predict(np.array([CLICK]), np.array([1]))[0]
    assert (masks != plain).any()
    np.testing.assert_array_equal(masks[0], tidy(plain[0], 0.4, np.array([CLICK]), np.array([1])))
    np.testing.assert_array_equal(_mask("photo.mask.png"), masks[scores.argmax()])
    segment("photo.png", "-p", _text(CLICK), "--model", own, "--tidy", 0)
    np.testing.assert_array_equal(_mask("photo.mask.png"), plain[scores.argmax()])
    with pytest.raises(ValueError, match="omit return_logits"):
        predictor.predict(np.array([CLICK]), np.array([1]), tidy=0.4, return_logits=True)
    assert SamPredictor("pocket").capabilities.tidy > 0 == predictor.capabilities.tidy


def test_zoom_looks_again_at_each_object(segment: Segment, predictor: SamPredictor) -> None:
    boxes = (20, 10, 50, 35), (70, 40, 100, 70)
    segment("photo.png", *(word for box in boxes for word in ("-b", _text(box))), "--zoom")
    for number, box in enumerate(boxes, start=1):
        masks, scores, _ = predictor.predict(box=np.array(box), multimask_output=False, zoom=True)
        np.testing.assert_array_equal(_mask(f"photo.mask-{number}.png"), masks[0])
        plain, other, _ = predictor.predict(box=np.array(box), multimask_output=False)
        assert not np.array_equal(scores, other)
        segment("photo.png", "-b", _text(box))  # not the tiny model's default
        np.testing.assert_array_equal(_mask("photo.mask.png"), plain[0])


def test_whether_to_zoom_is_the_models(segment: Segment, predictor: SamPredictor, tiny_model: Path) -> None:
    own, box = Path("own").absolute(), (20, 10, 50, 35)
    shutil.copytree(tiny_model, own)
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "zoom": True}))
    for options, zoom in (((), True), (("--no-zoom",), False)):
        segment("photo.png", "-b", _text(box), "--model", own, *options)
        masks, _, _ = predictor.predict(box=np.array(box), multimask_output=False, zoom=zoom)
        np.testing.assert_array_equal(_mask("photo.mask.png"), masks[0])
    assert SamPredictor("pocket").capabilities.zoom and not predictor.capabilities.zoom


def test_points_and_a_box_are_one_object(segment: Segment, predictor: SamPredictor) -> None:
    segment("photo.png", "-p", _text(CLICK), "-p", f"{_text(BACKGROUND)},0", "-b", _text(BOX))
    points, labels = np.array([CLICK, BACKGROUND]), np.array([1, 0])
    masks, *_ = predictor.predict(points, labels, np.array(BOX), multimask_output=False)
    np.testing.assert_array_equal(_mask("photo.mask.png"), masks[0])


@pytest.mark.parametrize("more", [[], ["--point", _text(CLICK)]], ids=["alone", "with a point"])
def test_a_rough_mask_is_a_prompt(segment: Segment, predictor: SamPredictor, more: list[str]) -> None:
    rough = np.zeros((80, 120), np.uint8)
    rough[20:60, 20:80] = 255
    Image.fromarray(rough).save("rough.png")
    segment("photo.png", "--mask", "rough.png", *more)
    # The input is 64 pixels wide, a low-res mask 16: 7.5 pixels of the photo are one of the mask.
    low = np.asarray(Image.fromarray(rough).resize((16, 11), Image.Resampling.BOX), np.float32) / 127.5 - 1
    logits = np.full((1, 16, 16), -10, np.float32)
    logits[0, :11] = low * 10
    if more:
        others = {"point_coords": np.array([CLICK]), "point_labels": np.array([1])}
    else:
        others = {"box": np.array([20, 20, 80, 60])}
    masks, *_ = predictor.predict(mask_input=logits, multimask_output=False, **others)
    plain, *_ = predictor.predict(multimask_output=False, **others)
    written = _mask("photo.mask.png")
    assert (written ^ masks[0]).mean() < 0.01
    assert (written ^ plain[0]).mean() > 0.05, "the mask prompt did not matter"


def test_several_boxes_are_several_objects(segment: Segment, predictor: SamPredictor) -> None:
    result = segment("photo.png", "--box", _text(BOX), "--box", _text(OTHER_BOX), "--overlay")
    assert result.stdout.split() == ["photo.mask-1.png", "photo.mask-2.png", "photo.overlay.jpg"]
    for number, box in ((1, BOX), (2, OTHER_BOX)):
        masks, *_ = predictor.predict(box=np.array(box), multimask_output=False)
        np.testing.assert_array_equal(_mask(f"photo.mask-{number}.png"), masks[0])


def test_multimask_writes_every_candidate_best_first(segment: Segment, predictor: SamPredictor) -> None:
    segment("photo.png", "--point", _text(CLICK), "--multimask", "--overlay")
    masks, scores, _ = predictor.predict(np.array([CLICK]), np.array([1]))
    order = np.argsort(-scores)
    assert list(order) != [0, 1, 2]
    assert _written() == {f"photo.{kind}" for j in "123" for kind in (f"mask-{j}.png", f"overlay-{j}.jpg")}
    for j, k in enumerate(order, start=1):
        np.testing.assert_array_equal(_mask(f"photo.mask-{j}.png"), masks[k])


def test_objects_and_candidates_are_both_numbered(segment: Segment) -> None:
    result = segment("photo.png", "-b", _text(BOX), "-b", _text(OTHER_BOX), "--multimask")
    assert result.stdout.split() == [f"photo.mask-{i}-{j}.png" for i in (1, 2) for j in (1, 2, 3)]


def test_coordinates_are_those_of_the_photo_as_a_viewer_turns_it(segment: Segment) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side: shown 80 wide and 120 high
    Image.open("photo.png").save("turned.jpg", exif=exif)
    segment("turned.jpg", "--point", "70,110")
    assert Image.open("turned.mask.png").size == (80, 120)
    assert "outside" in segment("turned.jpg", "--point", "110,70", code=1).stderr


# Formats


def test_every_format_holds_the_same_mask(segment: Segment, predictor: SamPredictor) -> None:
    formats = ("png", "cutout", "svg", "json", "coco")
    result = segment("photo.png", "--box", _text(BOX), "--overlay", *(w for f in formats for w in ("--format", f)))
    names = ["photo.mask.png", "photo.cutout.png", "photo.mask.svg", "photo.mask.json", "photo.overlay.jpg"]
    assert result.stdout.split() == [*names, "coco.json"]
    mask = _mask("photo.mask.png")
    record = json.loads(Path("photo.mask.json").read_text())
    (annotation,) = record["annotations"]
    np.testing.assert_array_equal(coco_mask.decode(annotation["segmentation"]), mask)
    _, scores, _ = predictor.predict(box=np.array(BOX), multimask_output=False)
    assert annotation["predicted_iou"] == pytest.approx(float(scores[0]), abs=1e-6)
    assert annotation["input_box"] == list(BOX)
    assert record["image"] == {"image_id": 1, "file_name": "photo.png", "width": 120, "height": 80}
    np.testing.assert_array_equal(COCO("coco.json").annToMask({**annotation, "image_id": 1}), mask)
    assert Path("photo.mask.svg").read_text().count("<path") == 1
    assert Image.open("photo.cutout.png").mode == "RGBA"
    overlay = np.asarray(Image.open("photo.overlay.jpg")).astype(int)
    assert overlay.shape == (80, 120, 3) and np.abs(overlay - np.asarray(Image.open("photo.png"))).mean() > 5


def test_one_coco_file_for_several_photos(segment: Segment) -> None:
    segment("photo.png", "other.jpg", "--box", _text(BOX), "--box", _text(OTHER_BOX), "-o", "all.json", "-f", "coco")
    assert _written() == {"all.json"}
    coco = COCO("all.json")
    assert [i["file_name"] for i in coco.imgs.values()] == ["photo.png", "other.jpg"]
    assert sorted(coco.anns) == [1, 2, 3, 4]


def test_json_beside_the_photo_is_a_sa1b_data_set(segment: Segment, workplace: Path) -> None:
    segment("photo.png", "--box", _text(BOX), "--out", "photo.json")
    assert len(Sa1bDataset(workplace)[0].annotations) == 1


def test_json_answer(segment: Segment, predictor: SamPredictor) -> None:
    answer = json.loads(segment("photo.png", "other.jpg", "-p", _text(CLICK), "-f", "png", "--json").stdout)
    assert answer["failed"] == [] and answer["coco"] is None
    first, second = answer["images"]
    assert (first["image"], second["image"], first["width"], first["height"]) == ("photo.png", "other.jpg", 120, 80)
    (mask,) = first["masks"]
    _, scores, _ = predictor.predict(np.array([CLICK]), np.array([1]))
    assert mask["predicted_iou"] == pytest.approx(float(scores.max()), abs=1e-6)
    assert mask["area"] == _mask("photo.mask.png").sum()
    assert mask["point_coords"] == [list(CLICK)] and mask["point_labels"] == [1]
    assert first["files"] == [{"path": "photo.mask.png", "format": "png", "masks": [[1, 1]]}]


# Places


@pytest.mark.skipif(sys.platform != "linux", reason="other systems allow only Unicode names")
def test_names_of_any_encoding(segment: Segment) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Path(name).hardlink_to("photo.png")
    result = segment(name, "-p", _text(CLICK), "-f", "png", "-f", "json")
    assert result.stdout_bytes.split() == [b"caf\xe9.mask.png", b"caf\xe9.mask.json"]
    assert json.loads(Path(os.fsdecode(b"caf\xe9.mask.json")).read_text())["image"]["file_name"] == name
    answer = json.loads(segment(name, "-p", _text(CLICK), "--json").stdout)
    assert answer["images"][0]["image"] == name


@pytest.mark.parametrize("folder", ["new/deep", "with.dot/", "there.already"])
def test_out_is_a_folder(segment: Segment, folder: str) -> None:
    Path("there.already").mkdir()
    segment("photo.png", "-p", _text(CLICK), "--overlay", "--out", folder)
    assert _written(Path(folder)) == {"photo.mask.png", "photo.overlay.jpg"}


@pytest.mark.parametrize(
    ("name", "formats", "start"),
    [
        ("a.png", [], b"\x89PNG"),
        ("A.PNG", ["-f", "cutout"], b"\x89PNG"),
        ("a.svg", [], b"<svg"),
        ("a.json", [], b'{"image"'),
        ("a.json", ["-f", "coco"], b'{"images"'),
    ],
)
def test_out_is_a_file_and_its_suffix_the_format(segment: Segment, name: str, formats: list, start: bytes) -> None:
    result = segment("photo.png", "-p", _text(CLICK), "--out", f"new/{name}", *formats)
    assert result.stdout == f"new/{name}\n" and _written() == {f"new/{name}"}
    assert Path("new", name).read_bytes().startswith(start)


def test_an_overlay_goes_beside_the_file(segment: Segment) -> None:
    segment("photo.png", "-p", _text(CLICK), "--out", "cat.png", "--overlay")
    assert _written() == {"cat.png", "cat.overlay.jpg"}


def test_several_masks_fit_one_svg(segment: Segment) -> None:
    segment("photo.png", "-b", _text(BOX), "-b", _text(OTHER_BOX), "--out", "both.svg")
    assert Path("both.svg").read_text().count("<path") == 2


def test_existing_results_are_replaced(segment: Segment) -> None:
    Path("photo.mask.png").write_bytes(b"an older result")
    segment("photo.png", "-p", _text(CLICK))
    assert _mask("photo.mask.png").any()


@pytest.mark.parametrize(
    "arguments",
    [
        ["photo.png", "--out", "photo.png"],
        ["photo.png", "--out", "./deep/../photo.png"],
        ["photo.png", "--out", "link.png"],
        ["photo.png", "--mask", "photo.mask.png"],
        ["photo.mask.png", "photo.png"],
        ["photo.png", "photo.overlay.jpg", "--overlay"],
    ],
    ids=" ".join,
)
def test_inputs_are_never_overwritten(segment: Segment, arguments: list[str]) -> None:
    Path("deep").mkdir()
    for name in ("photo.mask.png", "photo.overlay.jpg"):
        Image.open("photo.png").save(name)
    Path("link.png").symlink_to("photo.png")
    before = {p: p.read_bytes() for p in Path().iterdir() if p.is_file()}
    assert "would overwrite an input" in segment(*arguments, "-p", _text(CLICK), code=2).stderr
    assert {p: p.read_bytes() for p in Path().iterdir() if p.is_file()} == before


def test_what_is_said_of_empty_masks() -> None:
    photo, empty, found = np.zeros((3, 4, 3), np.uint8), np.zeros((3, 4), bool), np.ones((3, 4), bool)

    def said(*masks: np.ndarray) -> str:
        keys = [(i, 0) for i in range(len(masks))]
        one = SegmentedPhoto(Path("a.png"), photo, [], dict(zip(keys, masks, strict=True)), dict.fromkeys(keys, 0.8), 1)
        return one.summary()

    assert said(empty) == said(empty, empty) == "a.png: nothing found (1.00 s)"
    assert said(found, empty) == "a.png: predicted IoU 0.80, nothing found (1.00 s)"


# Several photos


def test_a_bad_photo_does_not_stop_the_others(segment: Segment) -> None:
    Path("bad.png").write_bytes(b"nothing")
    result = segment("bad.png", "photo.png", "missing.jpg", "other.jpg", "-p", "110,70", "--json", code=1)
    answer = json.loads(result.stdout)
    assert [i["image"] for i in answer["images"]] == ["photo.png", "other.jpg"]
    assert [f["image"] for f in answer["failed"]] == ["bad.png", "missing.jpg"]
    assert _written() == {"bad.png", "photo.mask.png", "other.mask.png"}
    assert [line.split()[1] for line in result.stderr.splitlines() if "Error" in line] == ["bad.png", "missing.jpg"]


def test_a_prompt_outside_of_one_photo_is_told_of_that_photo(segment: Segment) -> None:
    Image.new("RGB", (20, 20)).save("small.png")
    result = segment("small.png", "photo.png", "-p", _text(CLICK), code=1)
    assert "Error: small.png: point (30, 40) is outside the image, which is 20 x 20 pixels\n" in result.stderr
    assert result.stdout == "photo.mask.png\n"


def test_the_model_is_loaded_once_and_only_for_a_good_prompt(segment: Segment, monkeypatch) -> None:
    loaded = []
    load = SamModel.from_pretrained

    def count(name: str, *arguments, **options) -> SamModel:
        loaded.append(name)
        return load(name, *arguments, **options)

    monkeypatch.setattr(SamModel, "from_pretrained", count)
    segment("photo.png", "--point", "500,500", code=1)
    assert loaded == []
    segment("photo.png", "other.jpg", "--point", _text(CLICK))
    assert len(loaded) == 1


# As a program


STOPPED = "Stopped; any files already written are complete.\n"


def test_ctrl_c_leaves_whole_files_and_one_line(tiny_model: Path, workplace: Path) -> None:
    photos = [f"{i:03}.png" for i in range(300)]
    for name in photos:
        Path(name).hardlink_to("photo.png")
    command = [sys.executable, "-m", "sam_hub", "segment", *photos, "-p", "30,40", "-m", str(tiny_model), "-o", "out"]
    heed = partial(signal.signal, signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command, preexec_fn=heed, **pipes) as process:
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        complaint = "".join(iter(process.stderr.readline, STOPPED)) + STOPPED
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)  # once more, while Python takes its leave
        rest, more = process.communicate(timeout=60)
        complaint += more
    assert process.returncode == 130 and "Traceback" not in complaint
    assert complaint.endswith(STOPPED)
    done = [first.strip(), *rest.split()]
    assert len(done) < 300 and _written(Path("out")) >= {Path(p).name for p in done}
    for path in Path("out").iterdir():
        _mask(path)


def test_slots_are_named_without_a_gap() -> None:
    to = Destination(Path("o"), None, (Format.png, Format.svg, Format.coco), True, ())
    names = [str(s.path) for s in to.results(Path("in/a.b.jpg"), 2, 1)]
    assert names == ["o/a.b.mask-1.png", "o/a.b.mask-2.png", "o/a.b.mask.svg", "o/a.b.overlay.jpg"]
