"""`push_to_hub` and `sam-hub push`: bit-equal round trips, one commit or none, and a card of known facts."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import yaml
from local_hub import Fault
from transformers import AutoModel, AutoModelForMaskGeneration, AutoProcessor
from typer.testing import CliRunner, Result

from sam_hub import SamConfig, SamModel, SamProcessor
from sam_hub.cards import model_card
from sam_hub.cli import app
from sam_hub.errors import HubError
from sam_hub.hub import ASSETS
from sam_hub.hub.download import sha256_of
from sam_hub.models.layouts import card_subject
from sam_hub.models.processing_sam import SamHubProcessor
from sam_hub.publishing import pack
from sam_hub.zoo import ZOO

POCKET = ASSETS / "pocket"


def push(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["push", *map(str, arguments)])


def equal(a: SamModel, b: SamModel) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def front_matter(card: str) -> dict:
    return yaml.safe_load(card.split("---")[1])


def test_pocket_there_and_back(hub, cache, offline):
    """By id, by revision and offline."""
    result = push(POCKET, "alice/pocket", "--revision", "fp16")
    assert result.exit_code == 0, result.stderr
    repo = hub.store.repos["alice/pocket"]
    commit = repo.commits[repo.branches["fp16"]]
    assert result.stdout.strip() == f"{hub.endpoint}/alice/pocket/commit/{commit.sha}"
    assert set(repo.commits[repo.branches["main"]].files) == {".gitattributes"}
    assert set(commit.files) >= {"config.json", "model.safetensors", "README.md", "preprocessor_config.json"}
    assert not cache.exists()
    before = SamModel.from_pretrained("pocket")
    for arguments in ({"revision": "fp16"}, {"revision": commit.sha}, {"revision": "fp16", "local_files_only": True}):
        assert equal(SamModel.from_pretrained("alice/pocket", dtype=torch.float32, **arguments), before)
    for auto in (AutoModelForMaskGeneration, AutoModel):
        loaded = auto.from_pretrained("alice/pocket", revision="fp16", dtype=torch.float32)
        assert type(loaded) is SamModel and equal(loaded, before)
    assert type(AutoProcessor.from_pretrained("alice/pocket", revision="fp16")) is SamHubProcessor
    assert hub.store.read(commit.files["model.safetensors"].sha256) == (POCKET / "model.safetensors").read_bytes()
    card = hub.store.read(commit.files["README.md"].sha256).decode()
    own = (POCKET / "README.md").read_text()
    assert card.startswith(own.rstrip()) and "## Use with transformers" in card  # not a word changed, sections added
    assert "import sam_hub  # tells transformers" in card


def test_a_converted_mobile_sam(hub, golden_file, offline, monkeypatch):
    """MobileSAM's network with golden weights, from the authors' layout to ours, bit-equal."""
    file = golden_file("mobile_sam")
    file = file.rename(file.with_name("mobile_sam.pt"))
    hub.upload("dhkim2810/MobileSAM", {"mobile_sam.pt": file.read_bytes()})
    monkeypatch.setitem(ZOO, "mobile-sam", replace(ZOO["mobile-sam"], sha256=sha256_of(file)))
    result = push("mobile-sam", "mobile", "--private")
    assert result.exit_code == 0, result.stderr
    assert hub.store.repos["alice/mobile"].private
    expected = SamModel.from_pretrained(file)
    repo = hub.store.repos["alice/mobile"]
    revision = repo.resolve("main").sha
    for arguments in ({}, {"revision": revision}):
        assert equal(SamModel.from_pretrained("alice/mobile", **arguments), expected)
    SamProcessor.from_pretrained("alice/mobile")
    offline()
    for arguments in ({}, {"revision": revision}):
        assert equal(SamModel.from_pretrained("alice/mobile", **arguments), expected)
    assert SamProcessor.from_pretrained("alice/mobile").image_processor.size["longest_edge"] == 1024
    card = hub.store.read(repo.resolve("main").files["README.md"].sha256).decode()
    facts = front_matter(card)
    assert facts["license"] == "apache-2.0" and facts["base_model"] == "dhkim2810/MobileSAM"
    assert facts["pipeline_tag"] == "mask-generation" and facts["library_name"] == "sam-hub"
    assert "pip install .  # in a checkout of sam-hub" in card
    assert "39.4 (EdgeSAM's README)" in card and "Faster Segment Anything" in card


ALONE = """
import sys, numpy as np, torch, transformers
from PIL import Image
model = transformers.SamModel.from_pretrained("alice/vit").eval()
processor = transformers.SamProcessor.from_pretrained("alice/vit")
inputs = processor(Image.open(sys.argv[1]).convert("RGB"), input_boxes=[[[25., 0., 400., 299.]]], return_tensors="pt")
inputs = {k: v.float() if v.is_floating_point() else v for k, v in inputs.items()}
with torch.no_grad():
    np.save(sys.argv[2], model(**inputs).pred_masks.numpy())
