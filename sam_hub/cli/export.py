"""``sam-hub export``: files for phones, browsers and servers, each verified before it is kept."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import ExportError, WrongUsage
from .options import Debug, Json, echo_json, echo_path

if TYPE_CHECKING:
    from ..exporters.manifest import Artefact


class Layout(StrEnum):
    transformersjs = "transformersjs"
    meta = "meta"
    anylabeling = "anylabeling"
    cvat = "cvat"


class Masks(StrEnum):
    multi = "multi"
    single = "single"
    all = "all"


def _print_formats(wanted: bool) -> None:
    """Print the formats with their variants, and the presets."""
    if not wanted:
        return
    from ..exporters.formats import FORMATS
    from ..exporters.presets import PRESETS

    for name, format in FORMATS.items():
        typer.echo(f"{name}: {format.title}, {format.purpose}; variants {', '.join(format.variants)}")
    for device, preset in PRESETS.items():
        parts = " and ".join(f"{name} {', '.join(variants)}" for name, variants in preset.wanted.items())
        typer.echo(f"--preset {device}: {parts}")
    raise typer.Exit


def export(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A name from `sam-hub zoo`, a folder, a checkpoint or a Hub id."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder for the bundle; new or empty.")],
    formats: Annotated[
        list[str],
        typer.Option("--format", "-f", metavar="FORMAT", help="One of --formats, or all that are installed."),
    ] = [],  # noqa: B006 typer reads it, nobody writes to it
    variants: Annotated[
        list[str],
        typer.Option("--variant", "-v", metavar="VARIANT", help="fp32, fp16, int8, mixed, ...; repeat for several."),
    ] = [],  # noqa: B006
    layouts: Annotated[
        list[Layout],
        typer.Option(
            "--layout",
            metavar="LAYOUT",
            help="ONNX: for which clients: transformersjs (default), meta, anylabeling or cvat; repeatable.",
        ),
    ] = [],  # noqa: B006
    preset: Annotated[
        str | None, typer.Option("--preset", metavar="DEVICE", help="Format and variant for a device; see --formats.")
    ] = None,
    masks: Annotated[
        Masks, typer.Option("--masks", help="Meta layout: three masks, the best one, or all four.")
    ] = Masks.multi,
    stability: Annotated[bool, typer.Option("--stability", help="Meta layout: also output stability scores.")] = False,
    upscale: Annotated[bool, typer.Option(help="Meta layout: the graph resizes masks to the image size.")] = True,
    grey_levels: Annotated[
        bool, typer.Option("--grey-levels", help="ONNX: the encoder takes a resized uint8 image and normalises it.")
    ] = False,
    opset: Annotated[
        int | None, typer.Option("--opset", min=18, metavar="N", help="ONNX: operator set; default 18.")
    ] = None,
    true_inputs: Annotated[
        bool,
        typer.Option(
            "--true-inputs",
            help="ONNX: make the mask prompt a required input, for OpenVINO and onnxslim, which freeze its default.",
        ),
    ] = False,
    slots: Annotated[
        int | None, typer.Option("--slots", min=2, help="Core ML, ExecuTorch and LiteRT: maximum points per prompt.")
    ] = None,
    photos: Annotated[
        list[Path],
        typer.Option("--photo", metavar="IMAGE", help="Also compare files on this photo.", readable=False),
    ] = [],  # noqa: B006
    calibration: Annotated[
        list[Path],
        typer.Option(
            "--calibration",
            metavar="IMAGE",
            help="Photos to calibrate with: mixed, int8-static (ONNX), int8 (ExecuTorch).",
            readable=False,
        ),
    ] = [],  # noqa: B006
    web: Annotated[
        bool,
        typer.Option("--web", help="Also write web/, the page of `sam-hub demo --static` with this model (ONNX)."),
    ] = False,
    runtime: Annotated[
        Path | None,
        typer.Option(
            "--runtime", metavar="PATH", help="With --web: onnxruntime-web as a .tgz or a folder; see `sam-hub demo`."
        ),
    ] = None,
    list_formats: Annotated[
        bool, typer.Option("--formats", callback=_print_formats, is_eager=True, help="List formats and presets.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Export a model for phones, browsers and servers.

    \b
    sam-hub export pocket --out pocket-web --preset browser
    sam-hub export pocket --out pocket-onnx --format onnx --variant fp32 --variant int8
    sam-hub export pocket --out pocket-demo --layout meta --masks single
    sam-hub export mobile-sam --out mobile --format all

    Encoder and decoder are separate files, so that a click does not encode the photo again. Every file is run and
    compared with PyTorch in fp32, on photos and prompts of several kinds; export.json in the folder has the results.
    If a file differs too much, the export fails and writes nothing. `sam-hub verify DIR` repeats the comparison;
    `sam-hub segment --model DIR` uses the exported files.
    """
    from ..exporters.bundle import export_bundle
    from ..models.quiet import quiet_transformers

    if runtime is not None and not web:
        raise WrongUsage("--runtime needs --web; for example --web --runtime onnxruntime-web.tgz")
    quiet_transformers()
    wanted, options = _chosen(formats, variants, preset)
    given = {
        "layouts": tuple(dict.fromkeys(layout.value for layout in layouts)),
        "masks": "" if masks is Masks.multi else masks.value,
        "stability": stability,
        "grey_levels": grey_levels,
        "true_inputs": true_inputs,
        "opset": opset,
        "slots": slots,
    }
    options |= {name: value for name, value in given.items() if value} | ({} if upscale else {"upscale": False})
    _check(options, wanted, calibration)
    tell = partial(typer.echo, err=True)
    finish = page_writer(wanted, options, runtime, tell) if web else None
    manifest = export_bundle(model, out, wanted, options, photos, calibration, tell=tell, finish=finish)
    if as_json:
        from dataclasses import asdict

        echo_json({"out": str(out), **asdict(manifest)})
    else:
        for artefact in manifest.artefacts:
            typer.echo(_facts(artefact), err=True)
        echo_path(out)


