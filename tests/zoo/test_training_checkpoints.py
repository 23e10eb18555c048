"""Checkpoints saved by training loops load like the plain file; code in them is refused."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from sam_hub import SamModel, convert
from sam_hub.errors import CheckpointError, ModelNotFoundError

from ..models.conftest import randomise, tiny_config

PREFIXES = ["", "module.", "_orig_mod.", "model.", "sam.", "module._orig_mod.sam.", "model.module."]


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(0)
    keys = ("image_encoder.patch_embed.proj.weight", "mask_decoder.module.weight", "prompt_encoder.x.bias")
    return {key: torch.randn(3, 2, generator=generator) for key in keys}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


@pytest.mark.parametrize(
    "wrapper", [None, "model", "model_state_dict", "model_state", "state_dict", "net", "network", "module", "weights"]
)
@pytest.mark.parametrize("prefix", [*PREFIXES, "medsam_model.", "module.net.backbone."])
def test_wrappers_and_prefixes(weights, wrapper, prefix, tmp_path):
    content = {prefix + key: value for key, value in weights.items()}
    if wrapper:
        optimizer = {"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
        content = {wrapper: content, "optimizer": optimizer, "epoch": 3, "best": np.float64(0.5), "n": np.int64(3)}
    torch.save(content, tmp_path / "a.pth")
    assert same(convert.read_checkpoint(tmp_path / "a.pth"), weights)


def test_safetensors_and_wrappers_in_wrappers(weights, tmp_path):
    save_file({f"module.{key}": value for key, value in weights.items()}, tmp_path / "a.safetensors")
    assert same(convert.read_checkpoint(tmp_path / "a.safetensors"), weights)
    torch.save({"state_dict": {"model": weights}}, tmp_path / "b.pth")
    assert same(convert.read_checkpoint(tmp_path / "b.pth"), weights)


def test_a_prefix_of_some_keys_stays(weights, tmp_path):
    mixed = {**{f"module.{key}": value for key, value in weights.items()}, "loss.weight": torch.ones(1)}
    torch.save(mixed, tmp_path / "a.pth")
    assert same(convert.read_checkpoint(tmp_path / "a.pth"), mixed)


class Code:
    def __reduce__(self):
        return (print, ("run",))


def test_code_beside_the_weights_is_refused(weights, tmp_path, capsys):
    torch.save({"model": weights, "hook": Code(), "best": np.float64(0.5)}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="is refused: it holds code"):
        convert.read_checkpoint(tmp_path / "a.pth")
    assert capsys.readouterr().out == ""


def test_a_training_loop_of_pocket(tmp_path):
    """``torch.save(model.state_dict())`` of the model inside this package, and of another, which needs its config."""
    pocket = SamModel.from_pretrained("pocket")
    with torch.no_grad():
        pocket.mask_decoder.iou_token.weight.add_(1)
    weights = pocket.state_dict()
    torch.save({"model": {f"module.{key}": value for key, value in weights.items()}, "epoch": 1}, tmp_path / "a.pth")
    found = SamModel.from_pretrained(tmp_path / "a.pth")
    one, other = ({**m.config.to_dict(), "_name_or_path": ""} for m in (found, pocket))
    assert same(found.state_dict(), weights) and one == other

    tiny = randomise(SamModel(tiny_config()))
    torch.save(tiny.state_dict(), tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"without its configuration.*config="):
        SamModel.from_pretrained(tmp_path / "b.pth")
    assert same(SamModel.from_pretrained(tmp_path / "b.pth", config=tiny.config).state_dict(), tiny.state_dict())
    with pytest.raises(CheckpointError, match="does not fit"):
        SamModel.from_pretrained(tmp_path / "b.pth", config=pocket.config)


def test_a_folder_of_adapters_says_what_to_do(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelNotFoundError, match=r"holds adapters alone.*load_adapter"):
        SamModel.from_pretrained(tmp_path)
