"""Whether the weights of an encoder are still those that an embedding was made with."""

from itertools import chain

import torch
from torch import Tensor, nn

from .plain_modules import is_hooked


class Watched:
    """Sees changes of weights between two looks: other tensors, another place, a write, or other values.

    PyTorch counts writes to a tensor, but not those through ``.data``; and ``load_state_dict(assign=True)`` puts new
    tensors in the place of the old ones. So the tensors themselves are kept to compare with, and a sum of each, which
    costs one reading of the weights.
    """

    def __init__(self) -> None:
        self._seen: tuple[list[Tensor], list[tuple], Tensor, object] | None = None

    def __getstate__(self) -> dict:
        return {}

    def __setstate__(self, state: dict) -> None:
        self.__init__()

    @torch.no_grad()
    def look(self, model: nn.Module) -> object | None:
        """A token that stays the same while nothing changes; None where it cannot be told.

        model: with a ``vision_encoder``
        """
        encoder = model.vision_encoder
        home = {"torch", "transformers", "sam_hub", type(encoder).__module__.split(".")[0]}
        training = []
        read = nn.ModuleList(
            [encoder, *(getattr(model.mask_decoder, name) for name in model.mask_decoder.image_layers)]
        )
        for module in read.modules():
            if type(module).__module__.split(".")[0] not in home or is_hooked(module):
                return None
            training.append(module.training)
        tensors = list(chain(read.parameters(), read.buffers()))
        if model.no_memory_embedding is not None:
            tensors.append(model.no_memory_embedding)
        if any(type(t) not in (Tensor, nn.Parameter) or t.is_meta for t in tensors):
            return None
        facts = [(t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype, t.device) for t in tensors]
        facts.append(tuple(training))
        sums = [t.sum(dtype=None if t.is_floating_point() else torch.float64) for t in tensors]
        sums = torch.stack([s.to(torch.float64) if s.device.type != "mps" else s.float() for s in sums])
        if self._seen is not None:
            old, old_facts, old_sums, token = self._seen
            same = len(old) == len(tensors) and all(a is b for a, b in zip(old, tensors, strict=True))
            if same and old_facts == facts and torch.equal(old_sums, sums):
                return token
        token = object()
        self._seen = tensors, facts, sums, token
        return token
