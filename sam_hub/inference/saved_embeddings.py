"""Image embeddings as files, for `ImagePredictor.save_embedding`."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError
from ..ops.files import write_atomically

FORMAT = "sam-hub embedding 1"


def write_embedding(path: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a safetensors file with the arrays, ``about`` as JSON, and a hash of both."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    text = json.dumps(about, sort_keys=True)
    metadata = {"format": FORMAT, "about": text, "sha256": _digest(arrays, text)}
    write_atomically(path, save(arrays, metadata))


def read_embedding(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and ``about`` that `write_embedding` was given.

    raises: CheckpointError for a file that is missing, damaged, modified or of another kind
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 it is no dict
    except FileNotFoundError as e:
        raise CheckpointError(f"{path} does not exist; save it with save_embedding") from e
    except (SafetensorError, OSError, ValueError) as e:
        raise CheckpointError(f"{path} is damaged or not an embedding ({e}); save it again with save_embedding") from e
    if metadata.get("format") != FORMAT or "about" not in metadata:
        raise CheckpointError(f"{path} was not written by save_embedding")
    if metadata.get("sha256") != _digest(arrays, metadata["about"]):
        raise CheckpointError(f"{path} was changed after it was saved; save it again with save_embedding")
    return arrays, json.loads(metadata["about"])


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(arrays.items()):
        digest.update(f"{name} {value.dtype} {value.shape} ".encode() + value.tobytes())
    return digest.hexdigest()
