"""LiteRT files: ``image_encoder.tflite`` and ``mask_decoder.tflite``, converted by litert-torch.

The encoder takes normalised, padded pixels in PyTorch's order of axes; the decoder has fixed prompt slots (see
`slots`). ``fp16`` stores weights in half precision. ``int8`` stores the decoder's in 8 bits and the encoder's in half
precision, as 8 bits in the encoder lose too much (`pocket`: IoU .952 on 4 prompts, .999 in half precision). Weights are
widened before use.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ....errors import ExportError
from ....ops.files import make_folder
from ...format import ExportJob
from ...manifest import Artefact, FileRecord
from ...manifest import Tensor as Described
from ...quiet import hushed, quiet, silent
from ...rank_four import shared_copy
from ...slot_io import meaning, slot_count
from ...slot_parts import slot_parts
from ...slots import SlotDecoder
from . import FORMAT

BITS = {"fp32": {}, "fp16": {"encoder": 16, "decoder": 16}, "int8": {"encoder": 16, "decoder": 8}}
"""Variant -> bits per weight of each part, if not 32."""

NAMES = {"encoder": "image_encoder.tflite", "decoder": "mask_decoder.tflite"}


def export(job: ExportJob) -> Iterator[Artefact]:
    """Convert and save one artefact for each variant; see `format.ExportJob`.

    options: ``slots``, the number of prompt slots
    raises: ExportError
    """
    slots = slot_count(job.options)
    parts = slot_parts(job, SlotDecoder(job.model).eval(), slots)
    whole: dict[str, bytes] = {}
    for variant in job.variants:
        folder = job.out / "litert" / variant
        make_folder(folder)
        files = []
        for role, (module, inputs, outputs) in parts.items():
            job.tell(f"LiteRT {variant}: {NAMES[role]}")
            path = folder / NAMES[role]
            if role not in whole:
                whole[role] = converted(module, tuple(inputs.values()))
            path.write_bytes(shrunk(whole[role], BITS[variant].get(role, 32)))
            with torch.no_grad():
                found = module(*inputs.values())
            described = [
                [Described(n, str(t.dtype).removeprefix("torch."), list(t.shape), meaning(n)) for n, t in pairs]
                for pairs in (inputs.items(), zip(outputs, found, strict=True))
            ]
            files.append(FileRecord(f"litert/{variant}/{NAMES[role]}", role, *described, facts={"slots": slots}))
        yield Artefact(FORMAT.name, variant, "", files)


def converted(module: nn.Module, inputs: tuple[Tensor, ...]) -> bytes:
    """Convert a module to a file. raises: ExportError if litert-torch refuses it"""
    import litert_torch

    with torch.no_grad(), hushed("litert_torch", "jax"), TemporaryDirectory() as folder:
        try:
            path = Path(folder, "part.tflite")
            litert_torch.convert(contiguous(module), inputs).export(str(path))
            return path.read_bytes()
        except Exception as e:  # litert-torch raises any exception
            raise ExportError(f"litert-torch cannot convert this model ({_reason(e)}); export it to ONNX") from e


def contiguous(module: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers are contiguous; those that are so already are shared.

    litert-torch 0.10 tells constants apart by address, and copies others to temporary memory: two of one shape can get
    the same address, and both then have the values of the first.
    """
    module = shared_copy(module)
    for part in module.modules():
        for name, tensor in part._parameters.items():
            if tensor is not None and not tensor.is_contiguous():
                part._parameters[name] = nn.Parameter(tensor.detach().contiguous(), requires_grad=False)
        for name, tensor in part._buffers.items():
            if tensor is not None:
                part._buffers[name] = tensor.contiguous()
    return module


def shrunk(file: bytes, bits: int) -> bytes:
    """Store the file's weights in 16 bits, or in 8 bits with a scale per channel."""
    from ai_edge_quantizer import qtyping, quantizer, recipe
    from ai_edge_quantizer.algorithm_manager import AlgorithmName
    from ai_edge_quantizer.recipe_manager import RecipeManager

    if bits == 32:
        return file
    rules = recipe.weight_only_wi8_afp32()
    if bits == 16:
        manager = RecipeManager()
        manager.add_quantization_config(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key=AlgorithmName.FLOAT_CASTING,
        )
        rules = manager.get_quantization_recipe()
    with quiet("absl"), silent():
        return bytes(quantizer.Quantizer(bytearray(file), rules).quantize().quantized_model)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
