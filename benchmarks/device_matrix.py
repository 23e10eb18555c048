"""Every family x format x layout on the installed runtimes: the table in docs/devices.md.

    python benchmarks/device_matrix.py [--family sam2] [--format onnx] [--python old/bin/python ...] [--write]

A tiny random model of each family is exported, and each file is run and compared with PyTorch, as by `sam-hub export`;
refusals are quoted. Interpreters given by ``--python`` (with numpy and one of onnxruntime, openvino and OpenCV) run the
ONNX files too. Results are kept in ``--cells``: a second run continues, and one in another environment (such as
LiteRT's) adds its own. ``--write`` puts the table into docs/devices.md.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import torch
from runtimes import RUN, write_cases
from sam_hub.exporters.bundle import check_installed, export_bundle
from sam_hub.exporters.formats import FORMATS
from sam_hub.exporters.formats.onnx import export as onnx_export
from sam_hub.exporters.formats.onnx.tools import TOOLS
from sam_hub.exporters.formats.openvino import export as openvino_export
from sam_hub.exporters.gate import ExportMismatch
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof
from torch import nn

from sam_hub.errors import SamHubError
from sam_hub.families import registry
from sam_hub.families.family import Family
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.fine_decoder import with_fine_features
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.files import write_atomically

DOCS = Path(__file__).resolve().parents[1] / "docs" / "devices.md"
START, END = "<!-- matrix: written by benchmarks/device_matrix.py -->\n", "<!-- /matrix -->\n"
SIDE, WIDTH = 192, 64
LAYOUTS = {"onnx": tuple(onnx_export.LAYOUTS)}
TOOL_SIDE, TOOL_WIDTH = 1024, 256
"""Sizes that annotation tools hard-code."""
SEEDS = 3
FAULT = "something went wrong inside"
LIMIT = 1e-3
"""Largest accepted fp32 difference from this onnxruntime, relative to an output's largest value."""


