"""Invalid calls of ``sam-hub segment``: one sentence, the right exit code, and nothing written."""

import errno
import os
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from sam_hub.cli import app

Segment = Callable[..., Result]
CLICK = ("--point", "30,40")


@pytest.fixture
def refuse(tiny_model: Path, workplace: Path) -> Segment:
    """Run the command; it must fail with ``code`` and one sentence containing ``words``, and change nothing on disk."""

    def run(*arguments: object, words: str, code: int, model: object = tiny_model) -> Result:
        before = _state(workplace)
        result = CliRunner().invoke(app, [str(w) for w in ("segment", *arguments, "--model", model)])
        assert result.exit_code == code, result.output
        *progress, complaint = result.stderr.splitlines()
        assert complaint.startswith("Error: ") and words in complaint
        assert all(line.startswith("photo.png: predicted IoU") for line in progress)
        assert result.stdout == ""
        assert _state(workplace) == before
        return result

    return run


def _state(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(p): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


def _png_of(width: int, height: int) -> bytes:
    """The beginning of a PNG that claims to be of some size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )


def test_zoom_with_a_mask(refuse: Segment) -> None:
    words = "--zoom needs points or a box, not a mask; omit one of them"
    refuse("photo.png", *CLICK, "--mask", "photo.png", "--zoom", words=words, code=2)


@pytest.mark.parametrize(
    ("text", "words"), [("", "--text is empty; give"), ("  ", "--text is empty; name what to find")]
)
def test_no_words(refuse: Segment, text: str, words: str) -> None:
    refuse("photo.png", "--text", text, words=words, code=2)


# Images


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.jpg", "missing.jpg does not exist"),
        ("empty.jpg", "empty.jpg is empty"),
        ("text.jpg", "text.jpg is not an image"),
        ("cut.jpg", "cut.jpg is damaged or cut short"),
        ("cut.png", "cut.png is damaged or cut short"),
        ("bomb.png", "bomb.png has more than"),
        ("folder.jpg", "folder.jpg is a folder"),
        ("drawing.jpg", "drawing.jpg is not an image in a format"),
    ],
)
def test_images(refuse: Segment, name: str, words: str) -> None:
    Path("empty.jpg").write_bytes(b"")
    Path("text.jpg").write_text("this is no image")
    for whole, part in (("other.jpg", "cut.jpg"), ("photo.png", "cut.png")):
        data = Path(whole).read_bytes()
        Path(part).write_bytes(data[: len(data) // 2])
    Path("bomb.png").write_bytes(_png_of(60_000, 60_000))
    Path("folder.jpg").mkdir()
    Path("drawing.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # EPS: Ghostscript reads it
    refuse(name, *CLICK, words=words, code=1)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_named_pipe_is_not_waited_for(refuse: Segment, not_for_ever) -> None:
    os.mkfifo("pipe.jpg")
    refuse("pipe.jpg", *CLICK, words="pipe.jpg is not a regular file", code=1)
    refuse("photo.png", "--mask", "pipe.jpg", words="pipe.jpg is not a regular file", code=1)


# Prompts


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        ([], "no prompt given; click on the object with --point", 2),
        (["--point", "30,40,0"], "every point is background", 2),
        (["--point", "30"], "--point 30 is not X,Y", 2),
        (["--point", "30;40"], "--point 30;40 is not X,Y", 2),
        (["--point", "30,40,1,2"], "is not X,Y or X,Y,LABEL", 2),
        (["--point", "a,40"], "not a number", 2),
        (["--point", "nan,40"], "--point nan,40 must have finite numbers", 2),
        (["--point", "inf,40"], "finite numbers", 2),
        (["--point", "30,40,7"], "has the label 7; 1 means object and 0 background", 2),
        (["--point", "30,40,x"], "has the label x", 2),
        (["--point", "30,40,-1"], "has the label -1", 2),
        (["--point", "500,40"], "point (500, 40) is outside the image, which is 120 x 80 pixels", 1),
        (["--point", "-1,40"], "point (-1, 40) is outside the image", 1),
        (["--point", "30,40", "--point", "30,81,0"], "point (30, 81) is outside", 1),
        (["--box", "1,2,3"], "--box 1,2,3 is not X0,Y0,X1,Y1", 2),
        (["--box", "60,60,10,10"], "is empty or reversed", 2),
        (["--box", "10,60,60,10"], "is empty or reversed", 2),
        (["--box", "10,10,10,60"], "is empty or reversed", 2),
        (["--box", "10,10,nan,60"], "finite numbers", 2),
        (["--box", "200,200,300,300"], "box (200, 200, 300, 300) is outside the image", 1),
        (["--box", "0,0,9,9", "--box", "9,9,20,20", "--point", "5,5"], "points together with 2 boxes", 2),
        (["--box", "0,0,9,9", "--box", "9,9,20,20", "--mask", "photo.png"], "a mask together with 2 boxes", 2),
        (["--mask", "small.png"], "the mask small.png is 12 x 8 pixels and the image 120 x 80 pixels", 1),
        (["--mask", "black.png"], "the mask black.png is empty", 1),
        (["--mask", "missing.png"], "missing.png does not exist", 1),
    ],
    ids=lambda v: "_".join(v[1::2]) or "none" if isinstance(v, list) else "",
)
def test_prompts(refuse: Segment, arguments: list[str], words: str, code: int) -> None:
    Image.new("L", (12, 8), 255).save("small.png")
    Image.new("L", (120, 80), 0).save("black.png")
    refuse("photo.png", *arguments, words=words, code=code)


# Models


class Code:
    def __reduce__(self) -> tuple:
        return Path.touch, (Path("executed"),)


def test_an_unknown_model_offers_the_nearest(refuse: Segment) -> None:
    refuse("photo.png", *CLICK, model="sam-vit-bb", words="did you mean sam-vit-b", code=1)


@pytest.mark.parametrize("name", ["./no/such/folder", "weights.pth", "photo.png"])
def test_a_path_that_is_no_model(refuse: Segment, name: str) -> None:
    refuse("photo.png", *CLICK, model=name, words=name.removeprefix("./"), code=1)


def test_truncated_safetensors(refuse: Segment, tiny_model: Path) -> None:
    shutil.copytree(tiny_model, "cut")
    weights = Path("cut", "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-1000])
    refuse("photo.png", *CLICK, model="cut", words="damaged or cut short", code=1)


def test_a_pickle_with_code_is_not_executed(refuse: Segment) -> None:
    import torch

    torch.save({"image_encoder.pos_embed": Code()}, "evil.pth")
    refuse("photo.png", *CLICK, model="evil.pth", words="evil.pth is refused", code=1)
    assert not Path("executed").exists()


def test_bounds_are_lifted_by_an_option(refuse: Segment, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_hub.ops.bounds.PARAMETERS", 10)
    monkeypatch.setenv("SAM_HUB_TRUST_SIZE", "0")
    refuse("photo.png", *CLICK, words="over 10; if the file is yours, lift the bound with", code=1)
    result = CliRunner().invoke(app, ["--trust-size", "segment", "photo.png", *CLICK, "--model", str(tiny_model)])
    assert result.exit_code == 0, result.output


def test_a_device_that_is_not_there(refuse: Segment) -> None:
    refuse(
        "photo.png", *CLICK, "--device", "cuda:99", words="there is no device 'cuda:99' here; choose one of cpu", code=1
    )


# Places


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "cat.jpg"], "neither a folder nor a .png, .svg or .json file"),
        (["--out", "cat.png", "--format", "svg"], "--format svg makes a .svg file and --out names cat.png"),
        (["--out", "cat.png", "--format", "png", "--format", "cutout"], "one file for several formats"),
        (["--out", "cat.png", "--multimask"], "one file for 3 masks"),
        (["other.jpg", "--out", "cat.png"], "one file for several images"),
        (["deep/photo.png"], "2 images called 'photo' would have the same names"),
    ],
    ids=lambda v: " ".join(v) if isinstance(v, list) else "",
)
def test_names_that_do_not_fit(refuse: Segment, arguments: list[str], words: str) -> None:
    refuse("photo.png", *CLICK, *arguments, words=words, code=2)


def test_unknown_formats_are_listed(workplace: Path) -> None:
    result = CliRunner().invoke(app, ["segment", "photo.png", *CLICK, "--format", "gif"])
    assert result.exit_code == 2 and all(f in result.stderr for f in ("png", "cutout", "svg", "json", "coco"))


@pytest.mark.parametrize("out", ["other.jpg/results", "/dev/null/results", "/proc/results/"])
def test_a_folder_that_cannot_be(refuse: Segment, out: str) -> None:
    refuse("photo.png", *CLICK, "--out", out, words=f"{out.rstrip('/')}", code=1)


def test_a_folder_without_permission(refuse: Segment, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("locked").mkdir(mode=0o500)
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not (mode & os.W_OK) and allowed(path, mode))  # even to root
    refuse("photo.png", *CLICK, "--out", "locked", words="cannot write to locked: no permission", code=1)


def test_a_file_that_is_a_folder(refuse: Segment) -> None:
    Path("photo.mask.png").mkdir()
    refuse("photo.png", *CLICK, words="photo.mask.png: it is a folder", code=1)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def fail(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        yield


def test_a_full_disk_keeps_the_older_result(refuse: Segment, full_disk: None) -> None:
    Path("photo.mask.png").write_bytes(b"an older result")
    refuse("photo.png", *CLICK, words="photo.mask.png: No space left on device; free some space", code=1)


def test_a_disk_that_fills_up_while_a_real_process_writes(tiny_model: Path, workplace: Path) -> None:
    """The file size limit interrupts a write, as a full disk would."""
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), dtype=np.uint8)
    Image.fromarray(noise).save("noise.png")
    before = _state(workplace)
    command = [sys.executable, "-m", "sam_hub", "segment", "noise.png", "--box", "50,50,350,350", "--overlay"]
    done = subprocess.run(
        [*command, "--model", str(tiny_model), "--format", "cutout"],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("Error: cannot write noise.cutout.png: File too large")
    assert "Traceback" not in done.stderr and _state(workplace) == before
