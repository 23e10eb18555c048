"""A model for a command: found, loaded and placed, without the libraries' own chatter."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inference.predictor import SamPredictor
    from ..inference.runtime import OnnxPredictor
    from ..models.modeling_sam import SamModel


def quiet_but_for_downloads() -> None:
    """No chatter of the libraries, except the progress bars of downloads and uploads, on standard error."""
    from huggingface_hub import constants
    from huggingface_hub.utils import enable_progress_bars
    from huggingface_hub.utils import logging as hub_logging
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    if not constants.HF_HUB_DISABLE_PROGRESS_BARS:
        enable_progress_bars()
    hub_logging.set_verbosity_error()


def load_model(name: str, device: str | None) -> "SamModel":
    """A model ready to predict, on ``device`` or the fastest there is.

    raises: ModelNotFoundError, CheckpointError, DeviceError
    """
    from ..inference.devices import pick_device
    from ..models.modeling_sam import SamModel

    quiet_but_for_downloads()
    where = pick_device(device)
    return SamModel.from_pretrained(name).to(where).eval()


def load_predictor(name: str, device: str | None) -> "SamPredictor | OnnxPredictor":
    """`SamPredictor` over `load_model`, or for a folder of ONNX files `OnnxPredictor`, which needs no torch.

    raises: as `load_model`
    """
    from ..inference.runtime import OnnxPredictor, is_onnx_folder

    if is_onnx_folder(name):
        return OnnxPredictor(name, provider=device)
    from ..inference.predictor import SamPredictor

    return SamPredictor(load_model(name, device))
