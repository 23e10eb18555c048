"""OpenVINO files: an encoder and a decoder, each ``.xml`` with weights in ``.bin``, named as by optimum-intel.

They are converted from the ONNX graphs for transformers.js, with the same names of inputs and outputs, so both support
the same families. The batch is one image: OpenVINO optimises fixed shapes better, and NPUs require them; the numbers of
prompts and points stay free. The mask prompt is mandatory, as OpenVINO freezes defaults.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from onnx import ModelProto

from ....errors import ExportError
from ....ops.files import make_folder
from ...format import ExportJob
from ...manifest import Artefact, FileRecord, Tensor
from ..onnx.export import MEANINGS, decoder_graph, encoder_graph, points_scale, save
from ..onnx.plain import make_plain, silent_faults
from ..onnx.variants import Context, int8
from . import FORMAT
from .runner import core

STEMS = {"encoder": "openvino_vision_encoder", "decoder": "openvino_prompt_encoder_mask_decoder"}


def export(job: ExportJob) -> Iterator[Artefact]:
    """Export one artefact for each variant; see `format.ExportJob`.

    ``fp16`` stores weights in half precision, ``int8`` large ones in 8 bits with a scale per channel, as the ONNX file
    of that name; arithmetic on CPUs is float32, which the runner sets.
    raises: ExportError if OpenVINO refuses a graph
    """
    job.tell("openvino: encoder and decoder")
    graphs = {
        "encoder": encoder_graph(job.model),
        "decoder": decoder_graph(job.model, "transformersjs", {}, points_scale(job)),
    }
    for variant in job.variants:
        job.tell(f"openvino: {variant}")
        folder = f"openvino/{variant}"
        make_folder(job.out / folder)
        files = []
        for role, stem in STEMS.items():
            graph = int8(graphs[role], Context(role)) if variant == "int8" else graphs[role]
            make_plain(graph)
            if faults := silent_faults(graph):
                raise ExportError(f"{stem}: {faults[0].place} has {faults[0].rule.name}, and {faults[0].rule.seen}")
            facts: dict[str, Any] = {"points_scale": points_scale(job)} if role == "encoder" else {}
            files.append(written(graph, job.out, f"{folder}/{stem}", role, facts, halves=variant == "fp16"))
        yield Artefact(FORMAT.name, variant, "", files)


def written(
    graph: ModelProto, out: Path, path: str, role: str, facts: Mapping[str, Any], halves: bool = False
) -> FileRecord:
    """Convert a graph and save it as ``path``.xml and .bin below ``out``.

    halves: store float weights in half precision
    raises: ExportError
    """
    import openvino

    with TemporaryDirectory() as folder:
        file = Path(folder, "graph.onnx")
        save(graph, file)
        try:
            model = core().read_model(str(file))
            model.reshape({value.name: fixed(model.input(value.name)) for value in graph.graph.input})
            openvino.save_model(model, str(out / f"{path}.xml"), compress_to_fp16=halves)
        except RuntimeError as e:  # all that OpenVINO raises
            raise ExportError(f"OpenVINO cannot read this model ({_reason(e)}); export it to ONNX") from e
    inputs = [described(value.name, model.input(value.name)) for value in graph.graph.input]
    outputs = [described(value.name, model.output(value.name)) for value in graph.graph.output]
    return FileRecord(f"{path}.xml", role, inputs, outputs, facts=dict(facts), weights={f"{path}.bin": ""})


def fixed(port: Any) -> list[int]:
    """An input's shape for one image; numbers of prompts and points stay free."""
    sides = [side.get_length() if side.is_static else -1 for side in port.get_partial_shape()]
    return [1, *sides[1:]]


def described(name: str, port: Any) -> Tensor:
    """An input or output for the manifest; a port may have more names."""
    free = iter(("prompts", "points"))
    sides = [side.get_length() if side.is_static else next(free) for side in port.get_partial_shape()]
    kinds = {"f32": "float", "i64": "int64"}
    kind = port.get_element_type().get_type_name()
    return Tensor(name, kinds.get(kind, kind), sides, MEANINGS.get(name, ""))


def _reason(error: Exception) -> str:
    """The last meaningful line of an error message that starts with locations in the library's source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
