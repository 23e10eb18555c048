"""``sam-hub everything``: its files, resuming, and what it refuses."""

import importlib.util
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from typer.testing import CliRunner, Result

from sam_hub import SamAutomaticMaskGenerator, SamModel
from sam_hub.annotation import work
from sam_hub.annotation.settings import THRESHOLDS, generator_arguments, weights_id
from sam_hub.cli import app, progress
from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.inference import amg
from sam_hub.inference.amg import PRESETS
from sam_hub.inference.predictor import SamPredictor
from sam_hub.ops.crops import crop_boxes

ANY_MASK = ("--points-per-side", 3, "--pred-iou-thresh", 0, "--stability-score-thresh", 0, "--box-nms-thresh", 1)
GRID = dict(points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1)
Everything = Callable[..., Result]


@pytest.fixture
def everything(tiny_model: Path, tmp_path: Path, monkeypatch) -> Everything:
    """Run the command with the tiny model, next to a folder ``photos``."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, code: int = 0) -> Result:
        words = ["everything", "--model", tiny_model, *ANY_MASK, *arguments]
        result = CliRunner().invoke(app, [str(w) for w in words])
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png, b.jpg, deep/a.jpg, and files that are no photos."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a.png", "b.jpg", "deep/a.jpg")):
        picture(seed).save(folder / name)
    (folder / "notes.txt").write_text("no photo")
    (folder / ".hidden.jpg").write_bytes(b"no photo either")
    return folder


def picture(seed: int, size: tuple[int, int] = (60, 44)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size)


def files(folder: Path, but: tuple[str, ...] = ("summary.json",)) -> dict[str, bytes]:
    found = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): p.read_bytes() for p in found if p.name not in but}


def test_files_of_a_folder(everything: Everything, photos: Path, tiny_model: Path) -> None:
    result = everything("photos", "--out", "out")
    names = ("a", "b", "deep/a")
    expected = {f"masks/{n}.json" for n in names} | {f"previews/{n}.jpg" for n in names}
    assert set(files(Path("out"), ())) == expected | {"coco.json", "summary.json", "everything.json"}
    assert result.stdout.splitlines()[0].startswith("photos: 3 done in ") and result.stdout.endswith("out/coco.json\n")
    assert [line.split(" (")[0].split(":")[0] for line in result.stderr.splitlines()] == [
        "1/3 a.png",
        "2/3 b.jpg",
        "3/3 deep/a.jpg",
    ]
    generator = SamAutomaticMaskGenerator(SamModel.from_pretrained(tiny_model).eval(), **GRID)
    for name, file_name in zip(names, ("a.png", "b.jpg", "deep/a.jpg"), strict=True):
        document = json.loads(Path(f"out/masks/{name}.json").read_text())
        assert document["image"] == {"image_id": 1, "file_name": file_name, "width": 60, "height": 44}
        records = generator.generate(photos / file_name)
        assert [a["id"] for a in document["annotations"]] == list(range(1, len(records) + 1)) and records
        for ours, record in zip(document["annotations"], records, strict=True):
            mask = coco_mask.decode(ours["segmentation"]).astype(bool)
            np.testing.assert_array_equal(mask, record["segmentation"])
            assert ours["area"] == mask.sum()
            assert ours["bbox"] == coco_mask.toBbox(ours["segmentation"]).tolist()
            for key in ("predicted_iou", "stability_score", "point_coords", "crop_box"):
                assert ours[key] == record[key]
        assert Image.open(f"out/previews/{name}.jpg").size == (60, 44)
    with Image.open("out/previews/a.jpg") as drawn:
        assert np.abs(np.asarray(drawn).astype(int) - np.asarray(picture(0))).mean() > 5, "masks are drawn"


def test_coco_of_all(everything: Everything, photos: Path, capsys) -> None:
    everything("photos", "--out", "out")
    coco = COCO("out/coco.json")
    assert [image["file_name"] for image in coco.dataset["images"]] == ["a.png", "b.jpg", "deep/a.jpg"]
    assert [image["id"] for image in coco.dataset["images"]] == [1, 2, 3]
    ids = [a["id"] for a in coco.dataset["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    for image, name in zip(coco.dataset["images"], ("a", "b", "deep/a"), strict=True):
        mine = json.loads(Path(f"out/masks/{name}.json").read_text())["annotations"]
        found = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert [coco.annToMask(a).sum() for a in found] == [a["area"] for a in mine] and len(mine) > 1
        assert {a["category_id"] for a in found} == {1} and not any(a["iscrowd"] for a in found)
    assert (photos / coco.dataset["images"][2]["file_name"]).is_file()


def test_annotations_can_be_trained_on(everything: Everything, photos: Path) -> None:
    """The SA-1B readers take photos and annotations from one folder."""
    everything("photos", "--out", "out", "--no-preview")
    assert not Path("out/previews").exists()
    Path("both").mkdir()
    for name in ("a.png", "b.jpg"):
        (Path("both") / name).write_bytes((photos / name).read_bytes())
        stem = name.split(".")[0]
        (Path("both") / f"{stem}.json").write_bytes(Path(f"out/masks/{stem}.json").read_bytes())
    assert len(Sa1bDataset(Path("both"))) == 2


def test_photos_of_one_stem_do_not_overwrite_each_other(everything: Everything, photos: Path) -> None:
    picture(7).save(photos / "a.jpg")
    everything(photos / "a.jpg", photos / "a.png", photos / "deep/a.jpg", photos / "a.jpg", "--out", "out")
    plan = json.loads(Path("out/everything.json").read_text())
    named = {image["name"]: image["file_name"] for image in plan["images"]}
    assert named == {"a": "a.jpg", "a-2": "a.png", "deep/a": "deep/a.jpg"}, "and a file given twice is done once"
    for name, file_name in named.items():
        assert json.loads(Path(f"out/masks/{name}.json").read_text())["image"]["file_name"] == file_name


def test_unreadable_photos_are_listed_and_the_others_done(everything: Everything, photos: Path) -> None:
    (photos / "broken.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    result = everything("photos", "nowhere.png", "--out", "out", "--json", code=1)
    answer = json.loads(result.stdout)
    assert [entry["image"] for entry in answer["images"]] == ["photos/a.png", "photos/b.jpg", "photos/deep/a.jpg"]
    assert all(entry["masks"] > 1 and entry["seconds"] > 0 for entry in answer["images"])
    assert [os.path.basename(entry["image"]) for entry in answer["failed"]] == ["broken.jpg", "nowhere.png"]
    end = result.stderr.splitlines()[-3:]
    assert end[0] == "2 of 5 photos failed:" and "broken.jpg is damaged" in end[1] and "does not exist" in end[2]
    assert json.loads(Path("out/summary.json").read_text()) == answer
    assert len(COCO("out/coco.json").dataset["images"]) == 3
    picture(5).save(photos / "broken.jpg")  # mended: it is done, and nothing else
    before = {p: p.stat().st_mtime_ns for p in Path("out/masks").rglob("*.json")}
    result = everything("photos", "nowhere.png", "--out", "out", "--resume", code=1)
    assert "photos: 1 done" in result.stdout and "3 done before, 1 failed" in result.stdout
    assert before == {p: p.stat().st_mtime_ns for p in before}


@pytest.mark.parametrize("inputs", [("nowhere",), ("nowhere.png",), ("photos", "nowhere"), ("nowhere.png", "no.jpg")])
def test_missing_photos_are_told_once_before_anything_is_loaded(everything, photos, monkeypatch, inputs) -> None:
    monkeypatch.setattr("sam_hub.cli.loading.load_predictor", lambda *a, **k: pytest.fail("a model was loaded"))
    result = everything(*inputs, "--out", "out", code=1)
    assert result.output.count("does not exist; check the path") == 1 and not Path("out").exists()


def test_only_photos_are_looked_for_in_folders(everything: Everything, photos: Path) -> None:
    for name in ("paper.pdf", "film.mpg", "data.h5", "drawing.eps", "page.ps"):
        (photos / name).write_bytes(b"%!PS no photo")
    everything("photos", "--out", "out")
    assert len(json.loads(Path("out/everything.json").read_text())["images"]) == 3


def test_a_range_holds_for_all_photos_and_belongs_to_the_settings(everything: Everything, tmp_path: Path) -> None:
    Path("deep").mkdir()
    shallow = np.asarray(picture(3).convert("L"))
    Image.fromarray(shallow.astype(np.uint16) * 16).save("deep/a.png")
    warned = everything("deep", "--out", "out").stderr
    assert warned.count("Warning: ") == 1 and "a.png: uint16 values use less than a quarter of their range" in warned
    quiet = everything("deep", "--out", "given", "--range", "0,4080").stderr
    assert "Warning" not in quiet
    Image.fromarray(shallow).save("deep/a.png")
    everything("deep", "--out", "eight")
    assert Path("given/masks/a.json").read_bytes() == Path("eight/masks/a.json").read_bytes()
    assert "value_range [0.0, 4080.0] and not None" in everything("deep", "--out", "given", "--resume", code=1).stderr
    assert "photos: 1 done" in everything("deep", "--out", "given", "--resume", "--range", "0,4080").stdout
    assert "--range bright is not LO,HI" in everything("deep", "--out", "new", "--range", "bright", code=2).stderr


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_among_the_photos_fails_alone(everything: Everything, photos: Path, not_for_ever) -> None:
    os.mkfifo(photos / "pipe.jpg")
    result = everything("photos", "--out", "out", code=1)
    assert "pipe.jpg is not a regular file" in result.stderr and "photos: 3 done" in result.stdout


def test_what_would_start_a_program_fails_alone(everything: Everything, photos: Path) -> None:
    (photos / "drawing.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for more in ((), ("--tile", 64)):
        result = everything("photos", "--out", f"out{len(more)}", *more, code=1)
        assert "drawing.jpg is not an image in a format that" in result.stderr and "photos: 3 done" in result.stdout


@pytest.mark.parametrize("size", [(70_000, 400), (3000, 2), (2, 3000)])
def test_thin_photos_are_left_out_with_a_sentence(everything: Everything, photos: Path, size) -> None:
    Image.new("RGB", size).save(photos / "thin.png")
    result = everything("photos", "--out", "out", code=1)
    assert f"thin.png is {size[0]} x {size[1]} pixels; `everything` takes" in result.stderr
    assert "photos: 3 done" in result.stdout


@pytest.mark.parametrize("name", ["../../stolen", "/tmp/stolen", "deep/../../../stolen", "link/stolen"])
def test_a_plan_that_names_files_outside_of_its_folder_is_refused(everything: Everything, photos: Path, name) -> None:
    everything("photos", "--out", "out")
    Path("elsewhere").mkdir()
    if name.startswith("link"):
        Path("out/masks/link").symlink_to(Path("elsewhere").absolute())
    plan = json.loads(Path("out/everything.json").read_text())
    plan["images"][0]["name"] = name
    Path("out/everything.json").write_text(json.dumps(plan))
    before = files(Path(), ())
    result = everything("photos", "--out", "out", "--resume", code=1)
    assert len(result.stderr.splitlines()) == 1 and "out of" in result.stderr
    assert files(Path(), ()) == before and not list(Path().rglob("stolen*"))


def test_results_never_follow_a_link_out_of_their_folder(everything: Everything, photos: Path) -> None:
    everything("photos", "--out", "out")
    Path("mine.json").write_text("years of work")
    Path("out/masks/a.json").unlink()
    Path("out/masks/a.json").symlink_to(Path("mine.json").absolute())
    result = everything("photos", "--out", "out", "--resume", code=1)
    assert "is a link out of out" in result.stderr and Path("mine.json").read_text() == "years of work"


def test_a_fault_of_ours_stops_no_run_but_one_for_debugging(everything: Everything, photos: Path, monkeypatch) -> None:
    find = SamAutomaticMaskGenerator.generate
    sizes = iter([1, 0, 1, 0])
    monkeypatch.setattr(SamAutomaticMaskGenerator, "generate", lambda *a: find(*a) if next(sizes) else 1 / 0)
    result = everything("photos", "--out", "out", code=1)
    assert "b.jpg: ZeroDivisionError: division by zero" in result.stderr.splitlines()[-1]
    assert len(COCO("out/coco.json").dataset["images"]) == 2
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(
            app,
            ["everything", "photos", "--out", "other", "--debug"],
            catch_exceptions=False,
        )


def test_a_full_disk_stops_the_run(everything: Everything, photos: Path, monkeypatch) -> None:
    from sam_hub.errors import OutputError

    def full(path, data):
        raise OutputError("cannot write: no space left on device; free some space")

    monkeypatch.setattr(work, "write_atomically", full)
    assert "no space left" in everything("photos", "--out", "out", code=1).stderr.splitlines()[-1]


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(everything: Everything, photos: Path, monkeypatch) -> None:
    everything("photos", "--out", "whole")
    find = SamAutomaticMaskGenerator.generate
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return find(*arguments)

    monkeypatch.setattr(SamAutomaticMaskGenerator, "generate", interrupted)
    result = everything("photos", "--out", "out", code=130)
    assert "Stopped, with 1 photo left. Rerun the same command with --resume." in result.stderr
    assert "photos: 2 done in" in result.stdout and "1 left" in result.stdout
    assert len(COCO("out/coco.json").dataset["images"]) == 2
    assert everything("photos", "--out", "out", "--resume").stdout.startswith("photos: 1 done")
    assert len(calls) == 4
    assert files(Path("out")) == files(Path("whole"))
    assert "photos: 0 done" in everything("photos", "--out", "out", "--resume").stdout and len(calls) == 4
    assert files(Path("out")) == files(Path("whole"))


def test_what_resume_refuses(everything: Everything, photos: Path, tiny_model: Path) -> None:
    everything("photos", "--out", "out")
    before = files(Path("out"), ())
    assert "add --resume to continue" in everything("photos", "--out", "out", code=1).stderr
    other = everything("photos", "--out", "out", "--resume", "--box-nms-thresh", 0.5, code=1).stderr
    assert "were made with box_nms_thresh 1.0 and not 0.5" in other
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("years of work")
    for more in ((), ("--resume",)):
        assert "is not empty" in everything("photos", "--out", "mine", *more, code=1).stderr
    assert "is not a folder" in everything("photos", "--out", "photos/a.png", code=1).stderr
    assert "cannot make the folder" in everything("photos", "--out", "photos/a.png/deep", code=1).stderr
    assert files(Path("out"), ()) == before and files(Path("mine"), ()) == {"thesis.txt": b"years of work"}
    for damage in ("{", '{"settings": {}}', "[]"):
        Path("out/everything.json").write_text(damage)
        assert "is not the plan" in everything("photos", "--out", "out", "--resume", code=1).stderr
    assert "there are no photos in" in everything("out/masks", "--out", "new", code=1).stderr


def test_another_batch_size_may_be_resumed_with(everything: Everything, photos: Path) -> None:
    everything("photos/a.png", "--out", "out")
    everything("photos", "--out", "out", "--resume", "--points-per-batch", 2)
    assert len(COCO("out/coco.json").dataset["images"]) == 3


def test_photos_that_were_added_or_changed_are_done(everything: Everything, photos: Path) -> None:
    everything("photos", "--out", "photos/out")  # its previews are no photos
    first = files(Path("photos/out"))
    picture(8).save(photos / "0.png")
    picture(9).save(photos / "b.jpg")
    result = everything("photos", "--out", "photos/out", "--resume")
    assert "photos: 2 done" in result.stdout and "2 done before" in result.stdout
    now = files(Path("photos/out"))
    assert {name for name in first if now[name] != first[name]} == {
        "masks/b.json",
        "previews/b.jpg",
        "coco.json",
        "everything.json",
    }
    assert [i["file_name"] for i in COCO("photos/out/coco.json").dataset["images"]][-1] == "0.png"


def test_leftovers_of_a_kill_are_swept(everything: Everything, photos: Path) -> None:
    everything("photos", "--out", "out")
    left = Path("out/masks/deep/.0123456789abcdef.part")
    left.write_bytes(b"half")
    mine = Path("out/masks/deep/.mine.part")
    mine.write_bytes(b"not ours")
    everything("photos", "--out", "out", "--resume")
    assert not left.exists() and mine.exists()


def test_options_reach_the_generator(everything: Everything, photos: Path, monkeypatch) -> None:
    """--crop-overlap-ratio is a number with decimals; the original's command line cuts it to an integer."""
    overlaps = []
    monkeypatch.setattr(amg, "crop_boxes", lambda *a: overlaps.append(a[2]) or crop_boxes(*a))
    settings = ("--crop-n-layers", 1, "--crop-overlap-ratio", 0.25, "--skip-full-image", "--non-overlapping")
    everything("photos/a.png", "--out", "out", "--preset", "fine", *settings, "--min-mask-area", 2)
    assert overlaps == [0.25]
    used = json.loads(Path("out/everything.json").read_text())["settings"]
    assert used["crop_n_layers"] == 1 and used["skip_full_image"] and used["non_overlapping"]
    assert used["min_mask_region_area"] == 100 and used["crop_n_points_downscale_factor"] == 2, "of the preset"
    assert used["points_per_side"] == 3 and used["pred_iou_thresh"] == 0, "given, over the preset"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--skip-full-image",), "set crop_n_layers to 1 or more"),
        (("--workers", 2), "need --engine ray"),
        (("--ray-address", "auto"), "need --engine ray"),
        (("--pred-iou-thresh", 1.5), "should be less than or equal to 1"),
    ],
)
def test_wrong_usage(everything: Everything, photos: Path, arguments: tuple, words: str) -> None:
    assert words in " ".join(everything("photos", "--out", "out", *arguments, code=2).stderr.split())
    assert not Path("out").exists()


