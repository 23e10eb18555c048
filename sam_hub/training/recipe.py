"""Recipes: every number of a training run, with its source."""

from dataclasses import dataclass
from typing import Literal

from ..models.loss import LossWeights


@dataclass(frozen=True)
class PromptRecipe:
    """How prompts are simulated (paper, appendix A, "Training algorithm").

    The paper starts from a point or a box with equal probability, gives box corners normal noise of 10 % of the
    side, at most 20 pixels at 1024 (2 % of the input side), and has 11 rounds: this first prompt, 8 points from the
    error region, one more round without a new prompt somewhere among them, and one at the end. Every round but the
    first is also given the low-res logits of the round before. The defaults are `pocket`'s, which are cheaper.

    rounds: the first prompt and the corrective points
    mask_only_rounds: rounds without a new prompt: the last at the end, the others somewhere among the points
    single_round_probability: of steps that stop after the first prompt, at a third of the cost
    careful_probability: of clicks in the middle of the object or of the largest error, as a careful person makes
        them and as evaluation does (`sam_hub.evaluation.clicks`); other clicks are anywhere in it
    single_mask: the paper trains the three masks of an ambiguous prompt in the first round and the single mask
        afterwards; "always" trains both in each round, so that a first box also learns to give one mask
    """

    box_probability: float = 0.5
    box_noise: float = 0.1
    box_noise_limit: float = 20 / 1024
    rounds: int = 3
    mask_only_rounds: int = 0
    single_round_probability: float = 0.4
    careful_probability: float = 0.0
    single_mask: Literal["always", "after the first"] = "always"


@dataclass(frozen=True)
class Augmentation:
    """Large-scale jitter (Ghiasi et al. 2021), flips, colour and copy-paste (the same paper).

    scale: of the image, relative to fitting the input exactly; (1, 1) shows whole images
    copy_paste: probability that objects of another image are pasted on
    paste_scale: of the source image, if all objects of an image together are pasted as one
    zoom: probability that the view is enlarged instead, up to eight times, so that one object fills a fair part of it
    strong: probability of strong changes that imitate other kinds of images (`sam_hub.training.colours`)
    """

    scale: tuple[float, float] = (0.6, 1.8)
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3
    copy_paste: float = 0.0
    paste_scale: tuple[float, float] = (0.3, 0.8)
    zoom: float = 0.0
    strong: float = 0.0


NO_AUGMENTATION = Augmentation(scale=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
"""Paper, appendix A: "No data augmentation is applied"."""

LARGE_SCALE_JITTER = Augmentation(scale=(0.1, 2.0), brightness=0.0, contrast=0.0, saturation=0.0)
"""Paper, appendix A: scales in [0.1, 2.0] for less data than SA-1B (the first stages of the data engine)."""


@dataclass(frozen=True)
class Recipe:
    """A training run; the defaults are the paper's (appendix A, "Training recipe") for ViT-H.

    images: per batch; objects: at most this many per image; the paper's 64 are per GPU
    label_stride: input pixels per pixel of the labels; below 4, logits are enlarged to them, so that edges are learnt
        at a finer resolution than the low-res mask's
    repeat_objects: sample some objects twice to fill up to ``objects``, so that every step costs the same
    background_probability: that the unannotated rest of an image is also an object, prompted only by clicks
    min_area: pixels of the low-res mask; smaller objects are not used
    max_area_ratio: masks that cover more are dropped (paper: 90 %)
    schedule: "steps" divides the rate by 10 at each of ``milestones`` (shares of all steps); else a name of
        ``transformers.get_scheduler``
    encoder_rate: factor of the learning rate for the encoder without its neck
    muon_rate: factor of the learning rate for Muon on the matrices outside the encoder; 0: AdamW for everything
    encoder_every: steps between updates of the encoder's body: its backward costs as much as two rounds
    layer_decay: factor of the rate from one ViT layer to the one before; drop_path: stochastic depth of the last layer
    ema: decay of the moving average of the weights; 0: none
    """

    image_size: int | None = None  # None: the model's own
    images: int = 256
    objects: int = 64
    label_stride: int = 4
    repeat_objects: bool = False
    background_probability: float = 0.0
    min_area: int = 1
    max_area_ratio: float = 0.9
    steps: int = 90_000
    schedule: str = "steps"
    milestones: tuple[float, ...] = (60_000 / 90_000, 86_666 / 90_000)
    learning_rate: float = 8e-4
    encoder_rate: float = 1.0
    muon_rate: float = 0.0
    encoder_every: int = 1
    layer_decay: float = 0.8
    drop_path: float = 0.4
    warmup: int = 250
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    clip_norm: float = 0.0
    ema: float = 0.0
    seed: int = 0
    prompts: PromptRecipe = PromptRecipe(
        rounds=9, mask_only_rounds=2, single_round_probability=0.0, single_mask="after the first"
    )
    augmentation: Augmentation = NO_AUGMENTATION
    loss: LossWeights = LossWeights()


PAPER_RECIPES = {
    "sam-vit-h": Recipe(),
    "sam-vit-l": Recipe(images=128, steps=180_000, learning_rate=4e-4, layer_decay=0.8, drop_path=0.4),
    "sam-vit-b": Recipe(images=128, steps=180_000, learning_rate=8e-4, layer_decay=0.6, drop_path=0.6),
}
"""Paper, appendix A: ViT-H for 90 k steps of 256 images; ViT-L and ViT-B for 180 k steps of 128.

The paper does not state when the rate of ViT-L and ViT-B drops; the same shares of the run are used.
"""


FINE_TUNING = Recipe(
    images=2,
    objects=4,
    label_stride=2,
    min_area=4,
    steps=200,
    schedule="linear",
    learning_rate=3e-4,
    encoder_rate=0.1,
    layer_decay=0.8,
    drop_path=0.0,
    warmup=20,
    weight_decay=0.05,
    clip_norm=1.0,
    ema=0.98,
    prompts=PromptRecipe(box_noise=0.03, careful_probability=0.5),
    augmentation=Augmentation(scale=(0.7, 1.5)),
)
"""The recipe of `sam-hub train`: a few dozen images, minutes on a CPU."""

DISTIL_ENCODER = Recipe(
    images=4,
    steps=2000,
    schedule="cosine",
    learning_rate=1e-3,
    layer_decay=1.0,
    drop_path=0.0,
    warmup=50,
    weight_decay=5e-4,
    clip_norm=1.0,
    augmentation=NO_AUGMENTATION,
)
"""MobileSAM (Zhang et al. 2023, section 4.1): the student's embedding learns the teacher's by mean squared error, with
a weight decay of 5e-4; the paper trains for 55 k steps of 8 images."""

DISTIL_PROMPTS = Recipe(
    images=2,
    objects=8,
    min_area=4,
    steps=1000,
    schedule="cosine",
    learning_rate=1e-4,
    layer_decay=1.0,
    drop_path=0.0,
    warmup=20,
    weight_decay=5e-4,
    clip_norm=1.0,
    augmentation=NO_AUGMENTATION,
    prompts=PromptRecipe(rounds=2, single_round_probability=0.0),
)
"""EdgeSAM (Zhou et al. 2023, section 3.3): a box or a point, then a point where student and teacher disagree."""
