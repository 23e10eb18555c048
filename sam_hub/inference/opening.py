"""Opens models and predictors by name: a torch model, ONNX files, or another registered format."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .backends import Backend
from .image_predictor import ImagePredictor
from .runtime import OnnxPredictor, is_onnx_folder

if TYPE_CHECKING:
    from ..models.modeling_sam import SamModel


@dataclass(frozen=True)
class FolderFormat:
    """A kind of folder that can be run but is not a torch model.

    name: for messages
    fits: whether a folder is of this kind, by file names only
    open: (folder, device, threads) -> predictor; device and threads as in `open_predictor`
    """

    name: str
    fits: Callable[[Path], bool]
    open: Callable[[Path, str | None, int | None], Backend]


FOLDER_FORMATS: dict[str, FolderFormat] = {}
"""Formats by name, tried in this order after ONNX. `sam_hub.exporters` adds those that it can run."""


def register_folder_format(added: FolderFormat) -> None:
    """Make `open_predictor`, and so every command and the page, accept such folders."""
    FOLDER_FORMATS[added.name] = added


def folder_format(name: str) -> FolderFormat | None:
    """The registered format of a folder; None for a model, a file, or ONNX."""
    folder = Path(name)
    if not folder.is_dir():
        return None
    return next((f for f in FOLDER_FORMATS.values() if f.fits(folder)), None)


def needs_torch(name: str) -> bool:
    """Whether `open_predictor` would load torch for this name."""
    return not is_onnx_folder(name) and folder_format(name) is None


def open_model(name: str, device: str | None = None) -> "SamModel":
    """Load a model for prediction; in float32 on the CPU, where float16 is slow.

    device: see `pick_device`

    raises: ModelNotFoundError, CheckpointError, DeviceError
    """
    from ..models.modeling_sam import SamModel
    from .devices import pick_device

    where = pick_device(device)
    model = SamModel.from_pretrained(name).to(where).eval()
    return model.float() if where.type == "cpu" else model


def open_predictor(
    name: str, device: str | None = None, cache_size: int = 4, threads: int | None = None, precision: str = "full"
) -> ImagePredictor:
    """`OnnxPredictor` for a folder of ONNX files, which needs no torch; `SamPredictor` for a model.

    name: as for `SamModel.from_pretrained`, or a folder of ``sam-hub export``
    device: see `pick_device` and `pick_provider`
    threads: on the CPU; default: the library's own
    precision: of a `SamPredictor`; exported files have that of their variant
    raises: ModelNotFoundError, CheckpointError, DeviceError, WrongUsage
    """
    if is_onnx_folder(name):
        return OnnxPredictor(name, provider=device, threads=threads, cache_size=cache_size)
    if found := folder_format(name):
        return ImagePredictor(found.open(Path(name), device, threads), cache_size)
    import torch

    from .predictor import SamPredictor

    if threads:
        torch.set_num_threads(threads)
    return SamPredictor(open_model(name, device), cache_size=cache_size, precision=precision)
