"""Image embeddings on disk, so that a frozen encoder runs only once for each image."""

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


def cache_key(model: SamModel, processor: SamImageProcessor) -> str:
    """A key of everything but the image that an embedding depends on: encoder, weights and preparation."""
    digest = hashlib.sha256(processor.to_json_string().encode())
    before_prompts = {name for name, _ in model.image_side_parameters()}
    for name, value in model.state_dict().items():
        if not name.startswith("vision_encoder.") and name not in before_prompts:
            continue
        name = name.removeprefix("vision_encoder.")
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


class EmbeddingCache:
    """Embeddings in half precision, one file per view; files from an interrupted run are reused.

    folder: a separate one for each `cache_key`
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        make_folder(self.folder)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def store(self, key: str, tensors: dict[str, torch.Tensor]) -> None:
        """Store (C, h, w) tensors, an embedding and other maps; those too large for half precision keep their type."""
        small = {}
        for name, value in tensors.items():
            half = value.half()
            small[name] = (half if half.isfinite().all() else value).cpu().contiguous()
        write_atomically(self._path(key), save(small))

    def load(self, key: str) -> dict[str, torch.Tensor]:
        """raises: DataError if missing or damaged"""
        try:
            return {name: value.float() for name, value in load(self._path(key).read_bytes()).items()}
        except (OSError, SafetensorError) as e:
            raise DataError(f"the cached embedding {self._path(key)} cannot be read ({e}); remove {self.folder}") from e

    @torch.no_grad()
    def fill(self, model: SamModel, preparation, views: Iterable[tuple[str, np.ndarray]]) -> int:
        """Encode missing views; returns their number.

        preparation: the model's `ViewPreparation`; views: key and (h, w, 3) uint8
        """
        model.eval()
        count = 0
        for key, view in views:
            if key in self:
                continue
            encoded = model.encode(preparation.pixel_values(view)[None].to(model.device))
            maps = model.mask_decoder.named_features(encoded.features)
            self.store(key, {"embedding": encoded.embedding[0], **{name: value[0] for name, value in maps.items()}})
            count += 1
        return count
