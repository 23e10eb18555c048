"""``sam-hub distill``: a large model teaches a small one."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .boundary import WrongUsage
from .options import Debug, Device, Json, echo_json, echo_path
from .train import Crowds, CrowdsOption, DataOption, ImagesOption, OutOption, PartsOption, track_on_stderr


class Stage(StrEnum):
    encoder = "encoder"
    prompts = "prompts"
    both = "both"


def distill(
    data: DataOption,
    out: OutOption,
    teacher: Annotated[
        str,
        typer.Option("--teacher", metavar="NAME", help="A name of `sam-hub zoo`, a folder, a checkpoint, a Hub id."),
    ],
    student: Annotated[str, typer.Option("--student", metavar="NAME", help="As --teacher.")] = "pocket",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Begin with random weights: --student is a name of `sam-hub zoo`.")
    ] = False,
    stage: Annotated[Stage, typer.Option("--stage", help="encoder: by embeddings; prompts: by masks.")] = Stage.both,
    images: ImagesOption = None,
    parts: PartsOption = False,
    crowds: CrowdsOption = Crowds.left_out,
    val_share: Annotated[float, typer.Option("--val-share", min=0.01, max=0.9, help="Held out of --data.")] = 0.1,
    encoder_steps: Annotated[int | None, typer.Option("--encoder-steps", min=1, help="2000 by default.")] = None,
    prompt_steps: Annotated[int | None, typer.Option("--prompt-steps", min=1, help="1000 by default.")] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images of a batch; 4 and 2 by default.")] = None,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Batches of an update.")] = 1,
    bf16: Annotated[bool | None, typer.Option("--bf16/--fp32", help="Half the memory; as the device likes.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes that prepare images.")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Random seed.")] = 0,
    device: Device = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Teach a small model what a large one knows, on any annotated images.

    \b
    sam-hub distill --teacher sam_vit_h_4b8939.pth --student pocket --data sa1b/ --out my-small-model
    sam-hub distill --teacher mobile_sam.pt --student tinysam --fresh --data photos/ --out out --stage encoder

    First the student's encoder learns the teacher's embeddings and takes over its decoder (as MobileSAM), then it
    learns the teacher's masks for the same prompts (as EdgeSAM). The teacher looks at each image once; its embeddings
    are kept on disk while the run lasts: about 2 MB for each image. Rerun the same
    command to resume.
    """
    from dataclasses import asdict, replace

    import torch

    from ..data.discovery import open_dataset
    from ..data.inspection import Cleaned, inspect, split
    from ..hub import locate
    from ..inference.predictor import SamPredictor
    from ..training.distill import STAGES, Distillation, distill, fresh_student
    from ..training.processes import is_first_process
    from ..training.recipe import DISTIL_ENCODER, DISTIL_PROMPTS
    from ..training.report import comparison, model_card
    from ..training.run import tell
    from ..training.run_folder import finish
    from ..training.validation import Validator
    from ..zoo import canonical_name
    from .loading import load_model

    if fresh and canonical_name(student) is None:
        raise WrongUsage(f"--fresh builds a model of `sam-hub zoo`, and {student} is none")
    dataset = open_dataset(data, images, parts, crowds is Crowds.as_objects)
    found = inspect(dataset, track=track_on_stderr("looking at the images"))
    for problem in found.problems:
        tell(f"left out: {problem}")
    train, held = split(Cleaned(dataset), found.good, val_share, seed)
    knowing = load_model(teacher, device)
    learning = fresh_student(student).to(knowing.device) if fresh else load_model(student, device).float()
    processors = [SamPredictor(m).processor for m in (learning, knowing)]
    given = {"seed": seed} | ({"images": batch} if batch else {})
    settings = Distillation(
        model=student,
        data=data,
        teacher=teacher,
        stages=STAGES if stage is Stage.both else (stage.value,),
        encoder_recipe=replace(DISTIL_ENCODER, **given, **({"steps": encoder_steps} if encoder_steps else {})),
        recipe=replace(DISTIL_PROMPTS, **given, **({"steps": prompt_steps} if prompt_steps else {})),
        accumulate=accumulate,
        bf16=torch.cuda.is_available() if bf16 is None else bf16,
        workers=workers,
    )
    result = distill(
        learning, processors[0], knowing, processors[1], train, Validator(held, processors[0]), out, settings
    )
    if not is_first_process():
        return
    counts = {"train": len(train), "objects": found.objects}
    details = [f"teacher: `{teacher}`; stages: {', '.join(settings.stages)}; {result.seconds / 60:.1f} minutes"]
    title, variant = out.resolve().name, locate(teacher).variant
    card = model_card(
        title, student, variant, Path(data).name, counts, result.before, result.after, details,
        command="sam-hub distill", how="Distilled into",
    )  # fmt: skip
    report = {"settings": asdict(settings), "counts": counts, "before": result.before, "after": result.after}
    finish(result, processors[0], out, card, report)
    if as_json:
        echo_json({**report, "out": str(out)})
    else:
        for name, a, b in comparison(result.before, result.after):
            typer.echo(f"{name:24} {a:.3f} -> {b:.3f}")
        echo_path(out)
