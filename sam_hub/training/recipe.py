"""Recipes: every number of a training run, with its source."""

from dataclasses import dataclass, field, replace
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
    single_round_probability: of steps that stop after the first prompt, a third of the cost
    careful_probability: of clicks in the middle of the object, or of the largest mistake, as a careful person makes
        them and as evaluation does (`sam_hub.evaluation.clicks`); the others lie anywhere in it
    single_mask: the paper trains the three masks of an ambiguous prompt in the first round and the single mask
        afterwards; "always" trains both in each round, so that a box alone, too, has learnt to give one mask
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

    scale: of the image, beside fitting the input exactly; (1, 1) shows whole images
    copy_paste: probability that objects of another image are pasted on
    paste_scale: of the image that a whole thing comes from, where the objects of an image are one thing together
    """

    scale: tuple[float, float] = (0.6, 1.8)
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3
    copy_paste: float = 0.0
    paste_scale: tuple[float, float] = (0.3, 0.8)


NO_AUGMENTATION = Augmentation(scale=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0)
"""Paper, appendix A: "No data augmentation is applied"."""

LARGE_SCALE_JITTER = Augmentation(scale=(0.1, 2.0), brightness=0.0, contrast=0.0, saturation=0.0)
"""Paper, appendix A: scales in [0.1, 2.0] where data are fewer than SA-1B (the first stages of the data engine)."""


@dataclass(frozen=True)
class Recipe:
    """A training run; the defaults are the paper's (appendix A, "Training recipe") for ViT-H.

    images: of a batch; objects: at most so many of an image, the paper's 64 of a GPU
    label_stride: input pixels per pixel of the labels; below 4, logits are enlarged to them, and so edges are learnt
        finer than the low-res mask
    repeat_objects: fill up to ``objects`` by drawing some twice, so that every step costs the same
    background_probability: that what is not annotated is an object too, "everything else", which only clicks ask for
    min_area: pixels of the low-res mask below which an object is not asked for
    max_area_ratio: masks that cover more are dropped (paper: 90 %)
    schedule: "steps" divides the rate by 10 at each of ``milestones`` (shares of all steps); else a name of
        ``transformers.get_scheduler``
    encoder_rate: times the learning rate, for the encoder without its neck
    muon_rate: times the learning rate, for Muon on the matrices outside of the encoder; 0 for AdamW on everything
    encoder_every: steps between updates of the encoder's body: its backward costs as much as two rounds
    layer_decay: of the rate from one ViT layer to the one before; drop_path: stochastic depth of the last layer
    ema: decay of the moving average of the weights; 0 for none
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

