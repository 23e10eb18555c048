"""Invalid configurations give an error message before memory is allocated."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

from sam_hub import SamModel
from sam_hub.errors import CheckpointError, SamHubError
from sam_hub.hub import ASSETS
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.ops.bounds import VARIABLE, trusting_size, trusts_size

SETTINGS = json.loads((ASSETS / "pocket" / "config.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return Path(shutil.copytree(ASSETS / "pocket", tmp_path_factory.mktemp("odd") / "pocket"))


def changed(folder: Path, part: str, name: str, value: object) -> Path:
    settings = copy.deepcopy(SETTINGS)
    (settings[part] if part else settings)[name] = value
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize(
    ("part", "name", "value", "why"),
    [
        ("mask_decoder_config", "num_hidden_layers", 1_000_000, "over 500"),
        ("mask_decoder_config", "iou_head_depth", 1_000_000, "over 500"),
        ("mask_decoder_config", "num_multimask_outputs", 1_000_000, "over 500"),
        ("prompt_encoder_config", "num_point_embeddings", 1_000_000, "over 500"),
        ("prompt_encoder_config", "image_size", 1_000_000, "over 8,192"),
        ("vision_config", "stem_channels", 1_000_000, "over 65,536"),
        ("vision_config", "stages", [[1, 3, 1, 16, 1_000_000]], "over"),
        ("vision_config", "stages", [[1, 3, 1, 16, 60_000]], "over 500"),
        ("vision_config", "stages", [[1, 3, 1, 16, 1]] * 1000, "over 64"),
        ("vision_config", "output_channels", -1, "negative"),
        ("", "text_embedding_size", 10**30, "over"),
        ("mask_decoder_config", "mlp_dim", 60_000, "parameters"),
        ("mask_decoder_config", "num_attention_heads", 0, "no model can be built"),
        ("mask_decoder_config", "num_attention_heads", "8", "no model can be built"),
        ("mask_decoder_config", "hidden_act", "none", "no model can be built"),
        ("vision_config", "stages", 5, "no model can be built"),
        ("vision_config", "num_channels", 1, "other shapes"),
        ("vision_config", "model_type", [1], "no model can be built"),
        ("vision_config", "model_type", "", "and the weights have"),
        ("", "vision_config", [1], "not a list of settings"),
        ("", "dtype", 3, "not text"),
        ("", "model_type", [], "not text"),
    ],
)
def test_odd_configurations_are_named_at_once(
    folder: Path, part: str, name: str, value: object, why: str, not_for_ever
) -> None:
    with pytest.raises(CheckpointError, match=why):
        SamModel.from_pretrained(changed(folder, part, name, value))


def test_too_many_parameters_are_refused_before_they_have_memory(folder: Path, monkeypatch) -> None:
    """Of any model, and of one whose weights cannot fill them."""
    monkeypatch.setattr("sam_hub.ops.bounds.PARAMETERS", 1_000_000)
    with pytest.raises(CheckpointError, match="over 1,000,000; if the file is yours"):
        SamModel.from_pretrained(changed(folder, "", "text_embedding_size", 0))
    assert SamModel.from_pretrained(folder, trust_size=True).device == torch.device("cpu")
    monkeypatch.setenv(VARIABLE, "1")
    SamModel.from_pretrained(folder)


def test_bounds_are_lifted_on_request(folder: Path, monkeypatch) -> None:
    changed(folder, "prompt_encoder_config", "image_size", 9000)
    with pytest.raises(CheckpointError, match="trust-size"):
        SamConfig.from_pretrained(folder)
    assert SamConfig.from_pretrained(folder, trust_size=True).prompt_encoder_config.image_size == 9000
    assert not trusts_size()
    with trusting_size(True):
        assert SamConfig.from_pretrained(folder).prompt_encoder_config.image_size == 9000
    monkeypatch.setenv(VARIABLE, "1")
    assert SamConfig.from_pretrained(folder).prompt_encoder_config.image_size == 9000


ODD = [None, -1, 0, 10**30, "x", [], {}, 1.5, float("nan"), [[1]], [None]]


@pytest.mark.parametrize("part", ["", "vision_config", "prompt_encoder_config", "mask_decoder_config"])
def test_whatever_a_setting_is_it_ends_in_a_sentence_or_a_configuration(folder: Path, part: str) -> None:
    for name in SETTINGS[part] if part else SETTINGS:
        for value in ODD:
            try:
                SamConfig.from_pretrained(changed(folder, part, name, value))
            except SamHubError as e:
                assert str(e).count("\n") == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("size", 5),
        ("size", {"longest_edge": 10**9}),
        ("size", {"longest_edge": -1}),
        ("size", {"longest_edge": "512"}),
        ("size", {}),
        ("pad_size", {"height": 512}),
        ("pad_size", [512, 512]),
        ("mask_pad_size", {"width": 128}),
        ("image_mean", "0.5"),
        ("image_mean", [0.5, 0.5]),
        ("image_mean", [0.5, None, 0.5]),
        ("image_std", [0, 1, 1]),
        ("image_std", [float("nan")] * 3),
        ("rescale_factor", float("inf")),
        ("resample", 0.5),
        ("resample", []),
        ("resize_mode", []),
        ("mask_resize", {}),
        ("do_pad", "no"),
    ],
)
def test_odd_settings_of_a_processor_are_named(folder: Path, name: str, value: object) -> None:
    """By the processor, and by the predictor without torch."""
    from sam_hub import SamImageProcessor
    from sam_hub.inference.runtime import read_preparation

    settings = SamImageProcessor.from_pretrained("pocket").to_dict() | {name: value}
    file = folder / "preprocessor_config.json"
    (folder / "processor_config.json").unlink(missing_ok=True)
    file.write_text(json.dumps(settings))
    with pytest.raises(CheckpointError, match="processor"):
        SamImageProcessor.from_pretrained(folder)
    with pytest.raises(CheckpointError, match="processor"):
        read_preparation(folder)


def test_the_size_of_an_input_is_bounded(folder: Path) -> None:
    """Where the file states nothing else, all sizes follow it."""
    from sam_hub import SamImageProcessor
    from sam_hub.inference.runtime import read_preparation

    (folder / "processor_config.json").unlink(missing_ok=True)
    settings = {"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 10**9}}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    for read in (SamImageProcessor.from_pretrained, read_preparation):
        with pytest.raises(CheckpointError, match="1,000,000,000 pixels, over 8,192; if the file is yours"):
            read(folder)
        with trusting_size(True):
            read(folder)


@pytest.mark.parametrize("name", ["resample", "rescale_factor", "image_mean", "image_std"])
def test_a_step_without_its_numbers_is_named(folder: Path, name: str) -> None:
    """Whether the file asks for the step or leaves it to the default."""
    from sam_hub import SamImageProcessor

    settings = SamImageProcessor.from_pretrained("pocket").to_dict() | {name: None}
    (folder / "processor_config.json").unlink(missing_ok=True)
    for left_out in ((), ("do_resize", "do_rescale", "do_normalize")):
        content = {key: value for key, value in settings.items() if key not in left_out}
        (folder / "preprocessor_config.json").write_text(json.dumps(content))
        with pytest.raises(CheckpointError, match=f"without .*{name}"):
            SamImageProcessor.from_pretrained(folder)
