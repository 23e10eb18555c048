"""A model -> ncnn files, converted by pnnx from TorchScript.

The image encoder takes normalised, padded pixels, the decoder a fixed number of prompt slots (see `slots`); each is a
``.param`` and its ``.bin``. ncnn has no batch axis, no whole numbers and no comparisons: labels are float32, and
comparisons are written as clamps. ``fp16``, pnnx's default, stores weights in half precision; ncnn widens them.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from ....errors import ExportError
from ....models.modeling_sam import SamModel
from ....ops.files import make_folder
from ...format import ExportJob
from ...manifest import Artefact, FileRecord
from ...manifest import Tensor as Described
from ...quiet import quiet
from ...slot_io import meaning, slot_count
from ...slot_parts import slot_parts
from ...slots import Comparisons, SlotDecoder
from . import FORMAT

STEMS = {"encoder": "image_encoder", "decoder": "mask_decoder"}

STEEP = 3e4
"""Twice this factor tells any two float32 values near 1 apart; once, it does not overflow float16."""


class Clamps(Comparisons):
    """Comparisons without operators for them."""

    def exceeds(self, a: Tensor, b: Tensor | float) -> Tensor:
        return (((a - b) * STEEP).clamp(-1, 1) * STEEP).clamp(0, 1)

    def reaches(self, a: Tensor, b: Tensor | float) -> Tensor:
        return 1 - self.exceeds(-a, -b)

    def equal(self, a: Tensor, b: Tensor) -> Tensor:
        return self.reaches(a, b) * self.reaches(b, a)


def export(job: ExportJob) -> Iterator[Artefact]:
    """Convert one artefact for each variant; see `format.ExportJob`.

    options: ``slots``, the number of prompt slots
    raises: ExportError if ncnn lacks an operation of the model
    """
    slots = slot_count(job.options)
    parts = slot_parts(job, decoder_of(job.model), slots, torch.float32)
    for variant in job.variants:
        folder = f"ncnn/{variant}"
        make_folder(job.out / folder)
        files = []
        for role, (module, inputs, outputs) in parts.items():
            job.tell(f"ncnn {variant}: {STEMS[role]}")
            stem = f"{folder}/{STEMS[role]}"
            found = convert(module, inputs, outputs, job.out / stem, half=variant == "fp16")
            described = [
                [Described(n, "float32", list(t.shape[1:]) or [1], meaning(n)) for n, t in pairs]
                for pairs in (inputs.items(), zip(outputs, found, strict=True))
            ]
            facts = {"slots": slots}
            files.append(FileRecord(f"{stem}.param", role, *described, facts=facts, weights={f"{stem}.bin": ""}))
        yield Artefact(FORMAT.name, variant, "", files)


def decoder_of(model: SamModel) -> SlotDecoder:
    """The decoder without comparisons and whole numbers."""
    decoder = SlotDecoder(model).eval()
    decoder.prompts.compare = decoder.masks.compare = Clamps()
    decoder.prompts.kinds = decoder.prompts.kinds.float()
    decoder.masks.decoder.add_map = torch.add  # one prompt; pnnx does not translate `unflatten`
    return decoder


def convert(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], stem: Path, half: bool
) -> list[Tensor]:
    """Write ``stem.param`` and ``stem.bin``, whose blobs have the names of inputs and outputs; returns the outputs.

    half: store the weights in half precision
    raises: ExportError if pnnx refuses the module or ncnn lacks one of its operations
    """
    program = Path(str(find_spec("pnnx").origin)).with_name("pnnx.exe" if os.name == "nt" else "pnnx")
    with TemporaryDirectory() as folder, torch.no_grad(), quiet(warned=True):
        found = module(*inputs.values())
        torch.jit.trace(module, tuple(inputs.values()), check_trace=False).save(str(Path(folder, "m.pt")))
        shapes = ",".join(str(list(t.shape)).replace(" ", "") for t in inputs.values())
        command = [str(program), "m.pt", f"inputshape={shapes}", f"fp16={int(half)}"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
        param, weights = Path(folder, "m.ncnn.param"), Path(folder, "m.ncnn.bin")
        if done.returncode or not (param.is_file() and weights.is_file()):
            raise ExportError(f"pnnx cannot read this model (it ended with {done.returncode}); export it to ONNX")
        text = param.read_text("utf-8")
        if missing := unknown_operations(text):
            raise ExportError(f"ncnn has no {', '.join(missing)}, which this model needs; export it to ONNX")
        names = dict(zip((f"in{i}" for i in range(len(inputs))), inputs, strict=True))
        names |= dict(zip((f"out{i}" for i in range(len(outputs))), outputs, strict=True))
        stem.with_suffix(".param").write_text(renamed(text, names), encoding="utf-8")
        stem.with_suffix(".bin").write_bytes(weights.read_bytes())
    return [found] if isinstance(found, Tensor) else list(found)


def unknown_operations(param: str) -> list[str]:
    """Operations of a ``.param`` that ncnn lacks; pnnx passes on, without an error, what it cannot translate."""
    import ncnn

    return sorted({name for name, *_ in layers_of(param) if ncnn.layer_to_index(name) < 0})


def layers_of(param: str) -> list[list[str]]:
    """Type, name, number of inputs, number of outputs, blobs and settings of each layer, after the two lines on top."""
    return [line.split() for line in param.splitlines()[2:] if line.strip()]


def renamed(param: str, names: Mapping[str, str]) -> str:
    """A ``.param`` with other names of blobs: old -> new."""
    lines = param.splitlines()[:2]
    for kind, name, ins, outs, *rest in layers_of(param):
        count = int(ins) + int(outs)
        blobs = [names.get(blob, blob) for blob in rest[:count]]
        lines.append(" ".join([kind, names.get(name, name), ins, outs, *blobs, *rest[count:]]))
    return "\n".join(lines) + "\n"
