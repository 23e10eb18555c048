"""A model for a command: found, loaded and placed, without the libraries' own chatter."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..inference.predictor import SamPredictor
    from ..models.modeling_sam import SamModel


def load_model(name: str, device: str | None) -> "SamModel":
    """A model ready to predict, on ``device`` or the fastest there is.

    raises: ModelNotFoundError, CheckpointError, DeviceError
    """
    from transformers.utils import logging

    from ..inference.devices import pick_device
    from ..models.modeling_sam import SamModel

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    where = pick_device(device)
    return SamModel.from_pretrained(name).to(where).eval()


def load_predictor(name: str, device: str | None) -> "SamPredictor":
    """`SamPredictor` over `load_model`."""
    from ..inference.predictor import SamPredictor

    return SamPredictor(load_model(name, device))
