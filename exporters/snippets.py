"""Example programs for a bundle in Swift, Python and Kotlin, from templates filled with the files' names.

``@encoder.path@`` is a file of the manifest by its role, ``@encoder.file@`` its name without folders,
``@decoder.in.names@`` a list of the names of its inputs, ``@decoder.in.points@`` an input of it, which must be there,
``@decoder.in.points.shape@`` its sides,
``@decoder.in.0.name@`` its name by position, ``@decoder.out.scores.index@`` the position of an output; names in
capitals are settings of the bundle, ``@tools.torch@`` is the version of a tool.
"""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..ops.files import make_folder, write_atomically
from ..ops.preparation import Preparation
from .format import Format
from .formats import FORMATS
from .manifest import Artefact, BundleError, FileRecord, Manifest, Tensor

SHARED = Path(__file__).parent / "templates"


def write_snippets(folder: Path, manifest: Manifest, preparation: Preparation) -> list[str]:
    """Write the snippets of every format in the bundle; returns their paths in it.

    Omitted if a template does not fit the files: an encoder that takes grey levels.
    """
    written = []
    for format in FORMATS.values():
        for snippet in format.snippets:
            artefact = chosen(manifest, format, snippet.layout)
            if artefact is None or snippet.path in written:
                continue
            settings = settings_of(manifest, artefact, preparation)
            templates = SHARED if snippet.shared else format.folder / "templates"
            template = (templates / snippet.template).read_text("utf-8")
            try:
                text = filled(template, artefact, settings)
            except BundleError:
                continue
            make_folder((folder / snippet.path).parent)
            write_atomically(folder / snippet.path, text.encode())
            written.append(snippet.path)
    return written


def chosen(manifest: Manifest, format: Format, layout: str) -> Artefact | None:
    """The artefact that a snippet uses."""
    there = [a for a in manifest.artefacts if a.format == format.name and a.layout == layout]
    order = format.preferred
    return min(there, key=lambda a: order.index(a.variant) if a.variant in order else len(order), default=None)


def settings_of(manifest: Manifest, artefact: Artefact, preparation: Preparation) -> dict[str, str]:
    """The names in capitals."""
    facts = {key: value for record in artefact.files for key, value in record.facts.items()}
    grey = [[v / preparation.rescale_factor for v in values] for values in (preparation.mean, preparation.std)]
    tools = {f"tools.{name}": version.split("+")[0] for name, version in manifest.tools.items()}
    return {
        **tools,
        "MODEL": re.sub(r"[^\w.-]", "-", manifest.model),
        "SIDE": str(preparation.longest),
        "FRAME": str(manifest.frame),
        "LOW_RES": str(manifest.low_res),
        "SLOTS": str(facts.get("slots", "")),
        "FILL": ", ".join(map(str, facts.get("fill", ()))),
        "MEAN": ", ".join(f"{v:.6g}f" for v in grey[0]),
        "DEVIATION": ", ".join(f"{v:.6g}f" for v in grey[1]),
        "MEAN_LEVELS": ", ".join(f"{v:.6g}" for v in grey[0]),
        "DEVIATION_LEVELS": ", ".join(f"{v:.6g}" for v in grey[1]),
        "STRETCH": str(preparation.resize_mode != "longest_side"),
        "MIN_MAX": str(preparation.do_min_max).lower(),
        "STRETCHES": str(preparation.resize_mode != "longest_side").lower(),
        "RESAMPLE": str(int(preparation.resample)),
    }


def filled(template: str, artefact: Artefact, settings: Mapping[str, str]) -> str:
    """raises: BundleError"""
    return re.sub(r"@([\w.-]+)@", lambda match: _value(match[1], artefact, settings), template)


def _value(key: str, artefact: Artefact, settings: Mapping[str, str]) -> str:
    if key in settings:
        return settings[key]
    role, _, rest = key.partition(".")
    record = artefact.file(role)
    if rest in ("path", "file"):
        return record.path if rest == "path" else PurePosixPath(record.path).name
    side, name, *more = rest.split(".")
    if name == "names":
        return str([tensor.name for tensor in (record.inputs if side == "in" else record.outputs)])
    at, tensor = _find(record, record.inputs if side == "in" else record.outputs, name)
    facts: dict[str, Any] = {"name": tensor.name, "index": at, "shape": ", ".join(map(str, tensor.shape))}
    return str(facts[more[0] if more else "name"])


def _find(record: FileRecord, tensors: list[Tensor], name: str) -> tuple[int, Tensor]:
    """An input or output by its name or position."""
    for at, tensor in enumerate(tensors):
        if name in (tensor.name, str(at)):
            return at, tensor
    raise BundleError(f"{record.path} has no {name}; it has {', '.join(t.name for t in tensors)}")
