"""Train `pocket`: ``python -m sam_hub.training.pocket --data DIR --out DIR``; rerun it to resume.

``--from pocket --recipe pocket-512`` starts from the weights in the package. ``torchrun --nproc_per_node 2 -m
sam_hub.training.pocket ...`` trains in two processes.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from transformers import TrainingArguments

from ..data.sa1b import Sa1bDataset
from ..models.configuration_sam import SamConfig
from ..models.fine_decoder import FineMaskDecoder, with_fine_features
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from .checkpoints import CompleteCheckpoints, agreed_checkpoint, check_finite, checkpoints
from .episodes import EpisodeDataset, ViewPreparation, collate
from .interactive import InteractiveStep
from .packages import check_packages
from .pocket_init import new_pocket
from .pocket_recipes import POCKET_RECIPES, PocketRecipe
from .precision import bfloat16_is_fast
from .run import tell
from .scenes import SceneDataset
from .textures import TextureDataset
from .trainer import LossCurve, MovingAverage, SamTrainer, SaveOften

MADE_UP = ("scenes", "textures")
"""Shards that are generated instead of read."""


def pocket_episodes(data: Path, recipe: PocketRecipe, config: SamConfig, processes: int = 1) -> EpisodeDataset:
    """Samples for every step of every process, from the shards that a recipe names: tars or folders in ``data``."""
    shards = open_shards(data, recipe)
    preparation = ViewPreparation.of(SamImageProcessor.for_config(config), recipe.image_size)
    length = recipe.steps * recipe.images * processes
    weights, wholes = [recipe.shards[name] for name in shards], [recipe.wholes.get(name, 0.0) for name in shards]
    return EpisodeDataset(list(shards.values()), recipe, length, preparation, weights, wholes=wholes)


def open_shards(data: Path, recipe: PocketRecipe) -> dict[str, Sequence]:
    """Name -> samples, in the order of the recipe."""
    tars = {name: data / f"{name}.tar" for name in recipe.shards if name not in MADE_UP}
    found: dict[str, Sequence] = {
        name: Sa1bDataset(tar if tar.exists() else tar.with_suffix("")) for name, tar in tars.items()
    }
    real, shares = list(found.values()), [recipe.shards[name] for name in found]
    whole = [recipe.wholes.get(name, 0.0) > 0 for name in found]
    if "scenes" in recipe.shards:
        found["scenes"] = SceneDataset(real, shares, whole, seed=recipe.seed)
    if "textures" in recipe.shards:
        found["textures"] = TextureDataset(seed=recipe.seed)
    return {name: found[name] for name in recipe.shards}


def train_pocket(
    data: Path,
    out: Path,
    recipe: PocketRecipe,
    start: SamModel | None = None,
    save_steps: int = 100,
    save_seconds: float = 45,
    callbacks: tuple = (),
    bf16: bool | None = None,
    workers: int = 0,
) -> Path:
    """Train, or resume from the last checkpoint in ``out``; the averaged weights are in its ``ema.safetensors``.

    save_steps, save_seconds: steps or seconds between checkpoints
    bf16: forward and backward in bfloat16; default: if it is fast
    workers: processes that prepare images
    returns: the last checkpoint
    """
    torch.manual_seed(recipe.seed)
    model = start or new_pocket()
    if recipe.fine_features and not isinstance(model.mask_decoder, FineMaskDecoder):
        model = with_fine_features(model)
    check_finite(model.state_dict(), "before training")
    model = model.to(memory_format=torch.channels_last)
    for name, parameter in model.named_parameters():
        if recipe.only not in name:
            parameter.requires_grad_(False)
    model.set_attn_implementation("eager")  # with a dozen tokens, the backward pass of fused attention is slower
    averages = [MovingAverage(recipe.ema)] if recipe.ema else []
    args = TrainingArguments(
        output_dir=str(out),
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.images,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.clip_norm,
        lr_scheduler_type="constant" if recipe.schedule == "steps" else recipe.schedule,
        warmup_steps=recipe.warmup,
        bf16=bfloat16_is_fast() if bf16 is None else bf16,
        dataloader_num_workers=workers,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=min(10, save_steps),
        save_steps=save_steps,
        seed=recipe.seed,
        remove_unused_columns=False,
        ddp_find_unused_parameters=True,
        report_to="none",
        disable_tqdm=True,
    )
    trainer = SamTrainer(
        model=InteractiveStep(model, recipe.prompts, recipe.loss),
        recipe=recipe,
        args=args,
        train_dataset=pocket_episodes(data, recipe, model.config, args.world_size),
        data_collator=collate,
        callbacks=[*averages, LossCurve(), SaveOften(save_seconds), *callbacks, CompleteCheckpoints()],
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    resume = agreed_checkpoint(out, tell, args.world_size)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return checkpoints(out)[0]


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the training shards")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, history and loss curve")
    parser.add_argument("--recipe", choices=sorted(POCKET_RECIPES), default="pocket-256")
    parser.add_argument("--from", dest="start", help="a model to start from, by folder or name; ImageNet otherwise")
    parser.add_argument("--steps", type=int, help="instead of the recipe's, for a comparison")
    parser.add_argument("--batch", type=int, help="images of a batch, instead of the recipe's")
    parser.add_argument("--save-seconds", type=float, default=45, help="seconds from one checkpoint to the next")
    parser.add_argument("--save-steps", type=int, default=100, help="steps from one checkpoint to the next, at most")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare images")
    parser.add_argument("--copy-paste", type=float, help="probability, instead of the recipe's")
    parser.add_argument("--ema", type=float, help="decay of the averaged weights, instead of the recipe's; 0 for none")
    return parser


def main() -> None:
    args = command_line().parse_args()
    check_packages()
    start = SamModel.from_pretrained(args.start, dtype=torch.float32) if args.start else None
    recipe = POCKET_RECIPES[args.recipe]
    if args.steps:
        recipe = replace(recipe, steps=args.steps)
    if args.batch:
        recipe = replace(recipe, images=args.batch)
    if args.ema is not None:
        recipe = replace(recipe, ema=args.ema)
    if args.copy_paste is not None:
        recipe = replace(recipe, augmentation=replace(recipe.augmentation, copy_paste=args.copy_paste))
    train_pocket(
        args.data,
        args.out,
        recipe,
        start,
        save_steps=args.save_steps,
        save_seconds=args.save_seconds,
        workers=args.workers,
    )


if __name__ == "__main__":
    main()
