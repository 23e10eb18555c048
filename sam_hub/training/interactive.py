"""Interactive training (paper, appendix A): prompt, predict, correct, again; the image is encoded once."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.prompts import boxes_of, corrective_points, noisy_boxes, random_points
from ..evaluation.clicks import corrective_click, farthest_pixel
from ..models.configuration_sam import PAD_COORDINATE, PAD_LABEL
from ..models.encoders import EncoderOutput
from ..models.loss import LossWeights, mask_losses, object_losses
from ..models.mask_decoder import best_mask
from ..models.modeling_sam import SamModel
from .recipe import PromptRecipe

Plan = tuple[str, ...]
"""The rounds of a step: "first" (a click or a box), then "click" (a corrective one) or "mask" (no new prompt)."""


def plan_rounds(recipe: PromptRecipe, generator: torch.Generator) -> Plan:
    """The rounds of one step; one mask-only round is last, any others are at random positions among the clicks."""
    if torch.rand((), generator=generator) < recipe.single_round_probability:
        return ("first",)
    rounds = ["click"] * (recipe.rounds - 1)
    for _ in range(recipe.mask_only_rounds - 1):
        rounds.insert(int(torch.randint(len(rounds) + 1, (), generator=generator)), "mask")
    return ("first", *rounds, *["mask"] * (recipe.mask_only_rounds > 0))


def first_prompts(
    target: Tensor,
    recipe: PromptRecipe,
    stride: float,
    generator: torch.Generator | None = None,
    boxable: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A click or a loose box for each object.

    target: (..., h, w) bool at low resolution, ``stride`` input pixels per low-res pixel (SAM 3: 3.5)
    boxable: (...) bool, False if the prompt must be a click
    returns: points (..., 1, 2), labels (..., 1), boxes (..., 4), in input pixels; missing prompts are padding
    """
    *lead, h, w = target.shape
    flat = target.reshape(-1, h, w)
    boxed = torch.rand(len(flat), generator=generator) < recipe.box_probability
    if boxable is not None:
        boxed &= boxable.reshape(-1)
    points = random_points(flat, generator)
    for i in careful_ones(flat, recipe, generator):
        points[i] = torch.tensor(farthest_pixel(flat[i].numpy()))
    points = to_input(points, stride)
    labels = torch.where(boxed, PAD_LABEL, 1)
    size = (h * stride, w * stride)
    boxes = noisy_boxes(boxes_of(flat) * stride, recipe.box_noise, recipe.box_noise_limit * max(size), size, generator)
    boxes = torch.where(boxed[:, None], boxes, PAD_COORDINATE)
    return points.view(*lead, 1, 2), labels.view(*lead, 1), boxes.view(*lead, 4)


