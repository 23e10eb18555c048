"""``sam-hub distill``: trains a small model to imitate a large one."""

from enum import StrEnum
from typing import Annotated

import typer

from ..errors import WrongUsage
from .option_groups import grouped
from .options import Debug, Device, Json
from .train import tell_scores, track_on_stderr
from .training_options import DataOptions, MachineOptions, OutOption


class Stage(StrEnum):
    encoder = "encoder"
    prompts = "prompts"
    both = "both"


@grouped
def distill(
    annotated: DataOptions,
    out: OutOption,
    teacher: Annotated[
        str,
        typer.Option("--teacher", metavar="NAME", help="A name from `sam-hub zoo`, a folder, a checkpoint, a Hub id."),
    ],
    student: Annotated[str, typer.Option("--student", metavar="NAME", help="Like --teacher.")] = "pocket",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start from random weights; --student is a name from `sam-hub zoo`.")
    ] = False,
    stage: Annotated[
        Stage, typer.Option("--stage", help="encoder: match embeddings; prompts: match masks.")
    ] = Stage.both,
    val_share: Annotated[float, typer.Option("--val-share", min=0.01, max=0.9, help="Share of --data held out.")] = 0.1,
    encoder_steps: Annotated[
        int | None, typer.Option("--encoder-steps", min=1, help="Updates of the first stage [2000].")
    ] = None,
    prompt_steps: Annotated[
        int | None, typer.Option("--prompt-steps", min=1, help="Updates of the second stage [1000].")
    ] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images per batch [4, then 2].")] = None,
    machine: MachineOptions = MachineOptions(),  # noqa: B008 frozen
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Train a small model to imitate a large one, on any annotated images.

    \b
    sam-hub distill --teacher sam_vit_h_4b8939.pth --student pocket --data sa1b/ --out my-small-model
    sam-hub distill --teacher mobile_sam.pt --student tinysam --fresh --data photos/ --out out --stage encoder

    The student's encoder is first trained on the teacher's embeddings, with the teacher's decoder (as in MobileSAM),
    then the student on the teacher's masks for the same prompts (as in EdgeSAM). The teacher encodes each image once;
    the embeddings stay on disk during the run, about 2 MB per image. Rerun the same command to resume.
    """
    from dataclasses import replace

    from ..training.distill import STAGES, Distillation, fresh_student
    from ..training.end_to_end import read_examples, run_distillation
    from ..training.recipe import DISTIL_ENCODER, DISTIL_PROMPTS
    from ..zoo import canonical_name
    from .loading import load_model

    if fresh and canonical_name(student) is None:
        raise WrongUsage(f"--fresh needs a model from `sam-hub zoo`, and {student} is not one")
    examples = read_examples(annotated.source(), val_share, machine.seed, track_on_stderr)
    knowing = load_model(teacher, device)
    learning = fresh_student(student).to(knowing.device) if fresh else load_model(student, device).float()
    given = {"seed": machine.seed} | ({"images": batch} if batch else {})
    settings = Distillation(
        model=student,
        data=annotated.data,
        teacher=teacher,
        stages=STAGES if stage is Stage.both else (stage.value,),
        encoder_recipe=replace(DISTIL_ENCODER, **given, **({"steps": encoder_steps} if encoder_steps else {})),
        recipe=replace(DISTIL_PROMPTS, **given, **({"steps": prompt_steps} if prompt_steps else {})),
        **machine.settings(),
    )
    tell_scores(run_distillation(knowing, learning, examples, settings, out), out, as_json)
