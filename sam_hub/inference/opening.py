"""Models and predictors by name; `open_predictor` is for both predictors and looks at what lies there."""

from typing import TYPE_CHECKING

from .runtime import OnnxPredictor, is_onnx_folder

if TYPE_CHECKING:
    from ..models.modeling_sam import SamModel
    from .predictor import SamPredictor


def open_model(name: str, device: str | None = None) -> "SamModel":
    """A model ready to predict on ``device``, see `pick_device`; a CPU computes in float32, as float16 is slow there.

    raises: ModelNotFoundError, CheckpointError, DeviceError
    """
    from ..models.modeling_sam import SamModel
    from .devices import pick_device

    where = pick_device(device)
    model = SamModel.from_pretrained(name).to(where).eval()
    return model.float() if where.type == "cpu" else model


def open_predictor(
    name: str, device: str | None = None, cache_size: int = 4, threads: int | None = None
) -> "SamPredictor | OnnxPredictor":
    """`OnnxPredictor` for a folder of ONNX files, which needs no torch; `SamPredictor` for all else.

    name: as for `SamModel.from_pretrained`, or a folder of ``sam-hub export``
    device: see `pick_device` and `pick_provider`
    threads: on the CPU; by default what each library takes
    raises: ModelNotFoundError, CheckpointError, DeviceError
    """
    if is_onnx_folder(name):
        return OnnxPredictor(name, provider=device, threads=threads, cache_size=cache_size)
    import torch

    from .predictor import SamPredictor

    if threads:
        torch.set_num_threads(threads)
    return SamPredictor(open_model(name, device), cache_size=cache_size)
