"""Writes the page as a folder for any web server or static Space; models run in the visitor's browser."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .. import __version__
from ..errors import CheckpointError, ExportError, OutputError
from ..exporters.manifest import MANIFEST
from ..inference.runtime import DECODER, ENCODER, ONNX_FOLDER, SUFFIXES, is_onnx_folder, read_capabilities
from ..inference.thresholds import ORIGINAL
from ..ops.files import make_folder, sha256, whole_folder
from ..ops.packages import require
from ..ops.preparation import Preparation
from ..zoo import ZOO, canonical_name
from .limits import Limits
from .presets import SEARCH_PRESETS, preset_arguments
from .static_texts import HEADERS, NGINX, README, SPACE_MODELS, WEB_MANIFEST
from .web_runtime import BUILDS, runtime_files

PAGE, ALONE = (Path(__file__).parent / name for name in ("page", "alone"))
ONLY_SERVED = {
    *("server.js", "compute.js", "login.js", "login.html", "login.css", "index.html"),
    *("project.js", "project.css", "outbox.js"),
}
"""Files of the server's page that are not copied unchanged."""
VARIANTS = {"wasm": ("int8", "uint8", "int8-dynamic", "q4", "mixed", "mixed4", "fp32"), "webgpu": ("fp16", "q4f16")}
"""Variants that each build of the runtime can use, best first: small downloads for wasm, speed for webgpu."""
PRESETS = ("fast", "default")
"""Presets of everything mode; finer ones encode crops, which is too slow in a browser."""
PRIVACY = "Photos never leave this device: the model runs in your browser."
HOLDS_PREPARATION = ("longest", "padded", "frame", "resize_mode", "resample", "mean", "std", "rescale_factor")

Tell = Callable[[str], None]


def write_static(
    folder: Path, models: Sequence[str], runtime: Path | None = None, tell: Tell = lambda line: None
) -> list[Path]:
    """Write the folder, whole or not at all; returns the files in its root.

    models: names as for `SamModel.from_pretrained`, which are exported to ONNX with int8 weights, or folders in the
        layout of transformers.js, such as from ``sam-hub export``; the default first
    runtime: see `runtime_files`
    raises: OutputError if the folder is not empty or the runtime is unavailable; CheckpointError for a folder that the
        page cannot run; errors of exporting
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is not an empty folder; choose another one")
    runtimes = runtime_files(runtime, tell)
    with whole_folder(folder) as aside:
        offered = [_add_model(aside, name, tell) for name in dict.fromkeys(models)]
        builds = ["wasm", *(["webgpu"] if any("webgpu" in m["variants"] for m in offered) else [])]
        _copy_page(aside)
        (aside / "runtime").mkdir()
        for build in builds:
            for name in BUILDS[build].files().values():
                shutil.copyfile(runtimes[name], aside / "runtime" / name)
        facts = {
            "about": about(offered),
            "models": offered,
            "runtime": {build: _record_build(aside, build) for build in builds},
        }
        (aside / "app.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        _write_texts(aside, offered)
        _write_service_worker(aside)
    return sorted(path for path in folder.iterdir() if path.is_file())


def about(offered: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The answer to the page's first request, as from `SegmentationService.facts`."""
    limits = Limits()
    return {
        "version": __version__,
        "privacy": PRIVACY,
        "models": [{k: m[k] for k in ("name", "good_for", "params", "license", "bytes")} for m in offered],
        "default": offered[0]["name"],
        "searches": [{"name": name, "words": SEARCH_PRESETS[name]} for name in PRESETS],
        "limits": {k: getattr(limits, k) for k in ("upload_bytes", "pixels", "points", "strokes", "objects")},
    }


def _add_model(aside: Path, name: str, tell: Tell) -> dict[str, Any]:
    """Copy the files of a model into ``models/``; returns its entry of app.json."""
    source = Path(name)
    if source.is_dir() and is_onnx_folder(source):
        exported = _exported_name(source)
        name = exported if exported and not (aside / "models" / _safe(exported)).exists() else source.resolve().name
        return _copy_model(aside, source, name)
    key = canonical_name(name)
    from ..exporters.bundle import check_installed, export_bundle

    check_installed("onnx")
    with TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        export_bundle(name, bundle, {"onnx": ["int8"]}, {"layouts": ("transformersjs",)}, tell=tell)
        return _copy_model(aside, bundle, key or source.name)