def test_without_ray_it_says_what_to_install(everything: Everything, photos: Path, monkeypatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *at: None if name == "ray" else real(name, *at))
    words = everything("photos", "--out", "out", "--engine", "ray", code=1).stderr
    advice = "install it with `pip install '.[ray]'` in a checkout of sam-hub"
    assert f"--engine ray needs ray: {advice}" in " ".join(words.split())
    assert not Path("out").exists()


def test_thresholds_of_a_model_go_between_preset_and_options() -> None:
    pocket = SamPredictor(SamModel.from_pretrained("pocket")).encoder_kind
    assert generator_arguments(pocket, "fast", {}) == {**PRESETS["fast"], **THRESHOLDS["pocket"], "tidy": 0.02}
    assert generator_arguments(pocket, "fast", {}, 0.0) == {**PRESETS["fast"], **THRESHOLDS["pocket"]}
    assert generator_arguments(pocket, "fast", {"tidy": 0.1})["tidy"] == 0.1
    assert generator_arguments(pocket, "default", {"pred_iou_thresh": 0.1})["pred_iou_thresh"] == 0.1
    for other in ("sam_vision_model", None):
        assert generator_arguments(other, "fine", {"pred_iou_thresh": None}) == PRESETS["fine"]


def test_other_weights_are_other_settings(tiny_model: Path) -> None:
    import torch

    one, same = (SamPredictor(SamModel.from_pretrained(tiny_model)) for _ in range(2))
    before = weights_id(one)
    assert before == weights_id(same)
    with torch.no_grad():
        one.model.mask_decoder.iou_token.weight.add_(1e-6)
    assert weights_id(one) != before


