"""Recipes: every number of a training run, with its source."""

from dataclasses import dataclass, field

from ..models.loss import LossWeights


@dataclass(frozen=True)
class PromptRecipe:
    """How prompts are simulated (paper, appendix A, "Training algorithm").

    The paper starts from a point or a box with equal probability, and gives box corners normal noise of 10 %
    of the side, at most 20 pixels at 1024, that is 2 % of the input side.
    """

    box_probability: float = 0.5
    box_noise: float = 0.1
    box_noise_limit: float = 20 / 1024
    rounds: int = 3  # a first prompt, then corrective clicks with the previous mask
    single_round_probability: float = 0.4  # steps that stop after the first prompt: a third of the cost


@dataclass(frozen=True)
class Augmentation:
    """Large-scale jitter (Ghiasi et al. 2021), moderate, flips and colour."""

    scale: tuple[float, float] = (0.6, 1.8)
    flip: float = 0.5
    brightness: float = 0.25
    contrast: float = 0.25
    saturation: float = 0.3


@dataclass(frozen=True)
class PocketRecipe:
    """The training of `pocket`, first cut.

    Photos with many objects count more than their number, because a photo with one annotated object teaches
    saliency instead of prompting; the unannotated rest of a photo is an object too.
    """

    image_size: int = 256
    images: int = 4
    objects: int = 8
    background_probability: float = 0.35
    min_area: int = 12  # low-res pixels below which an object is not asked for
    max_area_ratio: float = 0.9  # paper, appendix A: masks that cover more than 90 % are dropped
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
    schedule: str = "constant_with_warmup"  # a name of transformers.get_scheduler
    learning_rate: float = 4e-4
    encoder_rate: float = 0.4  # times the learning rate: the encoder starts from ImageNet
    encoder_every: int = 3  # steps between updates of the encoder: its backward costs as much as two rounds
    warmup: int = 250  # paper, appendix A
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    ema: float = 0.998
    seed: int = 0
    prompts: PromptRecipe = PromptRecipe()
    augmentation: Augmentation = Augmentation()
    loss: LossWeights = LossWeights()


POCKET_RECIPES = {
    "pocket-256": PocketRecipe(),
    "pocket-256-zoom": PocketRecipe(
        steps=3000,
        learning_rate=3e-4,
        warmup=60,
        seed=2,
        augmentation=Augmentation(scale=(0.8, 3.0)),
    ),
    "pocket-512": PocketRecipe(
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
    ),
}
"""`pocket` is trained small and fast first, then at its final size with a falling rate.

The zoomed recipe shows objects at the scale that they have at 512 pixels, for a quarter of the price.
"""
