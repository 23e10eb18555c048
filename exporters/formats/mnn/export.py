"""A model -> MNN files, converted from the ONNX graphs for transformers.js, with the same inputs and outputs.

So the same families are supported. The mask prompt is mandatory, as MNN freezes defaults, and whole numbers are int32.
``int8`` stores the decoder's weights in 8 bits with a scale for each channel and the encoder's in half precision: in 8
bits, those of `pocket` lose too much (mask IoU 0.981). Arithmetic on CPUs is float32. The converter's half precision of
a decoder includes weights of coordinates and misses the bound.
"""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from onnx import ModelProto

from ....errors import ExportError
from ....families import registry
from ....models.modeling_sam import SamModel
from ....ops.files import make_folder
from ...format import ExportJob
from ...manifest import Artefact
from ...rank_four import restated, shared_copy
from ..onnx.export import decoder_graph, encoder_graph, points_scale, record_of, save
from ..onnx.plain import silent_faults, spread_gelu
from . import FORMAT

STEMS = {"encoder": "vision_encoder", "decoder": "prompt_encoder_mask_decoder"}
FLAGS = {
    "fp32": {"encoder": (), "decoder": ()},
    "int8": {"encoder": ("--fp16",), "decoder": ("--weightQuantBits", "8")},
}
"""Variant -> role -> options of MNN's converter."""

CONVERT = "import sys, _tools; sys.exit(not _tools.mnnconvert(['mnnconvert', *sys.argv[1:]]))"
"""Calls the converter itself: the program ``mnnconvert`` also installs a package with pip and reports its use."""


def export(job: ExportJob) -> Iterator[Artefact]:
    """Export one artefact for each variant; see `format.ExportJob`. raises: ExportError if MNN refuses a graph"""
    encoder = registry.part("encoder", job.model.config.vision_config.model_type)
    if encoder.wide_operations:  # linear attention, which sums over all pixels
        raise ExportError("MNN's results for this model's encoder are off by 1e-3; export it to ONNX or another format")
    job.tell("mnn: encoder and decoder")
    graphs = {
        "encoder": spread_gelu(encoder_of(job.model)),
        "decoder": spread_gelu(decoder_graph(job.model, "transformersjs", {}, points_scale(job))),
    }
    for variant in job.variants:
        job.tell(f"mnn: {variant}")
        folder = f"mnn/{variant}"
        make_folder(job.out / folder)
        files = []
        for role, stem in STEMS.items():
            if faults := silent_faults(graphs[role]):
                raise ExportError(f"{stem}: {faults[0].place} has {faults[0].rule.name}, and {faults[0].rule.seen}")
            path = f"{folder}/{stem}.mnn"
            convert(graphs[role], job.out / path, FLAGS[variant][role])
            facts = {"points_scale": points_scale(job)} if role == "encoder" else {}
            record = record_of(graphs[role], path, role, facts)
            record.inputs = [replace(t, dtype=t.dtype.replace("int64", "int32")) for t in record.inputs]
            record.opset = None
            files.append(record)
        yield Artefact(FORMAT.name, variant, "", files)


def encoder_of(model: SamModel) -> ModelProto:
    """The encoder's graph; a bicubic resize, which MNN computes otherwise, becomes a product of matrices."""
    graph = encoder_graph(model)
    if any(b"cubic" in (a.s for a in node.attribute) for node in graph.graph.node if node.op_type == "Resize"):
        other = shared_copy(model)
        other.vision_encoder = restated(model)
        graph = encoder_graph(other)
    return graph


def convert(graph: ModelProto, path: Path, flags: tuple[str, ...]) -> None:
    """Convert a graph in a process of its own, as the converter ends the process on some errors. raises: ExportError"""
    with TemporaryDirectory() as folder:
        file = Path(folder, "graph.onnx")
        save(graph, file)
        names = ["--modelFile", str(file), "--MNNModel", str(path), "--bizCode", "sam-hub"]
        command = [sys.executable, "-c", CONVERT, "-f", "ONNX", *names, *flags]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    if not path.is_file() or "Converted Success" not in done.stdout + done.stderr:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ExportError(f"MNN cannot read this model ({(lines or ['no message'])[-1].strip()}); export it to ONNX")