def _copy_model(aside: Path, source: Path, name: str) -> dict[str, Any]:
    try:
        preparation = Preparation.read(source)
    except (OSError, ValueError) as e:
        raise CheckpointError(f"{source} has no usable preprocessor_config.json ({e}); export the model again") from e
    capabilities, config = read_capabilities(source), _read_json(source / "config.json")
    ours = "sam_hub_version" in config
    place = aside / "models" / _safe(name)
    variants = {}
    for build, wanted in VARIANTS.items():
        variant = next(
            (v for v in wanted if all(_part(source, part, v).is_file() for part in (ENCODER, DECODER))), None
        )
        if variant is None:
            continue
        files = {}
        for role, part in (("encoder", ENCODER), ("decoder", DECODER)):
            path = _part(source, part, variant)
            make_folder(place)
            target = place / path.name
            _copy_part(path, target, role)
            files[role] = _record(aside, target)
        variants[build] = {"variant": variant, **files}
    if "wasm" not in variants:
        there = ", ".join(VARIANTS["wasm"])
        raise CheckpointError(f"{source} has no file that browsers run without a GPU; export one of {there}")
    facts = asdict(preparation)
    row = ZOO.get(canonical_name(_exported_name(source)) or canonical_name(name) or "")
    return {
        "name": name,
        "good_for": row.good_for if row else "",
        "params": row.params if row else 0,
        "license": row.license if row else "",
        "bytes": sum(variants["wasm"][role]["bytes"] for role in ("encoder", "decoder")),
        "prompts": list(capabilities.prompt_kinds) if ours else ["points"],
        "tidy": capabilities.tidy,
        "preparation": {
            **{k: facts[k] for k in (*HOLDS_PREPARATION, "do_min_max", "mask_resize", "do_resize")},
            "padded_frame": preparation.padded_frame if preparation.padded else None,
        },
        "low_res": _read_json(source / MANIFEST).get("low_res") or preparation.padded_frame[0] // 4,
        "searches": {preset: _search(capabilities, preset) for preset in PRESETS},
        "variants": variants,
    }


def _copy_part(path: Path, target: Path, role: str) -> None:
    if role == "encoder":
        shutil.copyfile(path, target)
        return
    require("the page", ["onnx"], "onnx")
    from ..exporters.formats.onnx.inputs import copy_with_required_inputs

    copy_with_required_inputs(path, target)


def _search(capabilities: Any, preset: str) -> dict[str, Any]:
    """All generator arguments that the page's everything mode reads."""
    usual = {**ORIGINAL, "points_per_side": 32, "box_nms_thresh": 0.7, "crop_nms_thresh": 0.7}
    return {**usual, **preset_arguments(capabilities.encoder, preset)}


def _copy_page(aside: Path) -> None:
    for source in (PAGE, ALONE):
        for path in sorted(source.iterdir()):
            if path.is_file() and path.name not in ONLY_SERVED | {"sw.js"}:
                make_folder(aside / source.name)
                shutil.copyfile(path, aside / source.name / path.name)
    shutil.copyfile(ALONE / "compute.js", aside / "page" / "compute.js")
    index = (PAGE / "index.html").read_text("utf-8")
    if index.count("</title>") != 1:
        raise ExportError("the page of the package has changed; install sam-hub again")
    (aside / "index.html").write_text(index.replace("</title>", f"</title>\n{HEADERS}"), "utf-8")


def _write_texts(aside: Path, offered: Sequence[Mapping[str, Any]]) -> None:
    texts = {
        "manifest.webmanifest": json.dumps(WEB_MANIFEST, indent=1) + "\n",
        "README.md": README.format(
            version=__version__,
            list="\n".join(SPACE_MODELS.format(**m, megabytes=f"{m['bytes'] / 2**20:.1f}") for m in offered),
        ),
        "nginx.conf": NGINX,
        ".gitattributes": "".join(f"*.{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in ("onnx", "wasm")),
    }
    for name, text in texts.items():
        (aside / name).write_text(text, "utf-8")


def _write_service_worker(aside: Path) -> None:
    """Write sw.js with the list of files to cache; the page caches runtime and models itself when it loads them."""
    kept = [p for p in sorted(aside.rglob("*")) if p.is_file() and p.suffix in (".js", ".mjs", ".css", ".html", ".svg")]
    kept += [*sorted(aside.glob("page/*.jpg")), aside / "app.json", aside / "manifest.webmanifest"]
    names = [path.relative_to(aside).as_posix() for path in kept]
    names = [
        "./",
        *(name for name in names if name != "index.html" and "webgpu" not in name and "asyncify" not in name),
    ]
    digest = hashlib.sha256("".join(sha256(path) for path in kept).encode()).hexdigest()[:16]
    worker = (ALONE / "sw.js").read_text("utf-8")
    worker = worker.replace("@VERSION@", digest).replace('["@FILES@"]', json.dumps(names))
    (aside / "sw.js").write_text(worker, "utf-8")


def _record_build(aside: Path, build: str) -> dict[str, Any]:
    return {role: _record(aside, aside / "runtime" / name) for role, name in BUILDS[build].files().items()}


def _record(aside: Path, path: Path) -> dict[str, Any]:
    return {"file": path.relative_to(aside).as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)}


def _part(source: Path, part: str, variant: str) -> Path:
    return source / ONNX_FOLDER / f"{part}{SUFFIXES[variant]}.onnx"


def _exported_name(source: Path) -> str:
    """The model's name in an export's manifest, or ""."""
    name = _read_json(source / MANIFEST).get("model")
    return name if isinstance(name, str) else ""


def _safe(name: str) -> str:
    """A model's name as a safe folder name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "model"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
