"""The device a model runs on."""

import torch

from ..errors import DeviceError


def pick_device(name: str | None = None) -> torch.device:
    """The device called ``name`` ("cpu", "cuda", "cuda:1", "mps", ...); default: the fastest available.

    raises: DeviceError if it is unknown or not on this machine
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
