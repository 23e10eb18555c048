"""``sam-hub convert``: converts between the authors' checkpoint layouts and ours."""

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
    the architecture. Tensors stay bit-identical in both directions. SAM 3 keeps its text part.
    """
    from .. import convert as layouts
    from ..hub import locate
    from ..inference.concepts import TOKENIZER, words_to_write
    from ..models.layouts import folder_card, original_family, save_folder, save_original
    from ..models.loading import stored_dtype
    from ..models.modeling_sam import SamModel
    from .loading import quiet_but_for_downloads

    quiet_but_for_downloads()
    place = locate(checkpoint)
    model = SamModel.from_pretrained(checkpoint, dtype=stored_dtype(place.file or place.folder))
    words = words_to_write(model) if model.config.capabilities.concepts else None
    if to.suffix in (".pth", ".pt"):
        echo_path(save_original(model, to, words))
        family = original_family(model)
        _, parts = layouts.left_out(layouts.to_original(model.state_dict(), family), family)
        tell_parts(parts, "are zeros in this file, which is for single images")
        return
    echo_path(save_folder(model, to, folder_card(model.config, place.name or checkpoint), words=words))
    if words and words.tokenizer is None:
        typer.echo(
            f"no tokenizer was written, because none could be loaded; {TOKENIZER}'s will be downloaded", err=True
        )
    if model.original_layout:
        read = words.model.to_original() if words else {}
        unused = layouts.left_out(model.original_names, model.original_layout, read)[1]
        tell_parts(unused, "are left out: single images do not need them")


def tell_parts(parts: list[str], what: str) -> None:
    """Report on standard error; standard output holds only the path written."""
    if parts:
        typer.echo(f"{', '.join(parts)} {what}", err=True)