def tiny_model(family: Family, seed: int = 0, side: int = SIDE, width: int = WIDTH) -> SamModel:
    """A model in a family's declared tiny configuration, or its first catalogue entry shrunk, with random gains,
    biases, tables and statistics, so that zeros and ones hide no errors. A family's own sizes stay."""
    first = next(iter(family.catalogue.values())).config
    kind = first.get("vision_config", {}).get("model_type", "sam_vision_model")
    encoder = {"model_type": kind, **registry.part("encoder", kind).tiny}
    given: dict[str, Mapping[str, Any]] = dict(family.tiny)
    prompts = {k: v for k, v in first.get("prompt_encoder_config", {}).items() if k == "prompt_kinds"}
    config = SamConfig(
        vision_config={"output_channels": width, "image_size": side, **given.get("vision_config", encoder)},
        prompt_encoder_config={
            "hidden_size": width,
            "image_size": side,
            **prompts,
            **given.get("prompt_encoder_config", {}),
        },
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": 48,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 28,
            **given.get("mask_decoder_config", {}),
            "num_hidden_layers": 1,
        },
    )
    model, generator = SamModel(config), torch.Generator().manual_seed(seed)
    if first.get("vision_config", {}).get("output_fine_features"):
        model = with_fine_features(model)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if value.dim() == 1:
                value.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * noise)
            elif any(p in name for p in ("_embed", "_token.", "_tokens.", "rel_pos", "positional", "attention_biases")):
                value.copy_(0.6 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    settle(model, side, generator)
    return model.eval()


@torch.no_grad()
def settle(model: SamModel, side: int, generator: torch.Generator) -> None:
    """Set the statistics of batch normalisation near those of its inputs, as in a trained model.

    With any others, values grow from layer to layer until float32 cannot hold their differences.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = 1.0
    model.train()
    model.encode(torch.randn(2, 3, side, side, generator=generator))
    for norm in norms:
        noise = torch.randn(2, norm.num_features, generator=generator)
        norm.running_mean += 0.2 * noise[0] * norm.running_var.sqrt()
        norm.running_var *= (0.2 * noise[1]).exp()


def tiny_processor(family: Family, model: SamModel) -> SamImageProcessor:
    """The family's processor, at the tiny size."""
    processor = SamImageProcessor.for_config(model.config)
    settings = next(iter(family.catalogue.values())).config.get("preprocessing", {})
    for name in ("resize_mode", "resample", "do_min_max", "mask_resize"):
        if name in settings:
            setattr(processor, name, settings[name])
    return processor


@contextmanager
def graphs_kept() -> Iterator[None]:
    """Context in which a model's ONNX graphs are traced once for all formats and layouts."""
    kept: dict[Any, onnx.ModelProto] = {}

    def keeping(trace: Callable[..., onnx.ModelProto]) -> Callable[..., onnx.ModelProto]:
        def copied(model: SamModel, *arguments: Any) -> onnx.ModelProto:
            plain = [(a.get("masks"), a.get("stability")) if isinstance(a, dict) else a for a in arguments]
            if "transformersjs" in plain:
                plain.pop(1)  # no option changes this decoder
            key = (trace.__name__, id(model), repr(plain))
            if key not in kept:
                kept[key] = trace(model, *arguments)
            copy = onnx.ModelProto()
            copy.CopyFrom(kept[key])
            return copy

        return copied

    with ExitStack() as stack:
        for name in ("encoder_graph", "decoder_graph"):
            kept_trace = keeping(getattr(onnx_export, name))
            for module in (onnx_export, openvino_export):
                stack.enter_context(patch.object(module, name, kept_trace))
        yield


@cache
def tiny_pair(name: str, seed: int, side: int, width: int) -> dict[str, Any]:
    family = next(family for family in registry.built_in() if family.name == name)
    model = tiny_model(family, seed, side, width).fuse()
    return {"model": model, "processor": tiny_processor(family, model)}


def rows() -> Iterator[tuple[str, str]]:
    """Format and layout of every row of files."""
    for name in FORMATS:
        yield from ((name, layout) for layout in LAYOUTS.get(name, ("",)))


def export_one(family: Family, format: str, layout: str, out: Path) -> dict[str, str]:
    """Runtime -> "proven" or its message; the key "" if nothing ran it.

    In a tiny mask, one pixel with a logit near 0 can exceed the tolerance: if the logits agree, the next of a few
    random models is tried.
    """
    try:
        check_installed(format)
    except SamHubError:
        return {}
    options: dict[str, Any] = {"layouts": (layout,)} if layout else {}
    if "slots" in FORMATS[format].options:
        options["slots"] = 8
    sizes = (TOOL_SIDE, TOOL_WIDTH) if layout in TOOLS else (SIDE, WIDTH)
    for seed in range(SEEDS):
        try:
            export_bundle(family.name, out, {format: ("fp32",)}, options, **tiny_pair(family.name, seed, *sizes))
            return dict.fromkeys(Manifest.read(out).artefacts[0].files[0].proven, "proven")
        except ExportMismatch as e:
            found = {"": f"differs: {e}"}
            if "logits differ" in str(e):
                break
        except SamHubError as e:
            return {"": f"refused: {e}"}
        except Exception as e:  # a bug of ours: fix it, or refuse the case
            return {"": f"{FAULT}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"}
    return found


def run_elsewhere(python: Path, bundle: Path) -> dict[str, str]:
    """Run a bundle's ONNX files (transformers.js layout) elsewhere: runtime -> "proven" or the difference."""
    manifest, proof = Manifest.read(bundle), Proof.load(bundle)
    with tempfile.TemporaryDirectory() as folder:
        cases = write_cases(bundle, manifest.artefacts[0], proof, Path(folder))
        done = subprocess.run([python, "-c", RUN], input=json.dumps(cases), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    runtime, found = json.loads(done.stdout.splitlines()[-1])
    for file, value in found.items():
        if isinstance(value, str):
            return {runtime: f"refused: {Path(file).name}: {value}"}
        if not value <= LIMIT:  # NaN lands here
            return {runtime: f"differs by {value:.1g} in {Path(file).name}"}
    return {runtime: "proven"}


def table(cells: Mapping[str, Mapping[str, str]]) -> str:
    """A row for each family, a column for each format and layout; refusals as notes below."""
    families = [family.name for family in registry.built_in()]
    columns = list(rows())
    seen: dict[tuple[str, str], list[str]] = {}
    for column in columns:
        found = [cells.get(key(family, *column), {}) for family in families]
        seen[column] = list(dict.fromkeys(runtime for cell in found for runtime in cell if runtime))
    notes: list[str] = []

    def cell(family: str, column: tuple[str, str]) -> str:
        found = cells.get(key(family, *column))
        if not found:
            return "untried"
        proven = [runtime for runtime, verdict in found.items() if verdict == "proven"]
        words = ["proven"] if proven and proven == seen[column] else [f"proven on {runtime}" for runtime in proven]
        for runtime, verdict in found.items():
            if verdict != "proven":
                notes.extend([verdict] * (verdict not in notes))
                words.append(f"{runtime or 'refused'} [{notes.index(verdict) + 1}]")
        return ", ".join(words)

    body = [[family, *(cell(family, column) for column in columns)] for family in families]
    titles = ["family", *(f"{FORMATS[name].title}{f', {layout}' if layout else ''}" for name, layout in columns)]
    lines = ["| " + " | ".join(row) + " |" for row in (titles, ["---"] * len(titles), *body)]
    lines += ["", 'Runtimes that ran the files of a column, all of them where a cell says "proven":', ""]
    for (name, layout), runtimes in seen.items():
        there = ", ".join(r for r in runtimes if r) or "none here"
        lines.append(f"- {FORMATS[name].title}{f', {layout}' if layout else ''}: {there}")
    if notes:
        lines += ["", *(f"{i}. {note}" for i, note in enumerate(notes, 1))]
    return "\n".join(lines) + "\n"


def key(family: str, format: str, layout: str) -> str:
    return f"{family} {format} {layout}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", action="append", help="by default all")
    parser.add_argument("--format", action="append", help="by default all that are installed here")
    parser.add_argument("--python", action="append", type=Path, default=[], help="another environment's interpreter")
    parser.add_argument("--cells", type=Path, default=Path("out/device_matrix.json"))
    parser.add_argument("--write", action="store_true", help="put the table into docs/devices.md")
    arguments = parser.parse_args()
    cells = json.loads(arguments.cells.read_text()) if arguments.cells.is_file() else {}
    for family in registry.built_in():
        for format, layout in rows():
            wanted = (arguments.family or [family.name], arguments.format or [format])
            name = key(family.name, format, layout)
            if family.name not in wanted[0] or format not in wanted[1] or name in cells:
                continue
            with tempfile.TemporaryDirectory() as folder:
                found = export_one(family, format, layout, Path(folder, "bundle"))
                if layout == "transformersjs" and "" not in found:
                    for python in arguments.python:
                        found |= run_elsewhere(python, Path(folder, "bundle"))
            if found:
                cells[name] = found
                arguments.cells.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(arguments.cells, (json.dumps(cells, indent=2) + "\n").encode())
                print(name, found, flush=True)
    if faults := [name for name, found in cells.items() if FAULT in str(found)]:
        sys.exit(f"{FAULT} in {', '.join(faults)}")
    if arguments.write:
        head, rest = DOCS.read_text("utf-8").split(START)
        DOCS.write_text(head + START + table(cells) + END + rest.split(END)[1], encoding="utf-8")
    else:
        print(table(cells))


if __name__ == "__main__":
    with graphs_kept():
        main()
