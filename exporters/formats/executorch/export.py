"""ExecuTorch programs: ``image_encoder.pte`` and ``mask_decoder.pte``, lowered to XNNPACK (Android, iOS on the CPU).

The encoder takes normalised, padded pixels, as the PyTorch model does. The decoder has fixed prompt slots (see
`slots`). In ``int8`` the encoder's large convolutions have 8-bit weights and activations, calibrated on photos.
Attention, which fails with fixed ranges, stays in float32, so ViT encoders gain little. The decoder stays in float32
too, as XNNPACK's partitioner (executorch 1.5.1) finds "dependency cycles" in dynamically quantised layers. ``coreml``
is fp32 delegated to Core ML, on macOS only.
"""

import sys
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from ....errors import ExportError
from ....ops.files import make_folder, write_atomically
from ...format import ExportJob
from ...manifest import Artefact, FileRecord
from ...manifest import Tensor as Described
from ...quiet import quiet
from ...slot_io import meaning, slot_count
from ...slot_parts import slot_parts
from ...slots import SlotDecoder
from . import FORMAT

LEAST_WEIGHTS = 16384
"""In ``int8``, convolutions with fewer weights stay in float32."""

NAMES = {"encoder": "image_encoder.pte", "decoder": "mask_decoder.pte"}


def export(job: ExportJob) -> Iterator[Artefact]:
    """Lower and save one artefact for each variant; see `format.ExportJob`.

    options: ``slots``, the number of prompt slots; ``calibration``, prepared photos in addition to the proof's
    raises: ExportError
    """
    slots = slot_count(job.options)
    if "coreml" in job.variants and sys.platform != "darwin":
        raise ExportError(
            "a .pte with the Core ML delegate runs on Apple's systems only, so it can be proven only there: "
            "export it on macOS, or take --format coreml, which is proven everywhere"
        )
    parts = slot_parts(job, SlotDecoder(job.model).eval(), slots)
    photos = [case.image for case in job.proof.cases] + list(job.options.get("calibration") or ())
    for variant in job.variants:
        folder = f"executorch/{variant}"
        make_folder(job.out / folder)
        taken = parts
        if variant == "int8":
            job.tell(f"ExecuTorch int8: calibrating on {len(photos)} photos")
            with torch.no_grad():
                encoder = quantised(
                    parts["encoder"].module, [(torch.from_numpy(image.pixel_values),) for image in photos]
                )
            taken = parts | {"encoder": parts["encoder"]._replace(module=encoder)}
        files = []
        for role, (module, inputs, outputs) in taken.items():
            name = NAMES[role]
            job.tell(f"ExecuTorch {variant}: {name}")
            program, found = lowered(module, tuple(inputs.values()), "Core ML" if variant == "coreml" else "XNNPACK")
            write_atomically(job.out / folder / name, program)
            files.append(
                FileRecord(
                    path=f"{folder}/{name}",
                    role=role,
                    inputs=[_described(n, t) for n, t in inputs.items()],
                    outputs=[_described(n, t) for n, t in zip(outputs, found, strict=True)],
                    facts={"backend": "Core ML" if variant == "coreml" else "XNNPACK", "slots": slots},
                )
            )
        yield Artefact(FORMAT.name, variant, "", files)


def lowered(module: nn.Module, inputs: tuple[Tensor, ...], backend: str = "XNNPACK") -> tuple[bytes, list[Tensor]]:
    """The program of a module, lowered to XNNPACK or Core ML, and examples of its outputs.

    raises: ExportError if ExecuTorch refuses the graph
    """
    from executorch.exir import to_edge_transform_and_lower

    if backend == "XNNPACK":
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner as Partitioner
    else:
        from executorch.backends.apple.coreml.partition import CoreMLPartitioner as Partitioner

    with torch.no_grad(), quiet("executorch"):
        examples = module(*inputs)
        program = torch.export.export(module, inputs)
        try:
            edge = to_edge_transform_and_lower(program, partitioner=[Partitioner()])
            buffer = edge.to_executorch().buffer
        except Exception as e:  # ExecuTorch raises any exception
            raise ExportError(f"ExecuTorch cannot lower this model ({e}); export it to ONNX") from e
    return bytes(buffer), [examples] if isinstance(examples, Tensor) else list(examples)


def quantised(module: nn.Module, inputs: Iterable[tuple[Tensor, ...]]) -> nn.Module:
    """The module with its convolutions in 8 bits (PT2E), calibrated on inputs."""
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    inputs = list(inputs)
    quantizer = XNNPACKQuantizer()
    # By operation, as set_module_type finds no convolutions: weights do not know their module's type.
    quantizer.set_operator_type(torch.ops.aten.conv2d.default, get_symmetric_quantization_config(is_per_channel=True))
    quantizer.set_filter_function(survives_quantisation)
    prepared = prepare_pt2e(torch.export.export(module, inputs[0]).module(), quantizer)
    for given in inputs:
        prepared(*given)
    return convert_pt2e(prepared)


def survives_quantisation(node: torch.fx.Node) -> bool:
    """False for depthwise convolutions and those with few weights: they lose the most and are few bytes."""
    if node.target is not torch.ops.aten.conv2d.default:
        return True
    weight = node.args[1].meta["val"]
    return weight.shape[1] > 1 and weight.numel() >= LEAST_WEIGHTS


def _described(name: str, example: Tensor) -> Described:
    return Described(name, str(example.dtype).removeprefix("torch."), list(example.shape), meaning(name))
