"""One name for both predictors: `open_predictor` looks at what lies there."""

from typing import TYPE_CHECKING

from .runtime import OnnxPredictor, is_onnx_folder

if TYPE_CHECKING:
    from .predictor import SamPredictor


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

    from ..models.modeling_sam import SamModel
    from .devices import pick_device, placed
    from .predictor import SamPredictor

    where = pick_device(device)
    if threads:
        torch.set_num_threads(threads)
    return SamPredictor(placed(SamModel.from_pretrained(name), where), cache_size=cache_size)