assert not any(name.startswith("sam_hub") for name in sys.modules)
"""


def test_a_vit_by_transformers_alone(hub, tiny, root, tmp_path, offline):
    """The same masks in a process without sam_hub; and with it by id, by revision and offline."""
    folder, model = tiny
    address = model.push_to_hub("alice/vit", revision="v1", base="sam-vit-b", commit_message="first")
    assert address.startswith(f"{hub.endpoint}/alice/vit/commit/")
    assert push(folder, "alice/vit").exit_code == 0
    photo = root / "examples" / "cat.jpg"
    environment = {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(tmp_path / "alone"),
        "HF_HUB_OFFLINE": "0",
    }
    command = [sys.executable, "-c", ALONE, photo, tmp_path / "masks.npy"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import numpy as np
    from PIL import Image

    inputs = SamProcessor.from_pretrained(folder)(
        Image.open(photo).convert("RGB"), input_boxes=[[[25, 0, 400, 299]]], return_tensors="pt"
    )
    with torch.no_grad():
        expected = model(**inputs).pred_masks.numpy()
    assert np.abs(np.load(tmp_path / "masks.npy") - expected).max() < 1e-4 * max(1, np.abs(expected).max())
    assert equal(SamModel.from_pretrained("alice/vit"), model)
    assert equal(SamModel.from_pretrained("alice/vit", revision="v1"), model)
    offline()
    assert equal(SamModel.from_pretrained("alice/vit", revision="v1"), model)
    repo = hub.store.repos["alice/vit"]
    card = hub.store.read(repo.resolve("v1").files["README.md"].sha256).decode()
    assert front_matter(card)["library_name"] == "transformers" and "reads this repository by itself" in card


def test_a_push_again_replaces_shards(hub, tiny):
    model = tiny[1]
    model.push_to_hub("alice/tiny", max_shard_size="40KB")
    files = set(hub.store.repos["alice/tiny"].resolve("main").files)
    assert "model.safetensors.index.json" in files and "model.safetensors" not in files
    model.push_to_hub("alice/tiny")
    files = set(hub.store.repos["alice/tiny"].resolve("main").files)
    assert [name for name in files if "safetensors" in name] == ["model.safetensors"]
    SamProcessor.from_pretrained(tiny[0]).push_to_hub("alice/tiny")
    assert equal(SamModel.from_pretrained("alice/tiny"), model)


KILLED = """
import sys
from pathlib import Path
from sam_hub.hub.upload import push_files
folder = Path(sys.argv[1])
push_files({name: folder / name for name in ("config.json", "a.safetensors", "b.safetensors")}, "alice/killed")
"""


def test_a_killed_push_leaves_no_partial_commit(hub, tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.safetensors").write_bytes(os.urandom(400_000))
    (tmp_path / "config.json").write_text("{}")
    hub.faults = [Fault("b.*|storage", "PUT", skip=1, times=-1, status=500, headers={"Retry-After": "60"})]
    environment = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, tmp_path], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not hub.faults[0].hits and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert hub.faults[0].hits  # it was in the middle of the upload
    repo = hub.store.repos["alice/killed"]
    assert set(repo.resolve("main").files) == {".gitattributes"} and len(repo.commits) == 1
    # again: what was uploaded is not sent twice, and everything arrives in one commit
    hub.faults = []
    del hub.requests[:]
    from sam_hub.hub.upload import push_files

    push_files({path.name: path for path in tmp_path.iterdir() if path.is_file()}, "alice/killed")
    assert sum(method == "PUT" for method, *_ in hub.requests) == 1
    assert len(repo.commits) == 2 and len(repo.resolve("main").files) == 4


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("/storage", drop_after=1000, times=-1), "cannot be reached"),
        (Fault("/commit/", status=503, times=-1), "out of order just now"),
        (Fault("/preupload/", status=429, times=-1), "too many requests"),
    ],
    ids=["dropped while uploading", "no commit", "rate limit"],
)
def test_a_push_that_fails_changes_nothing(hub, tiny, fault, expected):
    hub.upload("alice/tiny", {"config.json": b"before"})
    before = hub.store.repos["alice/tiny"].branches.copy()
    hub.faults = [fault]
    result = push(tiny[0], "alice/tiny")
    assert result.exit_code == 1 and re.search(expected, result.stderr) and "Traceback" not in result.stderr
    assert hub.store.repos["alice/tiny"].branches == before


@pytest.mark.parametrize(
    ("token", "repo", "expected"),
    [
        ("hf_wrong", "alice/tiny", "does not accept your token: log in again"),
        ("hf_reader", "alice/tiny", "may not write to alice/tiny: use one with write access"),
        ("hf_bob", "alice/tiny", "may not write to alice/tiny"),
        ("", "alice/tiny", "you are not logged in to the Hub: run `hf auth login`"),
        ("hf_alice", "a/b/c", "no name of a repository"),
        ("hf_alice", "alice/public --private", "exists and is public, not private"),
    ],
)
def test_who_may_not_push(hub, tiny, monkeypatch, token, repo, expected):
    hub.upload("alice/public", {})
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    result = push(tiny[0], *repo.split())
    assert result.exit_code == 1 and expected in result.stderr and "Traceback" not in result.stderr
    assert [line for line in result.stderr.splitlines() if "unexpected error" in line] == []
    assert "alice/tiny" not in hub.store.repos


@pytest.fixture
def folder(tiny, tmp_path):
    """A folder as training leaves it, with an exported bundle."""
    place = tmp_path / "run"
    shutil.copytree(tiny[0], place)
    for name in ("preprocessor_config.json", "processor_config.json"):
        (place / name).unlink()
    for name in ("optimizer.pt", "notes.txt", ".secret", "shown.png", "other.png", "LICENSE"):
        (place / name).write_text("x")
    (place / "checkpoint-5").mkdir()
    (place / "checkpoint-5" / "rng.pth").write_text("x")
    (place / "README.md").write_text("# Mine\n\n![a](shown.png)\n\n## Limits\n\nMany.\n")
    return place


@pytest.fixture
def bundle(tmp_path):
    from sam_hub.exporters.manifest import Artefact, FileRecord, Manifest

    place = tmp_path / "exported"
    (place / "onnx").mkdir(parents=True)
    (place / "onnx" / "encoder.onnx").write_bytes(b"graph")
    (place / "example.js").write_text("// use")
    record = FileRecord("onnx/encoder.onnx", "encoder", [], [])
    artefact = Artefact("onnx", "fp32", "two files", [record], {}, "onnxruntime 1")
    Manifest("tiny", "sam", "apache-2.0", 64, 64, 16, {}, {}, [artefact]).write(place)
    return place


def test_dry_run(hub, folder, bundle):
    """Lists what would be uploaded, asks the Hub nothing, and changes nothing in the folder."""
    before = sorted(path.name for path in folder.rglob("*"))
    result = push(folder, "alice/mine", "--dry-run", "--private", "--bundle", bundle, "--base", "sam-vit-b")
    assert result.exit_code == 0, result.stderr
    assert re.match(r"Would upload \d+ files, [\d.]+ MB, to alice/mine \(main, private\):\n", result.stdout)
    for line in (
        r"onnx/encoder\.onnx ",
        r"export\.json ",
        r"example\.js ",
        r"model\.safetensors ",
        r"shown\.png ",
        r"LICENSE ",
        r"preprocessor_config\.json .*made from config\.json",
        r"README\.md .*the folder's own, with .*Use in a browser.* added",
        r"left out: optimizer\.pt \(may hold code",
        r"left out: other\.png \(README\.md does not show it\)",
        r"left out: notes\.txt",
        r"left out: \.secret \(hidden\)",
        r"left out: checkpoint-5",
    ):
        assert re.search(line, result.stdout), line
    assert hub.requests == [] and sorted(path.name for path in folder.rglob("*")) == before
    listed = json.loads(push(folder, "alice/mine", "--dry-run", "--json", "--bundle", bundle).stdout)
    assert listed["commit"] is None and "onnx/encoder.onnx" in listed["files"] and "optimizer.pt" in listed["left_out"]


def test_what_is_pushed_is_what_was_listed(hub, folder, bundle):
    shutil.copytree(bundle, folder / "web")
    listed = json.loads(push(folder, "alice/mine", "--dry-run", "--json").stdout)["files"]
    assert "web/onnx/encoder.onnx" in listed
    assert push(folder, "alice/mine").exit_code == 0
    commit = hub.store.repos["alice/mine"].resolve("main")
    assert {path: entry.size for path, entry in commit.files.items() if path != ".gitattributes"} == listed
    card = hub.store.read(commit.files["README.md"].sha256).decode()
    assert "`web/onnx/encoder.onnx`" in card and "tags: [" in card and "Many." in card and card.count("## Limits") == 1


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "README.md", "preprocessor_config.json"])
def test_what_is_needed_may_not_be_a_link_out_of_the_folder(hub, folder, tmp_path, name):
    outside = tmp_path / "secret"
    outside.write_bytes((folder / name).read_bytes() if (folder / name).is_file() else b"{}")
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside)
    result = push(folder, "alice/mine")
    assert result.exit_code == 1 and f"{name} is a link out of" in result.stderr
    assert not hub.store.repos


def test_other_links_out_of_the_folder_stay(hub, folder, tmp_path):
    (tmp_path / "secret").write_text("mine")
    (folder / "NOTICE.txt").symlink_to(tmp_path / "secret")
    (folder / "CREDITS").symlink_to(folder / "config.json")
    listed = json.loads(push(folder, "alice/mine", "--dry-run", "--json").stdout)
    assert listed["left_out"]["NOTICE.txt"] == "a link out of the folder" and "CREDITS" in listed["files"]


@pytest.mark.parametrize("path", ["../secret", "/etc/hostname", "onnx/link"])
def test_a_bundle_cannot_name_files_outside_of_its_folder(hub, folder, bundle, tmp_path, path):
    (tmp_path / "secret").write_text("mine")
    (bundle / "onnx" / "link").symlink_to(tmp_path / "secret")
    manifest = json.loads((bundle / "export.json").read_text())
    manifest["artefacts"][0]["files"][0]["path"] = path
    (bundle / "export.json").write_text(json.dumps(manifest))
    result = push(folder, "alice/mine", "--bundle", bundle)
    assert result.exit_code == 1 and "out of" in result.stderr and not hub.store.repos


def test_a_bundle_that_was_changed_is_refused(hub, folder, bundle):
    (bundle / "onnx" / "encoder.onnx").write_bytes(b"other")
    result = push(folder, "alice/mine", "--bundle", bundle)
    assert result.exit_code == 1 and "is not the file that was exported" in result.stderr and hub.requests == []


def test_damaged_weights_are_not_pushed(hub, folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    result = push(folder, "alice/mine")
    assert result.exit_code == 1 and "is damaged or cut short" in result.stderr and hub.requests == []
    weights.unlink()
    result = push(folder, "alice/mine")
    assert result.exit_code == 1 and "holds no weights" in result.stderr and hub.requests == []


def test_the_card_tells_what_was_measured(folder, tmp_path):
    report = {
        "sam_hub": "0.1.0",
        "shards": [{"name": "cats", "objects": 84, "click_1": 0.641, "box": 0.757, "grabcut": None}],
        "mean": {"click_1": 0.5, "box": 0.6},
    }
    (tmp_path / "eval.json").write_text(json.dumps(report))
    (folder / "README.md").unlink()
    (tmp_path / "place").mkdir()
    row = {"what": "a photo encoded", "milliseconds": 12.34, "machine": "a laptop"}
    parcel = pack(folder, "alice/mine", tmp_path / "place", "edge-sam", None, [tmp_path / "eval.json"], latency=[row])
    card = parcel.files["README.md"].read_text()
    assert "| cats | 84 | 0.641 | 0.757 |" in card and "| mean |  | 0.500 | 0.600 |" in card and "GrabCut" not in card
    assert "| a photo encoded | 12.3 | a laptop |" in card
    facts = front_matter(card)
    assert facts["license"] == "other" and facts["license_name"] == "s-lab-1.0"
    assert facts["base_model"] == "chongzhou/EdgeSAM" and "commercial use is not allowed" in card
    assert "42.1 (EdgeSAM's README)" in card and "not measured here" in card


def test_the_card_of_an_unknown_model_claims_nothing(folder, tmp_path):
    (folder / "README.md").unlink()
    (tmp_path / "place").mkdir()
    card = pack(folder, "alice/mine", tmp_path / "place").files["README.md"].read_text()
    facts = front_matter(card)
    assert "license" not in facts and "base_model" not in facts
    assert "Not stated" in card and "Not measured for this upload" in card and "## Latency" not in card


def test_offline_pushes_nothing(hub, tiny, offline):
    offline()
    with pytest.raises(HubError, match="unset it to upload"):
        tiny[1].push_to_hub("alice/tiny")


def test_measuring(tiny):
    from sam_hub.publishing import measure

    ticks = iter(range(100))
    rows = measure(tiny[0], "here", repeats=2, clock=lambda: next(ticks))
    assert [(row["what"], row["milliseconds"]) for row in rows] == [
        ("a photo encoded", 1000),
        ("a prompt decoded", 1000),
    ]
    assert SamConfig.from_pretrained(tiny[0]).is_transformers_native


@pytest.mark.parametrize(("name", "kind"), [("pocket", "Sam2Model"), ("sam-vit-b", "SamModel")])
def test_the_card_names_the_class_of_transformers_js(name: str, kind: str):
    config = SamConfig(**ZOO[name].config)
    files = {"place": "browser", "layout": "transformersjs", "format": "onnx", "variant": "int8", "files": {}}
    card = model_card(card_subject(config, name, "a/b", bundles=[{"artefacts": [files]}]))
    assert f"const model = await {kind}.from_pretrained" in card and f"import {{ {kind}, " in card
