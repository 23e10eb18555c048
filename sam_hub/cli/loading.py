"""Loads a model for a command, without the libraries' log output."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inference.image_predictor import ImagePredictor
    from ..inference.predictor import SamPredictor
    from ..inference.runtime import OnnxPredictor
    from ..models.modeling_sam import SamModel

FEW_PHOTOS = 32
"""With more photos a GPU would pay off, and only PyTorch can tell whether there is one."""


def quiet_but_for_downloads() -> None:
    """Silence the libraries, except for progress bars of downloads and uploads on standard error."""
    from huggingface_hub import constants
    from huggingface_hub.utils import enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging

    from ..models.quiet import quiet_transformers

    quiet_transformers()
    if not constants.HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()
    hub_logging.set_verbosity_error()


def load_model(name: str, device: str | None) -> "SamModel":
    """`open_model`, without log output.

    raises: as `open_model`
    """
    from ..inference.opening import open_model

    quiet_but_for_downloads()
    return open_model(name, device)


def load_predictor(
    name: str, device: str | None, cache_size: int = 4, precision: str = "full"
) -> "SamPredictor | OnnxPredictor":
    """`open_predictor` for models and exported folders, without log output; ONNX files load no torch.

    raises: as `load_model`
    """
    from ..inference.opening import open_predictor
    from ..inference.runtime import is_onnx_folder

    if not is_onnx_folder(name):
        from ..exporters.backend import register

        register()
        quiet_but_for_downloads()
    return open_predictor(name, device, cache_size, precision=precision)


def load_quickly(name: str, device: str | None, photos: int, precision: str = "full") -> "ImagePredictor":
    """A predictor for this many photos, without PyTorch if possible: its import takes longer than one photo.

    raises: as `load_model`
    """
    from ..hub.places import ASSETS, locate
    from ..inference.image_predictor import ImagePredictor
    from ..inference.runtime import is_onnx_folder

    if (device == "cpu" or (device is None and photos <= FEW_PHOTOS)) and not is_onnx_folder(name):
        folder = locate(name).folder
        if folder is not None and folder.parent == ASSETS:
            from ..inference.numpy_model.backend import NumpyBackend, supports

            if supports(folder):
                return ImagePredictor(NumpyBackend(folder))
    return load_predictor(name, device, precision=precision)
