"""Whether modules are unmodified: nothing hooked, wrapped, patched or converted, so that class and weights say it all.

`FastDecoder` reads the decoder's weights instead of calling its modules. Adapters, quantised or compiled layers, hooks,
pruning, parametrizations, offloading and autocast change what a module computes but not its weights; with any of them,
the modules must be called.
"""

import inspect

import torch
from torch import nn
from transformers.activations import GELUActivation
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..models.layers import Attention, FeedForward, LayerNorm2d, Mlp, eager_attention
from ..models.mask_decoder import MaskDecoder, TwoWayBlock, TwoWayTransformer
from ..models.modeling_sam import SamModel
from ..models.prompt_encoder import PositionalEmbedding
from ..models.untouched import is_every_module_hooked, is_hooked

BOTH, WEIGHT = ("weight", "bias"), ("weight",)
KNOWN: dict[type[nn.Module], tuple[str, ...]] = {
    MaskDecoder: (),
    TwoWayTransformer: (),
    TwoWayBlock: (),
    Attention: (),
    Mlp: (),
    FeedForward: (),
    PositionalEmbedding: (),
    nn.ModuleList: (),
    nn.ReLU: (),
    nn.GELU: (),
    GELUActivation: (),
    nn.Embedding: WEIGHT,
    nn.Linear: BOTH,
    nn.LayerNorm: BOTH,
    LayerNorm2d: BOTH,
    nn.ConvTranspose2d: BOTH,
    nn.Conv2d: BOTH,
}
"""The module classes of SAM's decoder, and the names of their direct parameters."""

FORWARD = {kind: kind.forward for kind in KNOWN}
"""The ``forward`` methods at import time, to detect patched classes."""

OTHERS = [
    (kind, name, method)
    for kind in KNOWN
    if kind.__module__.startswith("sam_hub.")
    for name, method in vars(kind).items()
    if inspect.isfunction(method) and not name.startswith("__")
]
"""The other methods of our own classes, at the same time."""

ATTENTION = (eager_attention, sdpa_attention_forward)


def is_plain_model(model: nn.Module) -> bool:
    """Whether calling the model calls its decoder and nothing else: no subclass's ``forward``, no hooks, no patches."""
    return (
        isinstance(model, SamModel)
        and all(getattr(type(model), name) is method for name, method in METHODS.items())
        and all(kind.__dict__.get(name) is method for kind, name, method in OTHERS)
        and not is_hooked(model)
        and not is_every_module_hooked()
    )


METHODS = {
    name: getattr(SamModel, name)
    for name in ("forward", "decode", "predict_masks", "get_image_wide_positional_embeddings")
}


def is_plain(root: nn.Module, dtype: torch.dtype, device: torch.device) -> bool:
    """Whether a module and all below it are `KNOWN` and untouched, with dense weights of one type on one device."""
    waiting = [root]
    while waiting:
        module = waiting.pop()
        kind, inside = known_kind(type(module)), module.__dict__
        names = KNOWN.get(kind)
        if names is None or type(module).forward is not FORWARD[kind] or is_hooked(module):
            return False
        parameters = inside["_parameters"]
        if tuple(parameters) != names:
            return False
        for p in parameters.values():
            if type(p) is not nn.Parameter or p.dtype is not dtype or p.device != device or p.layout != torch.strided:
                return False
        waiting += inside["_modules"].values()
    return True


def known_kind(kind: type[nn.Module]) -> type[nn.Module]:
    """The class of `KNOWN` that a class behaves like: itself, or the base that it declares with ``as_known``."""
    while kind not in KNOWN and kind.__dict__.get("as_known"):
        kind = kind.__bases__[0]
    return kind


def attends_as_usual(decoder: MaskDecoder) -> bool:
    """Whether `FastDecoder` implements the decoder's attention function."""
    chosen = ALL_ATTENTION_FUNCTIONS.get_interface(decoder.config._attn_implementation, eager_attention)
    return chosen in ATTENTION
