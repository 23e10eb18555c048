"""Interactive training on ``transformers.Trainer``: encoder rate, moving average, loss curve."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback

from ..models.modeling_sam import SamModel
from .interactive import interactive_loss
from .recipe import PocketRecipe

EMA_FILE = "ema.safetensors"
CURVE_FILE = "loss.png"


class SamTrainer(Trainer):
    """Trains `SamModel` with `interactive_loss`; every random choice depends on (seed, step) alone."""

    def __init__(self, *args, recipe: PocketRecipe, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.recipe = recipe

    def _get_train_sampler(self, *args, **kwargs) -> Sampler:
        return SequentialSampler(self.train_dataset)  # the episodes are random by themselves

    def create_optimizer(self, *args, **kwargs) -> torch.optim.Optimizer:
        """AdamW: a lower rate for the encoder's body, no decay on norms, biases and tokens."""
        if self.optimizer is None:
            groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
            for name, parameter in self.model.named_parameters():
                body = name.startswith("vision_encoder.") and ".neck." not in name
                decays = parameter.dim() > 1 and "embed" not in name and "token" not in name.rsplit(".", 2)[-2]
                groups.setdefault((body, decays), []).append(parameter)
            rate = self.args.learning_rate
            self.optimizer = torch.optim.AdamW(
                [
                    {
                        "params": parameters,
                        "lr": rate * (self.recipe.encoder_rate if body else 1),
                        "weight_decay": self.args.weight_decay if decays else 0.0,
                    }
                    for (body, decays), parameters in groups.items()
                ],
                betas=(0.9, 0.98),
            )
        return self.optimizer

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        recipe, step = self.recipe, self.state.global_step
        generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        alone = torch.rand((), generator=generator) < recipe.prompts.single_round_probability
        core: SamModel = self.accelerator.unwrap_model(model)
        learns = step % recipe.encoder_every == 0
        for name, parameter in core.vision_encoder.named_parameters():
            if not name.startswith("neck."):
                parameter.requires_grad_(learns)
        pixels = inputs["pixel_values"].contiguous(memory_format=torch.channels_last)
        # accelerate's own autocast wraps `forward`, which an interactive step does not call.
        with torch.autocast(pixels.device.type, dtype=torch.bfloat16, enabled=self.args.bf16):
            return interactive_loss(
                core,
                pixels,
                inputs["labels"],
                recipe.prompts,
                recipe.loss,
                rounds=1 if alone else recipe.prompts.rounds,
                generator=generator,
            )


class MovingAverage(TrainerCallback):
    """Exponential moving average of the weights, saved with each checkpoint and resumed from it."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        saved = Path(args.output_dir) / f"checkpoint-{state.global_step}" / EMA_FILE
        source = load_file(saved) if saved.exists() else model.state_dict()
        self.weights = {k: v.detach().clone() for k, v in source.items()}

    @torch.no_grad()
    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)

    def on_save(self, args, state, control, **kwargs) -> None:
        weights = {name: value.contiguous() for name, value in self.weights.items()}
        save_file(weights, Path(args.output_dir) / f"checkpoint-{state.global_step}" / EMA_FILE)


class LossCurve(TrainerCallback):
    """The logged loss as a PNG and as JSON lines, renewed at each checkpoint."""

    def on_save(self, args, state, control, **kwargs) -> None:
        draw_loss_curve(state.log_history, Path(args.output_dir) / CURVE_FILE)
        history = "\n".join(json.dumps(row) for row in state.log_history)
        (Path(args.output_dir) / "history.jsonl").write_text(history + "\n")


def draw_loss_curve(history: list[dict], path: Path) -> None:
    """Loss against step, raw and smoothed over 20 log lines."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = [(row["step"], row["loss"]) for row in history if "loss" in row]
    if not rows:
        return
    steps, losses = zip(*rows, strict=True)
    smooth = [sum(losses[max(0, i - 19) : i + 1]) / len(losses[max(0, i - 19) : i + 1]) for i in range(len(losses))]
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(steps, losses, color="#b9c6d8", linewidth=0.8, label="logged")
    axes.plot(steps, smooth, color="#1f5fa8", label="mean of 20")
    axes.set(xlabel="step", ylabel="loss (20 focal + dice + IoU error)")
    axes.legend()
    figure.savefig(path, dpi=110)
    plt.close(figure)