def corrections(
    predicted: Tensor, target: Tensor, recipe: PromptRecipe, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """A click on a mistake of each mask, (N, h, w) bool: points (N, 2) in pixels of the masks, labels (N,)."""
    points, labels = corrective_points(predicted, target, generator)
    for i in careful_ones(predicted ^ target, recipe, generator):
        x, y, labels[i] = corrective_click(predicted[i].numpy(), target[i].numpy())
        points[i] = torch.tensor((x, y))
    return points, labels


def careful_ones(regions: Tensor, recipe: PromptRecipe, generator: torch.Generator | None = None) -> list[int]:
    """Which of the non-empty regions (N, h, w) get a careful click, in the middle."""
    if not recipe.careful_probability:
        return []
    chosen = torch.rand(len(regions), generator=generator) < recipe.careful_probability
    return (chosen & regions.flatten(1).any(1)).nonzero()[:, 0].tolist()


def frame_side(model: SamModel, encoded: EncoderOutput) -> int:
    """Side of the square frame of prompts, in pixels."""
    return model.config.prompt_encoder_config.patch_size * encoded.embedding.shape[-1]


def to_input(points: Tensor, stride: float) -> Tensor:
    """Low-res pixel -> the input pixel at its centre."""
    return stride * (points + 0.5) - 0.5


def enlarged(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Low-res logits (..., h, w) enlarged to the size of finer labels; unchanged if the labels are low-res too."""
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits.flatten(0, -4), size, mode="bilinear").view(*logits.shape[:-2], *size)


def candidate_losses(
    model: SamModel,
    masks: Tensor,
    scores: Tensor,
    target: Tensor,
    weights: LossWeights,
    recipe: PromptRecipe,
    first: bool,
) -> Tensor:
    """Loss of each object in one round, from every mask the decoder gives: (B, N, 1 + M, h, w) -> (B, N).

    Further tokens, whose logits come last, learn through the mask that the model returns.
    """
    decoder = model.mask_decoder
    own = slice(1, decoder.num_mask_tokens)
    ambiguous = object_losses(masks[:, :, own], scores[:, :, own], target, weights)
    single = object_losses(masks[:, :, :1], scores[:, :, :1], target, weights)
    if not model.config.capabilities.single_mask:  # the single mask's token is unused
        loss = ambiguous
    elif recipe.single_mask == "always":
        loss = (ambiguous + single) / 2
    else:
        loss = ambiguous if first else single
    if model.config.capabilities.extra_tokens:
        refined, _ = decoder.select_masks(masks, scores, multimask_output=first)
        loss = loss + mask_losses(refined[:, :, 0].float(), target, weights)
    return loss


def answer(model: SamModel, masks: Tensor, scores: Tensor, first: bool) -> Tensor:
    """The mask that the model would return: (B, N, h, w) logits.

    A first prompt is ambiguous, so it is the best of three by predicted IoU; later it is the single mask.
    """
    decoder = model.mask_decoder
    masks, scores = decoder.select_masks(masks, scores, multimask_output=first)
    if masks.shape[2] > 1:
        masks, scores = best_mask(masks, scores, decoder.ranking(masks, scores))
    return masks[:, :, 0]


def allowed_recipe(model: SamModel, recipe: PromptRecipe, plan: Plan) -> tuple[float, Plan]:
    """The box probability and the rounds that a model's ``prompt_kinds`` allow."""
    kinds = model.config.prompt_encoder_config.prompt_kinds
    box = 1.0 if "points" not in kinds else recipe.box_probability if "boxes" in kinds else 0.0
    return box, plan if {"points", "background points", "masks"} <= set(kinds) else plan[:1]


def interactive_losses(
    model: SamModel,
    encoded: EncoderOutput,
    target: Tensor,
    recipe: PromptRecipe,
    weights: LossWeights,
    plan: Plan,
    generators: Sequence[torch.Generator],
    teach: Callable[..., Tensor] | None = None,
    text_embeddings: Tensor | None = None,
    boxable: Tensor | None = None,
) -> Tensor:
    """Loss of each object, the mean over the rounds of ``plan``.

    encoded: of B images; target: (B, N, 4h, 4w) float in {0, 1}, with h, w of the embedding, or finer
    generators: one for each image, so that its prompts do not depend on the rest of the batch
    teach: for distillation: called with points, labels, boxes and the previous low-res logits, or None, returns the
        round's target (B, N, 4h, 4w); first prompts still come from ``target``
    text_embeddings: (B, N, D), CLIP embeddings of the objects; if given, the first prompt instead of a click or a box
    boxable: (B, N) bool, False for objects whose first prompt must not be a box, such as a background, whose box is the
        whole image; models without points use boxes anyway
    returns: (B, N)
    """
    stride = frame_side(model, encoded) / target.shape[-1]
    truth = target.bool()
    box_probability, plan = allowed_recipe(model, recipe, plan)
    takes_points = "points" in model.config.prompt_encoder_config.prompt_kinds
    recipe = replace(recipe, box_probability=box_probability)
    device = target.device

    def for_each_image(draw: Callable[..., tuple[Tensor, ...]], *per_image: Tensor) -> tuple[Tensor, ...]:
        rows = [draw(*parts, g) for *parts, g in zip(*(t.cpu() for t in per_image), generators, strict=True)]
        return tuple(torch.stack(column).to(device) for column in zip(*rows, strict=True))

    if boxable is None or not takes_points:
        boxable = torch.ones(truth.shape[:2], dtype=torch.bool)
    points, labels, boxes = for_each_image(lambda t, b, g: first_prompts(t, recipe, stride, g, b), truth, boxable)
    if text_embeddings is not None:
        labels, boxes = torch.full_like(labels, PAD_LABEL), torch.full_like(boxes, PAD_COORDINATE)
    previous, total = None, 0.0
    for number, kind in enumerate(plan):
        if kind == "click":
            click, label = for_each_image(
                lambda p, t, g: corrections(p, t, recipe, g), enlarged(previous, truth.shape[-2:]) > 0, truth
            )
            points = torch.cat([points, to_input(click, stride)[:, :, None]], dim=2)
            labels = torch.cat([labels, label[:, :, None]], dim=2)
        if teach is not None:
            target = teach(points, labels, boxes, previous)
            truth = target.bool()
        clicks = (points, labels) if takes_points else (None, None)
        masks, scores, _ = model.predict_masks(
            encoded.embedding,
            *clicks,
            boxes,
            previous,
            intermediate=encoded.features,
            text_embeddings=text_embeddings,
        )
        masks, scores = masks.float(), scores.float()
        shown = enlarged(masks, target.shape[-2:])
        total = total + candidate_losses(model, shown, scores, target, weights, recipe, first=number == 0)
        if number + 1 < len(plan):
            with torch.no_grad():
                previous = answer(model, masks.detach(), scores.detach(), first=number == 0)
    return total / len(plan)


def mean_over_images(losses: Tensor, valid: Tensor | None) -> Tensor:
    """(B, N) -> scalar: each image's mean over its objects, then the mean over images.

    So a batch's gradient is the mean of its parts' gradients, regardless of how objects are spread over processes.
    """
    if valid is None:
        return losses.mean()
    return ((losses * valid).sum(1) / valid.sum(1).clamp(min=1)).mean()


class InteractiveStep(nn.Module):
    """`SamModel` with the training loss as its forward, so that wrappers (DDP, FSDP, autocast) see all of it.

    sam: the model; keep_norms: batch norms keep their statistics, as small batches would spoil them
    """

    def __init__(self, sam: SamModel, prompts: PromptRecipe, weights: LossWeights, keep_norms: bool = False) -> None:
        super().__init__()
        self.sam, self.prompts, self.weights, self.keep_norms = sam, prompts, weights, keep_norms

    def train(self, mode: bool = True) -> "InteractiveStep":
        super().train(mode)
        if self.keep_norms:
            for module in self.sam.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def activation_checkpointing_enable(self, *args, **kwargs) -> None:
        self.sam.activation_checkpointing_enable(*args, **kwargs)

    def gradient_checkpointing_enable(self, *args, **kwargs) -> None:
        """Called by the Trainer before transformers 5.23."""
        self.sam.gradient_checkpointing_enable(*args, **kwargs)

    def forward(
        self,
        labels: Tensor,
        seeds: Tensor,
        plan: Plan,
        pixel_values: Tensor | None = None,
        embedding: Tensor | None = None,
        valid: Tensor | None = None,
        boxable: Tensor | None = None,
        **maps: Tensor,
    ) -> dict[str, Tensor]:
        """pixel_values: (B, 3, S, S), or embedding: (B, C, h, w) and the other maps that the decoder reads, by name

        labels: (B, N, 4h, 4w) or finer, in {0, 1}; seeds: (B,) int64; valid: (B, N) bool, False at padding;
        boxable: (B, N) bool, False for objects whose first prompt must be a click
        """
        if embedding is None:
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
            encoded = self.sam.encode(pixel_values)
        else:
            maps = {name: value.to(self.sam.dtype) for name, value in maps.items()}
            encoded = EncoderOutput(embedding.to(self.sam.dtype), self.sam.mask_decoder.named_features(maps))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        losses = self.losses(encoded, labels, plan, generators, boxable)
        return {"loss": mean_over_images(losses, valid)}

    def losses(
        self,
        encoded: EncoderOutput,
        labels: Tensor,
        plan: Plan,
        generators: Sequence[torch.Generator],
        boxable: Tensor | None,
    ) -> Tensor:
        return interactive_losses(
            self.sam, encoded, labels, self.prompts, self.weights, plan, generators, boxable=boxable
        )
