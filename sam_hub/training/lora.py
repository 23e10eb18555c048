"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685) on an image encoder, by ``peft``; merged before saving."""

from torch import nn

from ..errors import SamHubError
from ..models.modeling_sam import SamModel

ATTENTION = ("qkv", "q", "k", "v", "proj", "q_proj", "k_proj", "v_proj", "out_proj")
"""Suffixes of the names of attention matrices."""


def adapted_modules(model: SamModel) -> list[str]:
    """Names of the encoder's attention matrices, or, if it has none, of its pointwise convolutions.

    For `pocket`, whose convolutions run folded with their norms, those of the neck.
    """
    parts = [(f"vision_encoder.{name}", module) for name, module in model.vision_encoder.named_modules()]
    matrices = [n for n, m in parts if isinstance(m, nn.Linear) and n.rpartition(".")[2] in ATTENTION]
    if matrices:
        return matrices
    folded = {f"{n}.conv" for n, m in parts if getattr(m, "folds_its_norm", False)}  # not called
    pointwise = [n for n, m in parts if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.groups == 1]
    pointwise = [n for n in pointwise if n not in folded]
    return [n for n in pointwise if ".neck." not in n] or pointwise


def add_lora(model: SamModel, rank: int) -> SamModel:
    """Add adapters of ``rank`` to the encoder, in place; its other weights are frozen.

    raises: SamHubError if there is nothing to adapt
    """
    from peft import LoraConfig, inject_adapter_in_model

    targets = adapted_modules(model)
    if not targets:
        raise SamHubError("this encoder has neither attention nor pointwise convolutions to adapt; omit --lora")
    learns = {n: p.requires_grad for n, p in model.named_parameters() if not n.startswith("vision_encoder.")}
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(learns.get(name, ".lora_" in name))
    return model


def merge_lora(model: SamModel) -> SamModel:
    """Merge the adapters into their weights, in place, which restores the model's own layout."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge()
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, module.get_base_layer())
    if hasattr(model, "peft_config"):
        del model.peft_config
    return model