def test_a_photo_that_takes_long_has_lines_where_there_is_no_terminal(monkeypatch, capsys) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "perf_counter", lambda: now[0])
    with progress.PhotoProgress(2, {"a": "a.tif"}) as shown:
        for now[0], part in ((10, 0.1), (31, 0.3), (40, 0.4), (65, 0.62)):
            shown.part(part)
        now[0] = 80
        shown.finish(work.Outcome("a", 3, 80.0))
        now[0] = 100
        shown.part(0.1)
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["0/2 and 30% of the next", "0/2 and 62% of the next"]
    assert said[2].startswith("1/2 a.tif: 3 masks") and len(said) == 3


def test_the_bar_of_a_terminal(monkeypatch) -> None:
    """It moves within a photo, and shows a rate and the time left."""
    from rich.console import Console

    screen = io.StringIO()
    monkeypatch.setattr(
        progress, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100, stderr=False)
    )
    now = [0.0]
    with progress.PhotoProgress(4, {"a": "a.png", "b": "b.png"}) as shown:
        shown.bar.get_time = lambda: now[0]
        shown.bar.auto_refresh = False
        for part in (0.5, 1.0):
            now[0] += 1
            shown.part(part)
        assert 0.99 < shown.bar.tasks[0].completed < 1
        shown.finish(work.Outcome("a", 3, 2.0))
        now[0] += 2
        shown.finish(work.Outcome("b", error="b.png is damaged"))
        text = screen.getvalue()
        shown.bar.refresh()
        text = screen.getvalue()
    assert "2/4" in text and "s/photo" in text and "0:00:0" in text and "Error: b.png is damaged" in text
    assert progress.rate(2.5) == "2.5 photos/s" and progress.rate(0.1) == "10.0 s/photo"
    assert progress.duration(3671) == "1:01:11"
