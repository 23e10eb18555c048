"""Where a model runs."""

from typing import TypeVar

import torch
from torch import nn

from ..errors import DeviceError

Model = TypeVar("Model", bound=nn.Module)


def pick_device(name: str | None = None) -> torch.device:
    """The device called ``name`` ("cpu", "cuda", "cuda:1", "mps", ...), or by default the fastest there is.

    raises: DeviceError when it is unknown or not on this machine
    """
    if name is None:
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # "meta" has no values
    except (RuntimeError, AssertionError, NotImplementedError) as e:
        there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            there.append("mps")
        raise DeviceError(f"there is no device {name!r} here; choose one of {', '.join(there)}") from e
    return device


def placed(model: Model, device: torch.device) -> Model:
    """A model ready to predict on a device; a CPU computes in float32, as it is several times slower in float16."""
    model = model.to(device).eval()
    return model.float() if device.type == "cpu" else model
