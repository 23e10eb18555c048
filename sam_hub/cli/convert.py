"""``sam-hub convert``: between the layouts of the original projects and ours."""

from pathlib import Path
from typing import Annotated

import typer

from .options import Debug, echo_path


def convert(
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="A checkpoint, a folder or a name from `sam-hub zoo`.")
    ],
    to: Annotated[
        Path,
        typer.Option("--to", metavar="PATH", help="A new folder, or a new .pth file in the authors' layout."),
    ],
    debug: Debug = False,
) -> None:
    """Convert a checkpoint to a folder for from_pretrained, or a folder back to the authors' file.

    The folder holds safetensors, configuration, processor and a card; transformers.SamModel reads it too if it knows
    the architecture. Tensors stay bit-identical in both directions.
    """
    from .. import convert as layouts
    from ..hub import locate
    from ..models.layouts import folder_card, original_family, save_folder, save_original
    from ..models.modeling_sam import SamModel
    from .loading import quiet_but_for_downloads

    quiet_but_for_downloads()
    model = SamModel.from_pretrained(checkpoint, dtype="auto")  # as it is stored
    place = locate(checkpoint)
    if to.suffix in (".pth", ".pt"):
        echo_path(save_original(model, to))
        family = original_family(model)
        _, parts = layouts.left_out(layouts.to_original(model.state_dict(), family), family)
        tell_parts(parts, "are zeros in this file, which is for single images")
        return
    echo_path(save_folder(model, to, folder_card(model.config, place.name or checkpoint)))
    if place.file:
        weights = layouts.read_checkpoint(place.file)
        family = layouts.detect_family({key: tuple(value.shape) for key, value in weights.items()})
        tell_parts(layouts.left_out(weights, family)[1], "are left out: clicks on single images do not need them")


def tell_parts(parts: list[str], what: str) -> None:
    """On standard error, so that standard output stays the name of what was written."""
    if parts:
        typer.echo(f"{', '.join(parts)} {what}", err=True)
