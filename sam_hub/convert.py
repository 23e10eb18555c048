"""Reads checkpoint files, and converts original checkpoints from and to our layout, by the families' tables.

Files are read with ``weights_only=True``: a pickle that would execute code is refused.
"""

import re
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .families import registry
from .families.layout import OriginalLayout, Shapes, pattern, rename

WRAPPERS = ("model", "model_state_dict", "model_state", "state_dict", "net", "network", "module", "weights")
"""Keys under which training loops save the weights."""

PREFIXES = ("module.", "_orig_mod.", "model.", "sam.")
"""Prefixes that wrappers add to every key, in any order."""

PART = re.compile(r"(?:^|\.)((?:image_encoder|vision_encoder|prompt_encoder|mask_decoder)\.)")
"""Where the keys of a model begin, behind the name that an attribute of a training loop has put before them."""


def layouts() -> dict[str, OriginalLayout]:
    """The layouts of original checkpoints, by name."""
    return {name: registry.load(where) for name, where in registry.originals().items()}


def __getattr__(name: str) -> Any:
    if name == "FAMILIES":  # as it was called
        return layouts()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def detect_family(shapes: Shapes) -> str:
    """The family whose signature matches the keys. raises: CheckpointError if there is none"""
    known = layouts()
    for name, layout in known.items():
        if layout.fits(shapes):
            return name
    if shapes and any(len(left_out(shapes, name)[0]) == len(shapes) for name in known):
        raise CheckpointError(
            "this checkpoint holds only parts for video, and no image encoder; give the model's whole checkpoint"
        )
    if is_own(shapes):
        raise CheckpointError(
            "this checkpoint holds the weights of a `SamModel` without its configuration; load the model that was "
            "trained and give it these with load_state_dict, or load them with config=, or save with save_pretrained"
        )
    some = ", ".join(sorted(shapes)[:3]) or "no tensors at all"
    raise CheckpointError(
        f"this checkpoint belongs to no known family (it has {some} ...); known families: {', '.join(sorted(known))}"
    )


def is_own(keys: Iterable[str]) -> bool:
    """Whether a state dict is that of a `SamModel`, or of transformers', and in no original layout."""
    return {"vision_encoder", "mask_decoder", "prompt_encoder"} <= {key.partition(".")[0] for key in keys}


def left_out(keys: Iterable[str], family: str, read: Container[str] = ()) -> tuple[list[str], list[str]]:
    """The keys of a file that single images do not need, and the parts of the model that hold nothing else.

    read: keys that another model reads, such as SAM 3's for words
    """
    dropped, keys = [pattern(template) for template in layouts()[family].dropped], list(keys)
    found = [key for key in keys if key not in read and any(each.fullmatch(key) for each in dropped)]
    used = {start for key in set(keys) - set(found) for start in _beginnings(key)}
    parts = {next((start for start in _beginnings(key) if start not in used), key) for key in found}
    return found, sorted({re.sub(r"\.\d+\.", ".N.", part) for part in parts})


def _beginnings(key: str) -> list[str]:
    """Of a dotted name, the shortest first: a, a.b, a.b.c"""
    words = key.split(".")
    return [".".join(words[: i + 1]) for i in range(len(words))]


