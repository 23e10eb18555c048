"""Whether the weights of an encoder are still those that an embedding was made with."""

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.untouched import is_every_module_hooked, is_hooked, is_of

WORDS = 1 << 16
"""64-bit words multiplied at once: 512 KB, which fit in a processor's cache."""

LARGE = 1 << 20
"""Bytes from which a tensor is not copied."""


@lru_cache(maxsize=4)
def multipliers(device: torch.device) -> Tensor:
    """(2, WORDS) odd int64, drawn once for this process and device."""
    drawn = np.random.default_rng().integers(-(2**62), 2**62, (2, WORDS), dtype=np.int64)
    return torch.from_numpy(2 * drawn + 1).to(device)


def checksums(tensors: Iterable[Tensor]) -> list[Tensor]:
    """A `checksum` of each large tensor, and one for all small ones of a device, where calls cost more than bytes."""
    found, small = [], {}
    for t in tensors:
        if t.nbytes < LARGE:
            small.setdefault(t.device, []).append(t.detach().reshape(-1).view(torch.uint8))
        else:
            found.append(checksum(t))
    return found + [checksum(torch.cat(parts)) for parts in small.values()]


def checksum(t: Tensor) -> Tensor:
    """A hash of a tensor's bits, int64 without axes.

    The 64-bit words are multiplied by random odd numbers and added up modulo 2^64: a change of one word always changes
    the hash; any other change is missed with a probability of about 2^-60. Plain sums would miss values that swap
    places.
    Source: multilinear hashing, as in Lemire and Kaser, "Strongly universal string hashing is fast" (2014).
    """
    flat = t.detach().contiguous().view(-1).view(torch.uint8)
    if flat.storage_offset() % 8 or len(flat) % 8:
        flat = F.pad(flat, (0, -len(flat) % 8)) if len(flat) % 8 else flat.clone()
    words = flat.view(torch.int64)
    within, between = multipliers(t.device)
    while len(words) > 1:
        left = len(words) % WORDS
        sums = [multiplied(words[: len(words) - left].view(-1, WORDS), within)]
        sums.append(multiplied(words[len(words) - left :][None], within[:left]))
        words, within, between = torch.cat(sums), between, within
    return words.sum()


def multiplied(rows: Tensor, factors: Tensor) -> Tensor:
    """Sums of products, modulo 2^64: (n, m) and (m,) int64 -> (n,)."""
    return rows @ factors if rows.device.type == "cpu" else (rows * factors).sum(1)


class Watched:
    """Detects changes of weights between two calls of `look`: other tensors, another place, a write, or other values.

    PyTorch counts writes to a tensor, but not those through ``.data``, and ``load_state_dict(assign=True)`` replaces
    the tensors. So the tensors themselves are kept for comparison, and a `checksum` of each, which reads all weights
    once.
    """

    def __init__(self) -> None:
        self._seen: tuple[list[Tensor], list[tuple], Tensor, object] | None = None

    def __getstate__(self) -> dict:
        return {}

    def __setstate__(self, state: dict) -> None:
        self.__init__()

    @torch.no_grad()
    def look(self, model: nn.Module) -> object | None:
        """A token that stays the same while nothing changes; None if this cannot be known.

        model: with a ``vision_encoder``
        """
        encoder = model.vision_encoder
        home = {"transformers", "sam_hub", type(encoder).__module__.partition(".")[0]}
        runs = []
        read = nn.ModuleList(
            [encoder, *(getattr(model.mask_decoder, name) for name in model.mask_decoder.image_layers)]
        )
        if is_every_module_hooked():
            return None
        for module in read.modules():
            if not is_of(module, home) or is_hooked(module):
                return None
            runs.append((module.training, type(module).forward))
        tensors = list(chain(read.parameters(), read.buffers()))
        if model.no_memory_embedding is not None:
            tensors.append(model.no_memory_embedding)
        if any(type(t) not in (Tensor, nn.Parameter) or t.is_meta for t in tensors):
            return None
        facts = [(t.data_ptr(), 0 if t.is_inference() else t._version, t.dtype, t.device) for t in tensors]
        facts.append(tuple(runs))
        sums = torch.stack([number.to(tensors[0].device) for number in checksums(tensors)])
        if self._seen is not None:
            old, old_facts, old_sums, token = self._seen
            same = len(old) == len(tensors) and all(a is b for a, b in zip(old, tensors, strict=True))
            if same and old_facts == facts and torch.equal(old_sums, sums):
                return token
        token = object()
        self._seen = tensors, facts, sums, token
        return token
