"""Train `pocket`: ``python -m sam_hub.training.pocket --data DIR --out DIR``; run it again to go on after a stop.

``--start pocket --recipe pocket-512`` goes on from the weights in the package.
"""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import torch
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from ..models.modeling_sam import SamModel
from .episodes import EpisodeDataset, collate
from .pocket_init import IMAGE_MEAN, IMAGE_STD, new_pocket
from .recipe import POCKET_RECIPES, PocketRecipe
from .trainer import LossCurve, MovingAverage, SamTrainer


def train_pocket(
    data: Path, out: Path, recipe: PocketRecipe, start: SamModel | None = None, save_steps: int = 100
) -> Path:
    """Train, or go on from the last checkpoint in ``out``; the averaged weights are in its ``ema.safetensors``.

    returns: the last checkpoint
    """
    torch.manual_seed(recipe.seed)
    model = (start or new_pocket()).to(memory_format=torch.channels_last)
    model.set_attn_implementation("eager")  # with a dozen tokens, fused attention is slower backwards
    batches = recipe.steps * recipe.images
    trainer = SamTrainer(
        model=model,
        recipe=recipe,
        args=TrainingArguments(
            output_dir=str(out),
            max_steps=recipe.steps,
            per_device_train_batch_size=recipe.images,
            learning_rate=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.clip_norm,
            lr_scheduler_type=recipe.schedule,
            warmup_steps=recipe.warmup,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            logging_steps=min(10, save_steps),
            save_steps=save_steps,
            save_total_limit=2,
            seed=recipe.seed,
            remove_unused_columns=False,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=EpisodeDataset(data, recipe, batches, IMAGE_MEAN, IMAGE_STD),
        data_collator=collate,
        callbacks=[MovingAverage(recipe.ema), LossCurve()],
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "recipe.json").write_text(json.dumps(asdict(recipe), indent=1))
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(out)))
    return Path(get_last_checkpoint(str(out)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the training shards")
    parser.add_argument("--out", type=Path, required=True, help="checkpoints, history and loss curve")
    parser.add_argument("--recipe", choices=sorted(POCKET_RECIPES), default="pocket-256")
    parser.add_argument("--start", help="a model to start from, by folder or name; ImageNet otherwise")
    args = parser.parse_args()
    start = SamModel.from_pretrained(args.start, dtype=torch.float32) if args.start else None
    train_pocket(args.data, args.out, POCKET_RECIPES[args.recipe], start)


if __name__ == "__main__":
    main()
