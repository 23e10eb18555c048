"""Image embeddings on disk, so that an encoder that does not learn runs once for each image."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from ..errors import DataError
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from ..ops.files import make_folder, write_atomically


def fingerprint(model: SamModel, processor: SamImageProcessor) -> str:
    """Names an encoder with its weights and the way its images are prepared."""
    digest = hashlib.sha256(processor.to_json_string().encode())
    for name, value in model.vision_encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class EmbeddingCache:
    """Embeddings in half precision, a file for each view; what was written before a stop is used again.

    folder: one for each `fingerprint`
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        make_folder(self.folder)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def store(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        """Keep (C, h, w) tensors; those that half precision cannot hold stay as they are."""
        small = {}
        for name, value in tensors.items():
            half = value.half()
            small[name] = (half if half.isfinite().all() else value).cpu().contiguous()
        write_atomically(self._path(key), save(small))

    def load(self, key: str) -> dict[str, torch.Tensor]:
        """raises: DataError when it is not there or damaged"""
        try:
            return {name: value.float() for name, value in load(self._path(key).read_bytes()).items()}
        except (OSError, SafetensorError) as e:
            raise DataError(f"the cached embedding {self._path(key)} cannot be read ({e}); remove {self.folder}") from e

    @torch.no_grad()
    def fill(self, model: SamModel, preparation, views: Iterable[tuple[str, np.ndarray]]) -> int:
        """Encode what is not there yet; returns how many were encoded.

        preparation: the model's `Preparation`; views: key and (h, w, 3) uint8
        """
        model.eval()
        count = 0
        for key, view in views:
            if key in self:
                continue
            encoded = model.encode(preparation.pixel_values(view)[None].to(model.device))
            tensors = {"embedding": encoded.embedding[0]}
            if encoded.intermediate:
                tensors["intermediate"] = encoded.intermediate[0][0]
            self.store(key, tensors)
            count += 1
        return count
