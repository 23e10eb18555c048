"""``sam-hub convert`` keeps SAM 3's text part."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from sam_hub.cli import app
from sam_hub.families.sam3 import original
from sam_hub.families.sam3.configuration import from_tracker
from sam_hub.families.sam3.encoder import rotary_angles
from sam_hub.inference import concepts
from sam_hub.inference.concepts import ConceptFinder
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.layouts import save_original
from sam_hub.models.modeling_sam import SamModel

from . import tiny_sam3

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A folder as SAM 3 is published: detector and tracker of videos, and a tokenizer."""
    folder = tmp_path_factory.mktemp("published")
    tiny_sam3.save_video_folder(folder, tiny_sam3.reference())
    tiny_sam3.save_tokenizer(folder)
    return folder


@pytest.fixture
def small_files(published, monkeypatch) -> None:
    """``sam3.pt`` is read as of this size: the click predictor's is in no weight, as there is only one."""
    settings = from_tracker(SamModel.from_pretrained(published).config.to_dict())

    def with_blocks(shapes):
        found = original.trunk_config(shapes)
        vision = settings["vision_config"] | {"global_attn_indexes": found["global_attn_indexes"], "output_trunk": True}
        return settings | {"vision_config": vision}

    monkeypatch.setattr(original, "CLICKS", replace(original.CLICKS, config=with_blocks))


def convert(source: Path, to: Path) -> str:
    result = CliRunner().invoke(app, ["convert", str(source), "--to", str(to)])
    assert result.exit_code == 0, result.output
    return result.stderr


def answers(source: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of a click, and what a word finds."""
    predictor = SamPredictor(source)
    predictor.set_image(PHOTO)
    found = predictor.find("cat", threshold=0.0)
    return predictor.predict(np.array([[20, 20]]), np.array([1]))[2], found.masks, found.scores


def test_words_survive_a_folder_and_the_authors_file(published, small_files, tmp_path, monkeypatch):
    expected = answers(published)
    convert(published, tmp_path / "folder")
    told = convert(tmp_path / "folder", tmp_path / "sam3.pt")
    assert "tracker.maskmem_tpos_enc" in told and "are zeros in this file" in told
    monkeypatch.setattr(concepts, "TOKENIZER", str(tmp_path / "absent"))  # files come without
    assert "no tokenizer was written" in convert(tmp_path / "sam3.pt", tmp_path / "without")
    assert not (tmp_path / "without" / "tokenizer.json").exists()
    monkeypatch.setattr(concepts, "TOKENIZER", str(published))
    told = convert(tmp_path / "sam3.pt", tmp_path / "again")
    assert "tracker.maskmem_tpos_enc" in told and "language_backbone" not in told and "detector.transformer" not in told
    for source in ("folder", "sam3.pt", "without", "again"):
        logits, masks, scores = answers(tmp_path / source)
        np.testing.assert_allclose(logits, expected[0], atol=1e-5 * np.abs(expected[0]).max())
        np.testing.assert_allclose(scores, expected[2], atol=1e-6)
        assert (masks != expected[1]).mean() < 1e-3
    written = json.loads((tmp_path / "folder" / "config.json").read_text())
    assert written["model_type"] == "sam3_video"
    first, last = (load_file(tmp_path / name / "model.safetensors") for name in ("folder", "again"))
    assert first.keys() == last.keys() and all(torch.equal(first[key], last[key]) for key in first)
    assert len(ConceptFinder.from_pretrained(tmp_path / "folder", threshold=0.0).find(PHOTO, "cat")) == 12


def test_the_authors_file_has_their_rotary_tables(published, small_files, tmp_path):
    """They insist on them, and no weight tells which blocks are global."""
    model = SamModel.from_pretrained(published)
    save_original(model, tmp_path / "sam3.pt")
    weights = torch.load(tmp_path / "sam3.pt")
    vision = model.config.vision_config
    for i in range(3):
        found = weights[f"detector.backbone.vision_backbone.trunk.blocks.{i}.attn.freqs_cis"]
        side = 8 if i == 1 else 4
        angles = rotary_angles((side, side), 4, 64, vision.rope_theta, "cpu")
        assert found.dtype == torch.complex64
        torch.testing.assert_close(found, torch.polar(torch.ones_like(angles), angles))
    assert list(SamModel.from_pretrained(tmp_path / "sam3.pt").config.vision_config.global_attn_indexes) == [1]


def test_transformers_reads_such_a_folder(published, tmp_path):
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

    convert(published, tmp_path / "folder")
    was, now = (Sam3VideoModel.from_pretrained(p, output_loading_info=True) for p in (published, tmp_path / "folder"))
    assert not was[1]["missing_keys"]
    weights = now[0].state_dict()
    weights.pop("tracker_model.prompt_encoder.shared_embedding.positional_embedding")  # a copy of another weight
    for key in now[1]["missing_keys"]:
        assert key.startswith(("tracker_model.", "tracker_neck.fpn_layers.3."))  # videos, and a level that is not read
        weights.pop(key, None)
    assert weights and any("text_encoder" in key for key in weights)
    assert all(torch.equal(value, was[0].state_dict()[key]) for key, value in weights.items())


def test_clicks_alone_are_saved_with_a_sentence(published, tmp_path):
    model = SamModel.from_pretrained(published)
    with pytest.warns(UserWarning, match="the text part is not saved, .* `sam-hub convert` keeps it"):
        model.save_pretrained(tmp_path)
    assert not SamModel.from_pretrained(tmp_path).config.capabilities.concepts
