"""Writes a folder that runs as a Hugging Face Space.

sam-hub is not on PyPI, so the folder holds a copy of the package next to ``app.py``; ``requirements.txt`` pins its
dependencies to the versions installed here.
"""

import shutil
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from .. import __version__
from ..errors import OutputError
from ..ops.files import make_folder, write_atomically
from ..zoo import ZOO, canonical_name

PACKAGES = ("sam_hub", "sam_hub.exporters", "sam_hub.demo")
"""Packages to copy; in a checkout, the second and third are outside the first."""
EXTRAS = ("", "demo", "mcp")
PYTHON = "3.11"
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"

APP = '''"""The web page of sam-hub, as a Space."""

import os

from sam_hub.demo.app import main

main(models={models!r}, host="0.0.0.0", port=int(os.environ.get("PORT", 7860)), mcp=True)
'''

README = """---
title: sam-hub
emoji: ✂️
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: {gradio}
python_version: "{python}"
app_file: app.py
license: apache-2.0
short_description: Point at things in photos and cut them out
suggested_hardware: cpu-basic
models: {models}
preload_from_hub: {preload}
---

# sam-hub

Segment anything in the browser: clicks, boxes, a brush, everything mode, exports. Programs can call `encode`,
`segment` and `everything` with `gradio_client`, and language models over MCP at `/gradio_api/mcp/`.

`sam_hub/` is a copy of the package (version {version}), which is not on PyPI. Written by `sam-hub demo --space`.
"""


def write_space(folder: Path, models: Sequence[str]) -> list[Path]:
    """Write the folder; returns the files in its root.

    models: catalogue names or Hub ids, the default first
    raises: OutputError if the folder is not empty, or if a model is a local file
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} is not an empty folder; choose another one")
    for name in models:
        if canonical_name(name) is None and Path(name).exists():
            raise OutputError(f"{name} exists only on this machine; upload it to the Hub and give its id")
    make_folder(folder)
    for package in PACKAGES:
        source = Path(import_module(package).__path__[0])
        inside = {"sam_hub": ("demo", "exporters")}.get(package, ())
        shutil.copytree(
            source,
            folder.joinpath(*package.split(".")),
            ignore=lambda at, names, top=source, inside=inside: [
                n for n in names if n == "__pycache__" or (Path(at) == top and n in inside)
            ],
        )
    repos = [ZOO[key].repo if (key := canonical_name(name)) else name for name in models]
    repos = [repo for repo in repos if repo]
    files = {
        "app.py": APP.format(models=list(models)),
        "requirements.txt": requirements(),
        ".gitattributes": "*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": README.format(
            gradio=version("gradio"), python=PYTHON, models=repos, preload=repos, version=__version__
        ),
    }
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    return [folder / name for name in files]


def requirements() -> str:
    """Pinned dependencies of the package and its page, with the CPU build of torch, a tenth of the size."""
    wanted = {"gradio": {"mcp"}}
    for text in requires("sam-hub") or []:
        requirement = Requirement(text)
        if requirement.name == "sam-hub":
            continue
        if any(not requirement.marker or requirement.marker.evaluate({"extra": extra}) for extra in EXTRAS):
            wanted.setdefault(requirement.name, set()).update(requirement.extras)
    lines = [
        f"{name}{'[' + ','.join(sorted(extras)) + ']' if extras else ''}=={version(name).partition('+')[0]}"
        for name, extras in sorted(wanted.items())
    ]
    return "\n".join([f"--extra-index-url {CPU_WHEELS}", *lines, ""])
