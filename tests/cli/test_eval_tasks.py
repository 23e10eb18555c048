"""``sam-hub eval --task``: complete files or none, resumed byte for byte, and one sentence for each error."""

import importlib.util
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from typer.testing import CliRunner, Result

from sam_hub.cli import app
from sam_hub.ops.masks import mask_to_rle
from sam_hub.zero_shot.run import FILES, PartWriter
from sam_hub.zero_shot.suite import LIST

HEIGHT, WIDTH = 30, 40


def _eval(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)])


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def squares() -> np.ndarray:
    masks = np.zeros((2, HEIGHT, WIDTH), bool)
    masks[0, 2:12, 3:13] = masks[1, 15:28, 20:38] = True
    return masks


@pytest.fixture
def shard(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tar of noise pictures with two squares each, of which number ``damaged`` is cut short."""

    def write(name: str = "cats", images: int = 4, damaged: int | None = None) -> Path:
        path = tmp_path / f"{name}.tar"
        with tarfile.open(path, "w") as tar:
            for number in range(images):
                buffer = io.BytesIO()
                Image.fromarray(picture(number)).save(buffer, "PNG")
                annotations = [{"id": 10 * number + k, "segmentation": mask_to_rle(m)} for k, m in enumerate(squares())]
                data = buffer.getvalue()[: 100 if damaged == number else None]
                for suffix, content in ((".png", data), (".json", json.dumps({"annotations": annotations}).encode())):
                    info = tarfile.TarInfo(f"{name}_{number}{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def edges_folder(tmp_path: Path) -> Path:
    """Two photos of noise with the outlines of a square by two annotators."""
    folder = tmp_path / "bsds"
    (folder / "images").mkdir(parents=True)
    (folder / "groundTruth").mkdir()
    for number in range(2):
        Image.fromarray(picture(number)).save(folder / "images" / f"{number}.jpg")
        cells = np.empty((1, 2), object)
        for k in range(2):
            outline = np.zeros((HEIGHT, WIDTH), np.uint8)
            outline[5 + k, 5:20] = 1
            cells[0, k] = {"Segmentation": np.ones((HEIGHT, WIDTH), np.uint16), "Boundaries": outline}
        savemat(folder / "groundTruth" / f"{number}.mat", {"groundTruth": cells})
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """Contents of all files of a run, without the timing."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != "summary.json")
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def test_points_of_two_sets(tiny_model: Path, shard: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "points"
    result = _eval(tiny_model, shard("cats"), shard("dogs", 2), "--task", "points", "--out", out, "--counts", "1,2,3")
    assert result.exit_code == 0, result.stderr
    report = json.loads((out / "table.json").read_text())
    cats, dogs, mean = report["rows"]
    assert (cats["images"], cats["masks"], dogs["images"], dogs["masks"]) == (4, 8, 2, 4)
    for key in ("miou_1", "miou_2", "miou_3", "oracle_1", "oracle_3"):
        assert mean[key] == pytest.approx((cats[key] + dogs[key]) / 2)
    objects = [o for n in range(4) for o in json.loads((out / "parts" / f"{n}.json").read_text())["objects"]]
    assert cats["miou_2"] == pytest.approx(np.mean([o["confident"][1] for o in objects]))
    assert cats["oracle_1"] >= cats["miou_1"]
    assert {"model", "weights", "revision", "data", "protocol"} <= report["settings"].keys()
    assert report["settings"]["protocol"]["error"] == "whole" and report["versions"]["numpy"]
    assert f"{mean['miou_1']:.3f}" in result.stdout and str(out / "table.json") in result.stdout
    with Image.open(out / "table.png") as image:
        assert image.format == "PNG"
    assert json.loads((out / "summary.json").read_text())["measured"] == 6


def test_edges_beside_sobel_and_canny(tiny_model: Path, edges_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "edges"
    result = _eval(tiny_model, edges_folder, "--task", "edges", "--out", out, "--points-per-side", 4)
    assert result.exit_code == 0, result.stderr
    report = json.loads((out / "table.json").read_text())
    assert [row["name"] for row in report["rows"]][:3] == ["model", "sobel", "canny"]
    assert all(0 <= row[key] <= 1 for row in report["rows"] for key in ("ods", "ois", "ap", "r50"))
    assert len(report["curves"]["model"]["recall"]) == 99
    alone = _eval(tiny_model, edges_folder, "--task", "edges", "--no-baselines", "--points-per-side", 4, "--json")
    (row,) = json.loads(alone.stdout)["rows"]
    assert row == report["rows"][0]


def test_groups_of_objects(tiny_model: Path, shard: Callable[..., Path], tmp_path: Path) -> None:
    groups = tmp_path / "groups.csv"
    groups.write_text("id,group\ncats_0,first\ncats_1.png,first\n20,second\n21,second\n")
    out = tmp_path / "points"
    result = _eval(tiny_model, shard(), "--task", "points", "--counts", "1,3", "--groups", groups, "--out", out)
    assert result.exit_code == 0, result.stderr
    found = json.loads((out / "table.json").read_text())["groups"]
    assert [(row["group"], row["masks"]) for row in found["rows"]] == [("first", 4), ("second", 2)]
    assert found["without_group"] == 2
    assert "Disjoint 95% intervals at 3 points" in (out / "table.md").read_text()


def test_a_stopped_run_goes_on_byte_for_byte(
    tiny_model: Path, shard: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = shard()
    words = (tiny_model, data, "--task", "points", "--counts", "1,2", "--first", "random", "--seed", 3)
    assert _eval(*words, "--out", tmp_path / "whole").exit_code == 0

    original, out = PartWriter.__call__, tmp_path / "stopped"

    def stops(self: PartWriter, number: int):
        if number == 2:
            raise KeyboardInterrupt
        return original(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(PartWriter, "__call__", stops)
        stopped = _eval(*words, "--out", out)
    assert stopped.exit_code == 130 and "with 2 images left" in stopped.stderr and "--resume" in stopped.stderr
    assert not any((out / name).exists() for name in FILES)

    assert _eval(*words, "--out", out).exit_code == 1  # not without --resume
    other = _eval(*words, "--out", out, "--resume", "--max-objects", 1)
    assert other.exit_code == 1 and "were made with" in other.stderr
    assert _eval(*words, "--out", out, "--resume").exit_code == 0
    assert json.loads((out / "summary.json").read_text())["measured"] == 2
    assert results(out) == results(tmp_path / "whole")


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason='needs Ray: pip install "sam-hub[ray]"')
def test_ray_writes_the_same_files(tiny_model: Path, shard: Callable[..., Path], tmp_path: Path) -> None:
    words = (tiny_model, shard(damaged=1), "--task", "points", "--counts", "1,2", "--first", "random")
    assert _eval(*words, "--out", tmp_path / "here").exit_code == 0
    result = _eval(*words, "--out", tmp_path / "ray", "--engine", "ray", "--workers", 1)
    assert result.exit_code == 0, result.stderr
    assert results(tmp_path / "ray") == results(tmp_path / "here")


def test_a_full_disk_leaves_no_half_written_table(
    tiny_model: Path, shard: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam_hub.errors import OutputError
    from sam_hub.zero_shot import run

    original, out = run.write_atomically, tmp_path / "points"

    def full(path: Path, data: bytes) -> None:
        if path.name == "table.md":
            raise OutputError("cannot write: no space left; free some space")
        original(path, data)

    monkeypatch.setattr(run, "write_atomically", full)
    result = _eval(tiny_model, shard(), "--task", "points", "--counts", "1", "--out", out)
    assert result.exit_code == 1 and "no space left" in result.stderr
    assert not any((out / name).exists() for name in FILES)


def test_a_damaged_image_is_left_out_and_named(tiny_model: Path, shard: Callable[..., Path]) -> None:
    result = _eval(tiny_model, shard(damaged=2), "--task", "points", "--counts", "1", "--json")
    assert result.exit_code == 0 and "cats_2.png" in result.stderr
    report = json.loads(result.stdout)
    assert report["images"] == 3 and len(report["left_out"]) == 1


def test_a_mask_of_another_size_is_left_out_and_named(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cats"
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / "a.png")
    masks = [*squares(), np.ones((5, 5), bool)]
    annotations = [{"id": k, "segmentation": mask_to_rle(mask)} for k, mask in enumerate(masks)]
    (folder / "a.json").write_text(json.dumps({"annotations": annotations}))
    result = _eval(tiny_model, folder, "--task", "points", "--counts", "1", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["rows"][0]["masks"] == 2 and len(report["left_out"]) == 1
    assert "a.png" in report["left_out"][0] and "5" in report["left_out"][0] and report["left_out"][0] in result.stderr
    (folder / "a.json").write_text(json.dumps({"annotations": annotations[2:]}))
    out = tmp_path / "out"
    result = _eval(tiny_model, folder, "--task", "points", "--counts", "1", "--out", out)
    assert result.exit_code == 1 and "no image could be evaluated (" in result.stderr
    assert not any((out / name).exists() for name in FILES)


def test_a_suite_scores_what_is_there_and_lists_the_rest(
    tiny_model: Path, shard: Callable[..., Path], tmp_path: Path
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    shard("ppdls", 2).rename(root / "ppdls.tar")
    result = _eval(tiny_model, "--suite", "paper", "--root", root, "--counts", "1", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["rows"]
    assert rows[0]["name"].startswith("Plant Phenotyping") and rows[0]["masks"] == 4
    assert "1 of 23 data sets" in result.stderr and "https://zenodo.org/record/7107409" in result.stderr
    (tmp_path / "empty").mkdir()
    nothing = _eval(tiny_model, "--suite", "paper", "--root", tmp_path / "empty")
    assert nothing.exit_code == 1 and "none of the 23 data sets" in nothing.stderr
    assert f"{LIST} says what each should hold" in nothing.stderr


def test_what_is_wrong_is_one_sentence(
    tiny_model: Path, shard: Callable[..., Path], edges_folder: Path, tmp_path: Path
) -> None:
    data, out = shard(), tmp_path / "out"
    empty = tmp_path / "empty.csv"
    empty.write_text("id,group\n")
    (tmp_path / "bad.toml").write_text("[[dataset]]\nname = 3\npath = 'x'\n")
    for arguments, words in (
        ((data, "--task", "edges"), "holds no photo with annotators' boundaries"),
        ((tmp_path / "absent", "--task", "points"), "is not a data set"),
        ((tmp_path / "absent", "--task", "edges"), "absent does not exist"),
        ((tmp_path / "absent.json", "--task", "instances"), "absent.json does not exist"),
        ((data, "--task", "points", "--groups", empty), "names no groups"),
        (("--suite", tmp_path / "bad.toml", "--root", tmp_path), "needs a name and a path"),
        (
            ("--suite", "papers", "--root", tmp_path),
            f"there is no suite papers; give --suite paper, or a TOML file like {LIST}",
        ),
        ((data, "--task", "points", "--groups", tmp_path / "absent.csv"), "absent.csv does not exist; give a CSV file"),
    ):
        result = _eval(tiny_model, *arguments, "--out", out)
        assert result.exit_code == 1, arguments
        (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert words in line
        assert not out.exists()

    savemat(edges_folder / "groundTruth" / "0.mat", {"something": np.ones(3)})
    other = np.empty((1, 1), object)
    other[0, 0] = {"Boundaries": np.ones((5, 5), np.uint8)}
    savemat(edges_folder / "groundTruth" / "1.mat", {"groundTruth": other})
    result = _eval(tiny_model, edges_folder, "--task", "edges", "--points-per-side", 2, "--out", out)
    assert result.exit_code == 1 and "not an annotation of BSDS500" in result.stderr
    assert "is of an image of 5 x 5 pixels, not 40 x 30" in result.stderr
    assert not any((out / name).exists() for name in FILES)


def test_what_needs_no_model_is_told_before_it_is_loaded(
    shard: Callable[..., Path], edges_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model may be gigabytes to download."""

    def load(*_: object, **__: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("sam_hub.cli.loading.load_predictor", load)
    data, used = shard(), tmp_path / "used"
    used.mkdir()
    (used / "notes.txt").write_text("mine")
    for arguments, words in (
        ((data, "--task", "points", "--out", used), "is not empty"),
        ((data, "--task", "points", "--counts", "3,1"), "in rising order"),
        ((tmp_path / "absent", "--task", "points"), "is not a data set"),
        ((data, "--task", "edges"), "holds no photo with annotators' boundaries"),
    ):
        result = _eval("sam-vit-h", *arguments)
        assert result.exit_code in (1, 2) and words in result.stderr, (arguments, result.stderr)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--first", "random"),
        ("--task", "edges", "--counts", "1"),
        ("--task", "points", "--counts", "one"),
        ("--task", "points", "--counts", "3,1"),
        ("--task", "points", "--resume"),
        ("--task", "points", "--workers", 2),
        ("--task", "points", "--grid", "a.png"),
        ("--suite", "paper"),
        ("--resume",),
        ("--task", "nothing"),
    ],
)
def test_wrong_usage(tiny_model: Path, shard: Callable[..., Path], arguments: tuple) -> None:
    assert _eval(tiny_model, shard(), *arguments).exit_code == 2


def test_without_data(tiny_model: Path) -> None:
    for arguments in ((), ("--task", "points")):
        result = _eval(tiny_model, *arguments)
        assert result.exit_code == 2 and "no data given" in result.stderr


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Three photos with two categories each, as a COCO file, and a detector's boxes next to it."""
    folder = tmp_path / "coco"
    folder.mkdir()
    images, annotations, results = [], [], []
    for number in range(1, 4):
        Image.fromarray(picture(number)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": HEIGHT, "width": WIDTH})
        for category, mask in enumerate(squares(), start=1):
            y, x = np.nonzero(mask)
            box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
            place = {"image_id": number, "category_id": category, "bbox": box}
            more = {
                "segmentation": mask_to_rle(mask),
                "area": int(mask.sum()),
                "iscrowd": 0,
                "id": len(annotations) + 1,
            }
            annotations.append({**place, **more})
            results.append({**place, "score": 0.5})
    categories = [{"id": 1, "name": "square"}, {"id": 2, "name": "bar"}, {"id": 3, "name": "nothing"}]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))
    (tmp_path / "results.json").write_text(json.dumps(results))
    return folder / "instances.json"


def test_proposals_and_instances(tiny_model: Path, coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "proposals"
    result = _eval(tiny_model, coco, "--task", "proposals", "--points-per-side", 4, "--out", out)
    assert result.exit_code == 0, result.stderr
    (row,) = json.loads((out / "table.json").read_text())["rows"]
    assert row["objects"] == 6 and 0 <= row["all"] <= 1 and row["proposals"] > 0 and "frequent" not in row

    scores = []
    for boxes in ("truth", tmp_path / "results.json"):
        out = tmp_path / f"instances-{len(scores)}"
        result = _eval(tiny_model, coco, "--task", "instances", "--boxes", boxes, "--out", out)
        assert result.exit_code == 0, result.stderr
        (row,) = json.loads((out / "table.json").read_text())["rows"]
        scores.append({k: v for k, v in row.items() if k != "name"})
        assert row["masks"] == 6 and 0 <= row["ap"] <= 1
    assert scores[0] == scores[1]
    limited = _eval(tiny_model, coco, "--task", "instances", "--limit", 2, "--json")
    assert json.loads(limited.stdout)["rows"][0]["masks"] == 4


def test_words_need_something_that_understands_them(tiny_model: Path, coco: Path, tmp_path: Path) -> None:
    out = tmp_path / "text"
    result = _eval(tiny_model, coco, "--task", "text", "--detector", tmp_path / "absent", "--out", out)
    assert result.exit_code == 1 and "could not be loaded" in result.stderr and not out.exists()


def test_results_of_other_images_leave_nothing(tiny_model: Path, coco: Path, tmp_path: Path) -> None:
    other = [{"image_id": 99, "category_id": 1, "bbox": [1, 1, 5, 5], "score": 1}]
    (tmp_path / "other.json").write_text(json.dumps(other))
    out = tmp_path / "instances"
    result = _eval(tiny_model, coco, "--task", "instances", "--boxes", tmp_path / "other.json", "--out", out)
    assert result.exit_code == 1 and "is for other images" in result.stderr and not out.exists()


def test_push_takes_a_table_into_the_card(tiny_model: Path, shard: Callable[..., Path], tmp_path: Path) -> None:
    from sam_hub.publishing import pack

    out, aside = tmp_path / "points", tmp_path / "aside"
    assert _eval(tiny_model, shard(), "--task", "points", "--counts", "1,3", "--out", out).exit_code == 0
    aside.mkdir()
    parcel = pack(tiny_model, "me/model", aside, results=[out / "table.json"])
    card = parcel.files["README.md"].read_text("utf-8")
    mean = json.loads((out / "table.json").read_text())["rows"][-1]
    assert "| data set | images | masks | 1 point | 3 points | oracle 1 | oracle 3 |" in card
    assert f"| {mean['name']} | 4 | 8 | {mean['miou_1']:.3f} | {mean['miou_3']:.3f} |" in card
    assert "sam-hub eval --task points" in card
