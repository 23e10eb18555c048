"""Options of `train` and `distill`, some of which `eval` shares."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..training.end_to_end import Source


class Crowds(StrEnum):
    left_out = "left-out"
    as_objects = "as-objects"


class Freeze(StrEnum):
    encoder = "encoder"
    none = "none"


class Tracker(StrEnum):
    none = "none"
    tensorboard = "tensorboard"
    trackio = "trackio"


ImagesOption = Annotated[
    Path | None,
    typer.Option("--images", metavar="DIR", help="Folder of the images, for a COCO .json or annotation files."),
]
CrowdsOption = Annotated[
    Crowds, typer.Option("--crowds", help="COCO masks marked iscrowd: skip them, or use them as objects.")
]
OutOption = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The result: a folder for the Hub.")]


@dataclass(frozen=True)
class DataOptions:
    """Annotated images."""

    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="PATH",
            help="A folder of images and masks, a COCO .json, a folder of labelme files, or SA-1B (.tar, folder, URL).",
        ),
    ]
    images: ImagesOption = None
    parts: Annotated[bool, typer.Option("--parts", help="Each connected part of a binary mask is an object.")] = False
    crowds: CrowdsOption = Crowds.left_out

    def source(self, val: str | None = None) -> "Source":
        from ..training.end_to_end import Source

        return Source(self.data, self.images, self.parts, self.crowds is Crowds.as_objects, val)


@dataclass(frozen=True)
class MachineOptions:
    """How a run uses the machine."""

    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Batches per update.")] = 1
    bf16: Annotated[
        bool | None, typer.Option("--bf16/--fp32", help="bfloat16 halves memory; default: on with CUDA.")
    ] = None
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that load images.")] = 0
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed; exact on one thread.")] = 0

    def settings(self) -> dict[str, Any]:
        """Arguments of `FineTuning`."""
        import torch

        bf16 = torch.cuda.is_available() if self.bf16 is None else self.bf16
        return {"accumulate": self.accumulate, "bf16": bf16, "workers": self.workers}


@dataclass(frozen=True)
class TuningOptions:
    """What is trained, and for how long."""

    freeze: Annotated[
        Freeze, typer.Option("--freeze", help="encoder: train only the decoder, which is fast; none: train all.")
    ] = Freeze.encoder
    lora: Annotated[
        int, typer.Option("--lora", min=0, metavar="R", help="Rank of LoRA adapters in the encoder; 0: none.")
    ] = 0
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Updates [200].")] = None
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images per batch [2].")] = None
    objects: Annotated[int | None, typer.Option("--objects", min=1, help="Objects per image and step [4].")] = None
    rate: Annotated[float | None, typer.Option("--rate", help="Learning rate [3e-4].")] = None
    views: Annotated[
        int, typer.Option("--views", min=1, help="With a frozen encoder: augmented views of each image, encoded once.")
    ] = 6
    recipe: Annotated[
        str | None, typer.Option("--recipe", metavar="NAME", help="The paper's recipe for SA-1B: sam-vit-b, -l or -h.")
    ] = None
    clip: Annotated[
        str | None, typer.Option("--clip", metavar="NAME", help="Also train text prompts with this CLIP.")
    ] = None
    patience: Annotated[
        int, typer.Option("--patience", min=0, help="Stop after this many validations without improvement; 0: never.")
    ] = 4
    checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more time; for a trained encoder.")
    ] = False
    tracker: Annotated[Tracker, typer.Option("--tracker", help="Also log metrics there.")] = Tracker.none