When the rate of ViT-L and ViT-B falls is not stated; the same shares of the run are taken.
"""


@dataclass(frozen=True)
class PocketRecipe(Recipe):
    """The training of `pocket`.

    Photos with many objects count more than their number, because a photo with one annotated object teaches
    saliency instead of prompting; the unannotated rest of a photo is an object too. The encoder starts from ImageNet.

    only: part of the names of the parameters that learn; all of them where it is empty
    wholes: probability, for some shards, that all annotated objects of a photo together are an object too: garments,
        hair and skin are a person
    """

    only: str = ""
    wholes: dict[str, float] = field(default_factory=dict)
    image_size: int | None = 256
    images: int = 4
    objects: int = 8
    repeat_objects: bool = True
    background_probability: float = 0.35
    min_area: int = 12
    shards: dict[str, float] = field(
        default_factory=lambda: {
            "coco": 0.27,
            "coco128": 0.20,
            "fashion": 0.20,
            "cats": 0.16,
            "roads": 0.08,
            "nuclei": 0.09,
        }
    )
    steps: int = 20_000
    schedule: str = "constant_with_warmup"
    learning_rate: float = 4e-4
    encoder_rate: float = 0.4
    encoder_every: int = 3
    layer_decay: float = 1.0
    drop_path: float = 0.0
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip_norm: float = 1.0
    ema: float = 0.998
    prompts: PromptRecipe = PromptRecipe()
    augmentation: Augmentation = Augmentation()


FINE_SHARDS = {"coco": 0.25, "coco128": 0.17, "fashion": 0.22, "cats": 0.14, "roads": 0.10, "nuclei": 0.12}

FINE_256 = PocketRecipe(
    label_stride=2,
    steps=1500,
    learning_rate=3e-4,
    warmup=30,
    background_probability=0.2,
    seed=3,
    prompts=PromptRecipe(box_noise=0.05),
    augmentation=Augmentation(scale=(0.8, 3.0)),
    shards=FINE_SHARDS,
)

AT_512 = PocketRecipe(
    image_size=512,
    images=3,
    objects=5,
    steps=700,
    schedule="linear",
    learning_rate=3e-4,
    warmup=30,
    encoder_every=2,
    ema=0.995,
    seed=1,
    prompts=PromptRecipe(single_round_probability=0.6),
)

FINE_512 = replace(
    AT_512,
    label_stride=2,
    objects=6,
    steps=750,
    background_probability=0.2,
    seed=4,
    prompts=PromptRecipe(box_noise=0.05, single_round_probability=0.5),
    shards=FINE_SHARDS,
)

MUON_256 = replace(
    FINE_256,
    steps=6000,
    muon_rate=1.5,
    encoder_every=2,
    seed=5,
    prompts=PromptRecipe(box_noise=0.05, single_round_probability=0.75),
)

MUON_512 = replace(
    FINE_512,
    steps=600,
    muon_rate=1.5,
    seed=6,
    prompts=PromptRecipe(box_noise=0.05, single_round_probability=0.7),
)

CAREFUL_512 = replace(
    MUON_512,
    objects=6,
    min_area=5,
    max_area_ratio=0.97,
    background_probability=0.15,
    steps=2200,
    ema=0.998,
    seed=10,
    prompts=PromptRecipe(box_noise=0.02, single_round_probability=0.85, careful_probability=0.5),
    shards={"coco": 0.25, "coco128": 0.18, "fashion": 0.25, "cats": 0.10, "roads": 0.13, "nuclei": 0.09},
)

CHOICE_512 = replace(
    CAREFUL_512,
    only="mask_decoder",
    images=4,
    objects=8,
    background_probability=0.1,
    learning_rate=1e-4,
    steps=400,
    ema=0.99,
    seed=15,
    wholes={"fashion": 0.5},
    prompts=PromptRecipe(box_probability=0.3, box_noise=0.02, single_round_probability=0.9, careful_probability=1.0),
    augmentation=Augmentation(scale=(0.8, 1.6)),
    loss=LossWeights(iou=10.0),
)

POCKET_RECIPES = {
    "pocket-256": PocketRecipe(),
    "pocket-256-zoom": PocketRecipe(
        steps=3000,
        learning_rate=3e-4,
        warmup=60,
        seed=2,
        augmentation=Augmentation(scale=(0.8, 3.0)),
    ),
    "pocket-512": AT_512,
    "pocket-256-fine": FINE_256,
    "pocket-512-fine": FINE_512,
    "pocket-256-muon": MUON_256,
    "pocket-512-muon": MUON_512,
    "pocket-256-longer": replace(MUON_256, seed=7),
    "pocket-512-longer": replace(
        MUON_512, steps=520, seed=8, prompts=PromptRecipe(box_noise=0.03, single_round_probability=0.7)
    ),
    "pocket-512-iou": replace(
        FINE_512,
        only="iou_prediction_head",
        images=4,
        objects=8,
        steps=300,
        ema=0.98,
        seed=9,
        prompts=PromptRecipe(box_probability=0.3, box_noise=0.03, single_round_probability=0.85),
        augmentation=Augmentation(scale=(0.8, 1.6)),
    ),
    "pocket-512-careful": CAREFUL_512,
    "pocket-512-whole": replace(CAREFUL_512, steps=3000, seed=12, wholes={"fashion": 0.5}),
    "pocket-512-persons": replace(CAREFUL_512, steps=3000, seed=13, wholes={"fashion": 1.0}),
    "pocket-512-more": replace(CAREFUL_512, steps=3200, seed=14, wholes={"fashion": 1.0}),
    "pocket-512-choice": CHOICE_512,
    "pocket-512-street": replace(
        CAREFUL_512,
        steps=2000,
        seed=16,
        wholes={"fashion": 1.0},
        prompts=replace(CAREFUL_512.prompts, careful_probability=0.75),
        augmentation=Augmentation(copy_paste=0.4),
        loss=LossWeights(iou=5.0),
    ),
    "pocket-512-choice-again": replace(
        CHOICE_512,
        steps=600,
        seed=17,
        wholes={"fashion": 1.0},
        prompts=replace(CHOICE_512.prompts, box_probability=0.4),
        augmentation=replace(CHOICE_512.augmentation, copy_paste=0.4),
    ),
}
"""`pocket` is trained small and fast first, then at its final size with a falling rate.

The zoomed ones show objects at the scale that they have at 512 pixels, for a quarter of the price; the fine ones have
labels of twice the low-res mask's resolution and tighter boxes; those with Muon give it the decoder's matrices, and
more of their time to first prompts; the longer ones go on with other draws; the IoU head alone catches up with masks
that have become better. Half of the careful stage's clicks lie in the middle, and two processes trained it.
A choice stage teaches the decoder which of its masks to prefer; the street stage pastes whole people, small, onto other
photos.
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
"""`sam-hub train`'s: a few dozen images, minutes on a CPU."""

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
a weight decay of 5e-4; the paper takes 55 k steps of 8 images."""

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
