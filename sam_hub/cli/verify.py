"""``sam-hub verify``: checks that an exported folder is unchanged and still gives the same masks."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, Json, echo_json


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder written by `sam-hub export`.")],
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Check an exported folder: the hashes of its files, then its masks.

    The folder holds photos, prompts and PyTorch's masks for them. Every file is run on them and compared; the original
    model is not loaded, and ONNX files need neither torch nor transformers. Exit code 1 if a file or its masks differ.
    """
    from ..exporters.bundle import verify_bundle

    seen = verify_bundle(folder, tell=lambda line: typer.echo(line, err=True))
    if as_json:
        echo_json({"folder": str(folder), "artefacts": [{"name": name, **facts} for name, facts in seen]})
        return
    for name, facts in seen:
        typer.echo(
            f"{name}: as exported; mask IoU with PyTorch {facts['iou_mean']:.4f} (worst {facts['iou_worst']:.4f})"
        )