def _chosen(
    formats: list[str], variants: list[str], preset: str | None
) -> tuple[dict[str, tuple[str, ...]], dict[str, Any]]:
    """The chosen variants of each format, and the options of a preset. raises: WrongUsage"""
    from ..exporters.formats import default_format
    from ..exporters.presets import PRESETS

    if preset is None:
        return plan(formats or [default_format().name], variants), {}
    chosen = PRESETS[_choose("--preset", preset, PRESETS)]
    typer.echo(f"{preset}: {chosen.why}.\nMeasured: {chosen.measured}.", err=True)
    if formats or variants:
        raise WrongUsage("--preset sets format and variant; give either --preset, or --format and --variant")
    return {format: tuple(names) for format, names in chosen.wanted.items()}, dict(chosen.options)


def _check(options: Mapping[str, Any], wanted: Mapping[str, Sequence[str]], calibration: Sequence[Path]) -> None:
    """raises: WrongUsage for an option that would have no effect"""
    from ..exporters.bundle import check_options

    flags = {"layouts": "--layout", "upscale": "--no-upscale"}
    names = [*options, *(["calibration"] if calibration else [])]
    try:
        check_options(names, wanted, lambda name: flags.get(name, "--" + name.replace("_", "-")))
    except ExportError as e:
        raise WrongUsage(str(e)) from e
    for name in ("masks", "stability", "upscale"):
        if name in options and "meta" not in options.get("layouts", ()):
            raise WrongUsage(f"{flags.get(name, '--' + name)} is for the meta layout; add --layout meta")


def _facts(artefact: "Artefact") -> str:
    size = sum(record.bytes for record in artefact.files) / 1e6
    mean, worst = artefact.gate["iou_mean"], artefact.gate["iou_worst"]
    return f"{artefact.name}: {size:.1f} MB, mask IoU to PyTorch {mean:.4f} (worst {worst:.4f})"


def page_writer(
    wanted: Mapping[str, Sequence[str]], options: Mapping[str, Any], runtime: Path | None, tell: Callable[[str], None]
) -> Callable[[Path], object]:
    """A function that adds ``web/`` to a bundle. Requirements are checked now, before minutes of exporting.

    raises: WrongUsage if no exported file runs in a browser; OutputError without a runtime
    """
    from ..demo.static_page import VARIANTS, write_static
    from ..demo.web_runtime import runtime_files
    from ..exporters.formats import FORMATS

    if "transformersjs" not in options.get("layouts", ("transformersjs",)):
        raise WrongUsage("--web needs the layout of transformers.js; add --layout transformersjs")
    there = {variant for name, variants in wanted.items() if FORMATS[name].place == "browser" for variant in variants}
    if not any(FORMATS[name].place == "browser" for name in wanted):
        raise WrongUsage("--web needs ONNX files; add --format onnx")
    if not there & set(VARIANTS["wasm"]):
        raise WrongUsage(f"--web needs ONNX files that browsers run; add --variant {' or '.join(VARIANTS['wasm'])}")
    runtime_files(runtime, tell)
    return lambda folder: write_static(folder / "web", [str(folder)], runtime, tell)


NOT_MADE = {
    "tflite": "TensorFlow Lite is now LiteRT; use --format litert",
    "tensorrt": "TensorRT builds engines on the device itself; use --preset jetson, and trtexec there",
    "opencv": "OpenCV's dnn module reads fp32 ONNX files; use --format onnx --variant fp32",
}
"""Formats that people ask for but that do not exist here, and what to use instead."""


def plan(formats: list[str], variants: list[str]) -> dict[str, tuple[str, ...]]:
    """Format -> variants. raises: WrongUsage for an unknown name, or a format with none of the variants"""
    from ..exporters.formats import FORMATS

    if "all" in formats:
        formats = installed()
    formats = [_choose("--format", format, [*FORMATS, "all"]) for format in dict.fromkeys(formats)]
    known = dict.fromkeys(variant for format in formats for variant in FORMATS[format].variants)
    variants = [_choose("--variant", variant, known) for variant in dict.fromkeys(variants)]
    wanted = {}
    for format in formats:
        there = FORMATS[format]
        wanted[format] = tuple(v for v in variants if v in there.variants) if variants else there.default
        if not wanted[format]:
            raise WrongUsage(f"{format} has no variant {' or '.join(variants)}; it has {', '.join(there.variants)}")
    return wanted


def installed() -> list[str]:
    """The formats that can be exported here; reports what the others need."""
    from ..exporters.bundle import check_installed
    from ..exporters.formats import FORMATS

    found = []
    for name in FORMATS:
        try:
            check_installed(name)
            found.append(name)
        except ExportError as e:
            typer.echo(f"left out: {e}", err=True)
    return found


def _choose(option: str, name: str, choices: Any) -> str:
    """The name, if it is one of the choices. raises: WrongUsage with the nearest choice"""
    if name in choices:
        return name
    if option == "--format" and name.lower() in NOT_MADE:
        raise WrongUsage(f"{option} {name}: {NOT_MADE[name.lower()]}")
    near = difflib.get_close_matches(name, list(choices), n=1)
    hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(choices)}"
    raise WrongUsage(f"{option} {name} is unknown; {hint}")
