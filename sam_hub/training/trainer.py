"""Interactive training on ``transformers.Trainer``: optimizer, schedule, whole checkpoints, moving average, curves."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save, save_file
from torch import nn
from torch.utils.data import IterableDataset, Sampler, SequentialSampler
from transformers import Trainer, TrainerCallback

from ..errors import TrainingError
from ..models.encoders.vit import VitEncoder
from ..models.modeling_sam import SamModel
from ..ops.files import write_atomically
from .checkpoints import check_finite, checkpoint_folder
from .interactive import InteractiveStep, plan_rounds
from .optimizers import adamw_and_muon, is_hidden_matrix
from .recipe import Recipe

EMA_FILE = "ema.safetensors"
BEST_FILE = "best.safetensors"
CURVE_FILE = "loss.png"
HISTORY_FILE = "history.jsonl"

Validation = Callable[[SamModel], dict[str, float]]


class SamTrainer(Trainer):
    """Trains an `InteractiveStep`; random choices, except drop path, depend only on (seed, step) or the sample.

    validate: returns the model's metrics, including "miou"; called according to ``eval_strategy``
    """

    def __init__(self, *args, recipe: Recipe, validate: Validation | None = None, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.recipe, self.validate = recipe, validate
        self.model_accepts_loss_kwargs = False  # losses are means, so accumulated batches must be averaged
        step: InteractiveStep = self.model
        encoder = step.sam.vision_encoder
        self.body = [p for n, p in encoder.named_parameters() if not n.startswith("neck.") and p.requires_grad]
        if isinstance(encoder, VitEncoder):
            encoder.set_drop_path(recipe.drop_path)

    def _get_train_sampler(self, *args, **kwargs) -> Sampler | None:
        if isinstance(self.train_dataset, IterableDataset):
            return None
        return SequentialSampler(self.train_dataset)  # episodes are already random

    def create_optimizer(self, *args, **kwargs) -> torch.optim.Optimizer:
        """AdamW: rates by layer, no decay on norms, biases, tokens and positions; Muon where the recipe has it."""
        if self.optimizer is None:
            groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
            matrices = []
            for name, parameter in self.model.named_parameters():
                if not parameter.requires_grad:
                    continue
                if self.recipe.muon_rate and "vision_encoder." not in name and is_hidden_matrix(name, parameter):
                    matrices.append(parameter)
                    continue
                key = rate_of(name, self.model, self.recipe), decays(name, parameter)
                groups.setdefault(key, []).append(parameter)
            rate, decay = self.args.learning_rate, self.args.weight_decay
            rows = [
                {"params": parameters, "lr": rate * share, "weight_decay": decay * decayed}
                for (share, decayed), parameters in groups.items()
            ]
            if matrices:
                muon_rate = rate * self.recipe.muon_rate
                self.optimizer = adamw_and_muon(rows, matrices, muon_rate, decay, betas=self.recipe.betas)
            else:
                self.optimizer = torch.optim.AdamW(rows, betas=self.recipe.betas)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        if self.recipe.schedule != "steps":
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            recipe = self.recipe
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: step_decay(step, num_training_steps, recipe.warmup, recipe.milestones),
            )
        return self.lr_scheduler

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        step = self.state.global_step
        plan = plan_rounds(self.recipe.prompts, torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + step))
        learns = step % self.recipe.encoder_every == 0
        for parameter in self.body:
            parameter.requires_grad_(learns)
        outputs = model(**inputs, plan=plan)
        loss = float(outputs["loss"].detach())
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} at step {step + 1}, so training cannot continue; "
                "try a lower learning rate, and check the weights and images that the run began with"
            )
        return (outputs["loss"], outputs) if return_outputs else outputs["loss"]

    def evaluate(self, *args, metric_key_prefix: str = "eval", **kwargs) -> dict[str, float]:
        """Run `validate` in the first process, on the averaged weights if there are any."""
        metrics = [{}]
        state = self.accelerator.get_state_dict(self.model_wrapped) if self.is_fsdp_enabled else None
        if self.is_world_process_zero():
            metrics = [{f"{metric_key_prefix}_{k}": v for k, v in self._validated(state).items()}]
        if self.args.world_size > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(metrics)
        self.log(metrics[0])
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics[0])
        return metrics[0]

    def _validated(self, gathered: dict[str, torch.Tensor] | None) -> dict[str, float]:
        """Validate, and keep the weights if they are the best so far."""
        averages = next((c for c in self.callback_handler.callbacks if isinstance(c, MovingAverage)), None)
        sam: SamModel = self.accelerator.unwrap_model(self.model).sam
        if gathered is not None:
            weights = {k.removeprefix("sam."): v for k, v in gathered.items()}
            sam = SamModel(sam.config)
            sam.load_state_dict(weights)
        elif averages and averages.weights:
            weights = averages.weights
        else:
            weights = sam.state_dict()
        tensors = sam.state_dict()
        # Frozen weights are not written, as any write to an encoder invalidates a predictor's cached embeddings.
        moved = [k for k, v in weights.items() if v is not tensors[k] and not torch.equal(v, tensors[k])]
        learnt = {k: tensors[k].detach().clone() for k in moved}
        was_training = self.model.training
        try:
            for k in moved:
                tensors[k].detach().copy_(weights[k])
            metrics = self.validate(sam.eval())
        finally:
            for k in moved:
                tensors[k].detach().copy_(learnt[k])
            self.model.train(was_training)
        best = self.state.best_metric
        if best is None or metrics["miou"] > best:
            weights = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
            write_atomically(Path(self.args.output_dir) / BEST_FILE, save(weights))
        return metrics

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Checkpoints hold the model itself, in its own layout."""
        if not self.args.should_save:
            return
        folder = Path(output_dir or self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        sam = self.accelerator.unwrap_model(self.model).sam
        weights = sam.state_dict() if state_dict is None else state_dict
        weights = {k.removeprefix("sam."): v.detach().cpu().contiguous() for k, v in weights.items()}
        check_finite(weights, f"after step {self.state.global_step}")
        sam.config.save_pretrained(folder)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        torch.save(self.args, folder / "training_args.bin")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        weights = Path(resume_from_checkpoint) / "model.safetensors"
        if self.is_fsdp_enabled or not weights.is_file():
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            (model or self.model).sam.load_state_dict(load_file(weights))


def rate_of(name: str, step: InteractiveStep, recipe: Recipe) -> float:
    """Factor of the learning rate for a parameter.

    Layer-wise decay as in ViTDet (detectron2, ``get_vit_lr_decay_rate``), which the paper follows: patch and position
    embeddings are layer 0; the neck, adapters, and everything outside the encoder have the full rate.
    """
    name = name.removeprefix("sam.")
    if not name.startswith("vision_encoder.") or name.startswith("vision_encoder.neck.") or ".lora_" in name:
        return 1.0
    share, layers = recipe.encoder_rate, getattr(step.sam.vision_encoder, "layers", None)
    if isinstance(step.sam.vision_encoder, VitEncoder):
        part = name.split(".")
        layer = int(part[2]) + 1 if part[1] == "layers" else 0
        share *= recipe.layer_decay ** (len(layers) + 1 - layer)
    return share


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay applies to a parameter: to matrices and kernels, except embeddings."""
    return parameter.dim() > 1 and not any(word in name for word in ("embed", "_token", "rel_pos", "attention_biases"))


def step_decay(step: int, steps: int, warmup: int, milestones: tuple[float, ...]) -> float:
    """Factor of the rate at a step: linear warm-up, then a tenth after each milestone (a share of all steps)."""
    if step < warmup:
        return step / max(1, warmup)
    return 0.1 ** sum(step >= share * steps for share in milestones)


class MovingAverage(TrainerCallback):
    """Exponential moving average of the weights, saved in checkpoints and restored from them."""

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, torch.Tensor] = {}

    def on_train_begin(self, args, state, control, model=None, **kwargs) -> None:
        saved = checkpoint_folder(args.output_dir, state.global_step) / EMA_FILE
        now = model.sam.state_dict()
        source = load_file(saved) if state.global_step and saved.exists() else now
        self.weights = {k: v.detach().to(now[k].device, copy=True) for k, v in source.items()}

    @torch.no_grad()
    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, value in model.sam.state_dict().items():
            if value.is_floating_point():
                self.weights[name].lerp_(value, 1 - decay)

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            weights = {name: value.contiguous() for name, value in self.weights.items()}
            save_file(weights, checkpoint_folder(args.output_dir, state.global_step) / EMA_FILE)


class SaveOften(TrainerCallback):
    """Saves a checkpoint every ``seconds``, the most time that a kill can lose."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.last = seconds, math.inf

    def on_train_begin(self, args, state, control, **kwargs) -> None:
        self.last = time.monotonic()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        due = time.monotonic() - self.last >= self.seconds
        if args.world_size > 1:  # the first process decides for all, so that all save together
            from accelerate.utils import broadcast_object_list

            (due,) = broadcast_object_list([due])
        control.should_save |= due

    def on_save(self, args, state, control, **kwargs) -> None:
        self.last = time.monotonic()


class LossCurve(TrainerCallback):
    """The log as a PNG and as JSON lines, updated at each checkpoint."""

    def on_save(self, args, state, control, **kwargs) -> None:
        if state.is_world_process_zero:
            draw_loss_curve(state.log_history, Path(args.output_dir) / CURVE_FILE)
            history = "\n".join(json.dumps(row) for row in state.log_history)
            write_atomically(Path(args.output_dir) / HISTORY_FILE, (history + "\n").encode())


def draw_loss_curve(history: list[dict], path: Path) -> None:
    """Loss against step, raw and smoothed over 20 log lines; the validation mIoU on a second axis."""
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
    validated = [(row["step"], row["eval_miou"]) for row in history if "eval_miou" in row]
    if validated:
        right = axes.twinx()
        right.plot(*zip(*validated, strict=True), color="#c05a1c", marker="o", markersize=3, label="validation mIoU")
        right.set(ylabel="mIoU", ylim=(0, 1))
        right.legend(loc="lower right")
    axes.legend(loc="upper right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