def to_ours(weights: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Original state dict -> family, settings of `SamConfig`, state dict in our layout.

    raises: CheckpointError if the family is unknown, a key is unexpected, or shapes are inconsistent
    """
    shapes = {key: tuple(value.shape) for key, value in weights.items()}
    family = detect_family(shapes)
    table = layouts()[family]
    try:
        config = table.config(shapes)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as e:
        raise CheckpointError(f"an incomplete {family} checkpoint: {e} is missing or has an impossible shape") from e
    return family, config, renamed(weights, table, family)


def renamed(weights: Mapping[str, Any], table: OriginalLayout, name: str) -> dict[str, Any]:
    """Original state dict -> ours, without dropped keys.

    name: of the layout, for messages
    raises: CheckpointError for unexpected keys
    """
    used = {k: v for k, v in weights.items() if not any(pattern(template).fullmatch(k) for template in table.dropped)}
    found, unknown = {}, []
    for key, value in table.split(used).items():
        new = rename(key, table.rules)
        if new is None:
            unknown.append(key)
        else:
            found[new] = value
    if unknown:
        raise CheckpointError(f"keys that no {name} checkpoint has: {some(unknown)}")
    return found


def to_original(weights: Mapping[str, Any], family: str) -> dict[str, Any]:
    """State dict in our layout -> the original's, bit-equal; the inverse of `to_ours`."""
    import torch

    table = layouts()[family]
    names = {key: rename(key, table.rules, back=True) for key in weights}
    if unknown := [key for key, new in names.items() if new is None]:
        raise CheckpointError(f"the original {family} layout has no place for {some(unknown)}")
    blanks = {key: torch.zeros(shape) for key, shape in table.blank.items()}
    return table.join({new: weights[key] for key, new in names.items()}) | blanks


def check_complete(expected: Shapes, weights: Mapping[str, Any]) -> None:
    """Refuse missing, unknown and mis-shaped keys; the first few of each are named."""
    found = {key: tuple(value.shape) for key, value in weights.items()}
    faults = []
    if missing := sorted(set(expected) - set(found)):
        faults.append(f"missing {some(missing)}")
    if unknown := sorted(set(found) - set(expected)):
        faults.append(f"unknown {some(unknown)}")
    wrong = [
        f"{k} {found[k]} instead of {tuple(expected[k])}" for k in found if found[k] != tuple(expected.get(k, found[k]))
    ]
    if wrong:
        faults.append(f"mis-shaped {some(wrong)}")
    if faults:
        raise CheckpointError(f"the checkpoint does not fit: {'; '.join(faults)}")


def some(keys: list[str], count: int = 5) -> str:
    """The first few keys, and how many more there are."""
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file, memory-mapped, never executing code.

    Training checkpoints are unwrapped: the weights may be under one of `WRAPPERS`, beside optimizer states and numpy
    numbers, and their keys may start with any of `PREFIXES`, or with one custom name.
    raises: CheckpointError for a pickle with code in it and for a damaged file
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return without_prefixes(load_file(path))
        with torch.serialization.safe_globals(_numpy_scalars()):
            try:
                content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            except RuntimeError as e:
                if "mmap" not in str(e):
                    raise
                content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as e:
        raise CheckpointError(f"{path} is damaged or cut short ({e}); download it again") from e
    except Exception as e:  # torch.load raises many kinds: UnpicklingError, EOFError, RuntimeError, KeyError ...
        if "weights_only" in str(e).lower() or "Unsupported" in str(e):
            raise CheckpointError(
                f"{path} is refused: it holds code or objects besides tensors, and loading would run them; "
                "get a file that holds a state dict only, or convert it where you trust it"
            ) from e
        reason = str(e).splitlines()[0][:120] if str(e) else type(e).__name__
        raise CheckpointError(f"{path} is not a readable checkpoint ({reason}); download it again") from e
    while isinstance(content, dict) and (inner := [w for w in WRAPPERS if isinstance(content.get(w), dict)]):
        content = content[inner[0]]
    if not isinstance(content, dict) or not all(isinstance(v, torch.Tensor) for v in content.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors")
    return without_prefixes(content)


def without_prefixes(weights: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict without the prefixes that model wrappers (DDP, ``torch.compile``, Lightning) add to every key."""
    weights = dict(weights)
    while weights and (found := [p for p in PREFIXES if all(key.startswith(p) for key in weights)]):
        weights = {key.removeprefix(found[0]): value for key, value in weights.items()}
    place = next(filter(None, map(PART.search, weights)), None)
    prefix = place.string[: place.start(1)] if place else ""
    if prefix and all(key.startswith(prefix) for key in weights):
        weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    return weights


def _numpy_scalars() -> list[Any]:
    """Names in a pickle of numpy scalars, such as losses and epochs that training loops save with the weights."""
    import _codecs

    import numpy as np

    scalar = np._core.multiarray.scalar
    kinds = {type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")}
    return [scalar, (scalar, "numpy.core.multiarray.scalar"), np.dtype, _codecs.encode, *kinds]
