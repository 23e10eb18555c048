"""Malicious or damaged bundles: every fault gives an error message, and nothing outside the folder is read."""

import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sam_hub.exporters.bundle import verify_bundle
from sam_hub.exporters.manifest import BundleError, Manifest
from sam_hub.exporters.proof import Proof

from sam_hub.inference.runtime import OnnxPredictor


@pytest.fixture
def copy(repvit_bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repvit_bundle[1], tmp_path / "copy"))


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    """Return a function that changes ``export.json``."""

    def do(folder: Path) -> None:
        content = json.loads((folder / "export.json").read_text())
        change(content)
        (folder / "export.json").write_text(json.dumps(content))

    return do


def as_pipe(name: str) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return do


def as_link(folder: Path) -> None:
    outside = folder.parent / "outside.txt"
    outside.write_text("secret")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(outside)


def first_path(value: object) -> Callable[[Path], None]:
    return edit(lambda c: c["artefacts"][0]["files"][0].update(path=value))


DAMAGE = {
    "a path that leaves": (first_path("../outside.onnx"), "leads out of"),
    "an absolute path": (first_path("/dev/zero"), "leads out of"),
    "a path of another kind": (first_path(5), "not text"),
    "no path": (first_path(""), "leads out of"),
    "another file that leaves": (edit(lambda c: c["others"].update({"../../x": "0"})), "leads out of"),
    "a hash of another kind": (edit(lambda c: c["others"].update({"config.json": 5})), "not text"),
    "a link that leaves": (as_link, "link out of"),
    "a pipe": (as_pipe("config.json"), "missing"),
    "a manifest that is a pipe": (as_pipe("export.json"), "not an exported bundle"),
    "an unknown format": (edit(lambda c: c["artefacts"][0].update(format="none")), "no known format"),
    "an unknown variant": (edit(lambda c: c["artefacts"][0].update(variant=["fp32"])), "damaged .*not text"),
    "artefacts of another kind": (edit(lambda c: c.update(artefacts=5)), "damaged"),
    "others of another kind": (edit(lambda c: c.update(others=[1])), "damaged"),
    "a deep manifest": (lambda f: (f / "export.json").write_text("[" * 100_000), "damaged"),
    "a manifest that is a list": (lambda f: (f / "export.json").write_text("[]"), "damaged"),
}


@pytest.mark.parametrize(("damage", "why"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_bundle_is_named(copy: Path, damage: Callable[[Path], None], why: str, not_for_ever) -> None:
    damage(copy)
    with pytest.raises(BundleError, match=why):
        verify_bundle(copy)


def test_a_manifest_is_bounded(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sam_hub.exporters.manifest.MANIFEST_BYTES", 100)
    with pytest.raises(BundleError, match="has more than"):
        Manifest.read(copy)


def pack(folder: Path, **arrays: bytes) -> None:
    """Replace arrays of the proof, as the bytes of a .npy file."""
    file = folder / "proof" / "proof.npz"
    with zipfile.ZipFile(file) as old:
        held = {name: old.read(name) for name in old.namelist()}
    held |= {f"{name}.npy": content for name, content in arrays.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in held.items():
            new.writestr(name, content)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def about(value: object) -> bytes:
    return npy(np.frombuffer(json.dumps(value).encode(), np.uint8))


HUGE = npy(np.zeros(1)).replace(b"(1,), }", b"(1" + b"0" * 15 + b",), }")
PROOFS = {
    "an array of a shape beyond memory": {"about": HUGE},
    "pickled objects": {"about": npy(np.array([{}], object))},
    "no cases": {"about": about({})},
    "cases of another kind": {"about": about({"cases": 5})},
    "more cases than pictures": {"about": about({"cases": [{"name": "a", "kinds": []}] * 99})},
    "kinds of another kind": {"about": about({"cases": [{"name": "a", "kinds": 7}]})},
    "no frame": {"about": about({"cases": []})},
    "a frame of text": {"about": about({"cases": [], "padded_frame": ["a", "b"]})},
    "deep JSON": {"about": npy(np.frombuffer(b"[" * 100_000, np.uint8))},
    "no array": {"about": b"nothing"},
}


@pytest.mark.parametrize("arrays", PROOFS.values(), ids=PROOFS)
def test_a_damaged_proof_is_named(copy: Path, arrays: dict[str, bytes]) -> None:
    pack(copy, **arrays)
    with pytest.raises(BundleError, match="the proof in"):
        Proof.load(copy)


def test_a_proof_is_bounded_before_it_is_unpacked(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pack(copy, zeros=npy(np.zeros(4_000_000, np.uint8)))
    monkeypatch.setattr("sam_hub.exporters.proof.UNPACKED_BYTES", 1_000_000)
    with pytest.raises(BundleError, match=r"unpacks to .* --trust-size"):
        Proof.load(copy)
    monkeypatch.setenv("SAM_HUB_TRUST_SIZE", "1")
    Proof.load(copy)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "[]", '{"size": {"longest_edge": 1000000000}}', '{"size": 5}', '{"size": {"longest_edge": "9"}}'],
)
def test_odd_settings_of_the_processor_are_named(copy: Path, text: str) -> None:
    (copy / "preprocessor_config.json").write_text(text)
    from sam_hub.errors import CheckpointError

    with pytest.raises(BundleError, match="the proof in"):
        Proof.load(copy)
    with pytest.raises(CheckpointError, match="preprocessor_config"):
        OnnxPredictor(copy)
