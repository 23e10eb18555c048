"""Limits on the sizes in a model's files, checked before anything is built, and how to lift them.

A configuration of a few bytes must not take all memory.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import CheckpointError, SamHubError

VARIABLE = "SAM_HUB_TRUST_SIZE"
"""Environment variable that lifts the limits if set to 1; ``sam-hub --trust-size`` sets it."""

LIFT = "if the file is yours, lift the bound with trust_size=True, or sam-hub --trust-size"

_trusted: ContextVar[bool] = ContextVar("trusted", default=False)

NAMES = ("model_type", "dtype", "torch_dtype")
PARTS = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
LAYERS, SIDE, NUMBER, LENGTH = 500, 8192, 65_536, 64
"""Upper limits for layers, pixels of a side, any other whole number, and entries of a list."""

PARAMETERS = 2_000_000_000
"""Parameters of a whole model; the largest SAM has 641 million."""

SMALL = 1_000_000
"""Parameters that may be missing from any folder and initialised at random, for fine-tuning."""

_weights: ContextVar[int | None] = ContextVar("weights", default=None)

COUNTS = ("layers", "depth", "depths", "stages", "blocks", "num_point_embeddings", "num_slots", "num_multimask_outputs")
SIZES = ("size", "pad_size", "frame_size", "mask_size", "mask_pad_size")
SIDES = ("image_size", "pretrained_grid")


def trusts_size() -> bool:
    """Whether the limits are lifted."""
    return _trusted.get() or os.environ.get(VARIABLE) == "1"


@contextmanager
def trusting_size(trust: bool) -> Iterator[None]:
    """Lift the limits for a block of code, if ``trust``."""
    token = _trusted.set(trust or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def check_settings(settings: Mapping[str, Any], source: str) -> None:
    """CheckpointError if a number in ``config.json`` is negative, not a number, or larger than any model needs."""
    for name in NAMES:
        if not isinstance(settings.get(name), str | None):
            raise CheckpointError(f"the {name} of {source} is not text; download the model again")
    for part in PARTS:
        inner = settings.get(part)
        if inner is None:
            continue
        if not isinstance(inner, Mapping):
            raise CheckpointError(f"the {part} of {source} is not a list of settings; download the model again")
        for name, value in inner.items():
            _check(f"{part}.{name} of {source}", name, value)
    _check(f"text_embedding_size of {source}", "", settings.get("text_embedding_size"))


def check_sides(name: str, size: Mapping[str, Any]) -> None:
    """ValueError unless the sides in a processor's file are whole numbers of pixels that an input can have."""
    for side in size.values():
        if side is not None and (not isinstance(side, int) or side < 1):
            raise ValueError(f"{name} has a side of {side!r}; expected pixels")
        if side is not None and side > SIDE and not trusts_size():
            raise ValueError(f"{name} has a side of {side:,} pixels, over {SIDE:,}; {LIFT}")


def check_preparation(settings: Mapping[str, Any]) -> None:
    """ValueError unless the settings in a processor's file have the right types."""
    for name in ("image_mean", "image_std", "rescale_factor"):
        value = settings.get(name)
        numbers = value if isinstance(value, list | tuple) else [value]
        if value is not None and (len(numbers) not in (1, 3) or not all(map(_is_finite, numbers))):
            raise ValueError(f"{name} is {value!r}; expected a number, or one for each of three channels")
        if name != "image_mean" and value is not None and not all(numbers):
            raise ValueError(f"{name} is {value!r}, which makes every image the same")
    stride = settings.get("mask_stride")
    if stride is not None and not (_is_finite(stride) and stride >= 1):
        raise ValueError(f"mask_stride is {stride!r}; expected pixels")
    if settings.get("resample") not in (None, *range(6)):
        raise ValueError(f"resample is {settings['resample']!r}; expected the number of one of Pillow's filters")
    for name in ("resize_mode", "mask_resize"):
        if not isinstance(settings.get(name), str | None):
            raise ValueError(f"{name} is {settings[name]!r}; expected a name")
    for name, value in settings.items():
        if name.startswith("do_") and not isinstance(value, bool | None):
            raise ValueError(f"{name} is {value!r}; expected true or false")
        if name in SIZES and isinstance(value, int | float | str | list | tuple):
            raise ValueError(f"{name} is {value!r}; expected sides in pixels")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e9  # NaN is not


@contextmanager
def building(trust_size: bool = False, folder: Path | None = None) -> Iterator[None]:
    """Context for loading a model: `trusting_size`, and a limit on parameters from the weights in ``folder``."""
    files = [] if folder is None else [p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin")]
    token = _weights.set(sum(p.stat().st_size for p in files) or None)
    try:
        with trusting_size(trust_size):
            yield
    finally:
        _weights.reset(token)


@contextmanager
def buildable() -> Iterator[None]:
    """Context that turns errors from contradictory settings or wrong types into CheckpointError."""
    try:
        yield
    except (SamHubError, OSError, MemoryError):
        raise
    except Exception as e:  # transformers' type checks raise their own exceptions
        if "out of memory" in str(e).lower():
            raise
        raise CheckpointError(f"no model can be built from the configuration ({_first(e)})") from e


def check_parameters(model: Any) -> None:
    """CheckpointError if a `torch.nn.Module`, still on the meta device, has too many parameters."""
    first = next(model.parameters(), None)
    if first is None or not first.is_meta or trusts_size():
        return
    count, stored = sum(p.numel() for p in model.parameters()), _weights.get()
    if count > PARAMETERS:
        raise CheckpointError(f"the configuration asks for {count:,} parameters, over {PARAMETERS:,}; {LIFT}")
    if stored is not None and count > 2 * stored + SMALL:  # a byte holds two 4-bit weights
        raise CheckpointError(f"the configuration asks for {count:,} parameters, and the weights have {stored:,} bytes")


def _first(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {' '.join(' '.join(lines[:3]).split())[:200]}" if lines else type(error).__name__


def _check(where: str, name: str, value: Any) -> None:
    for depth, number in _numbers(value, where):
        if number < 0 and depth == 0 and name != "pad_token_id":
            raise CheckpointError(f"{where} is {number}; sizes and counts are not negative")
        most = LAYERS if name.endswith(COUNTS) and depth < 2 else SIDE if name in SIDES else NUMBER
        if number > most and not trusts_size():
            raise CheckpointError(f"{where} is {number:,}, over {most:,}; {LIFT}")


def _numbers(value: Any, where: str, depth: int = 0) -> Iterator[tuple[int, int]]:
    """The whole numbers in a value, with their nesting depth in lists."""
    if isinstance(value, list | tuple):
        if depth > 1 or (len(value) > LENGTH and not trusts_size()):
            raise CheckpointError(f"{where} is a list of {len(value):,} entries, over {LENGTH}; {LIFT}")
        for entry in value:
            yield from _numbers(entry, where, depth + 1)
        if depth == 1 and len(value) == 5 and all(isinstance(v, int) for v in value):
            yield 0, value[-1]  # of a stage of pocket: repeats
    elif isinstance(value, int):
        yield depth, value
