"""The stages of `pocket`'s training, as data."""

from dataclasses import dataclass, field, replace

from ..models.loss import LossWeights
from .recipe import Augmentation, PromptRecipe, Recipe


@dataclass(frozen=True)
class PocketRecipe(Recipe):
    """The training of `pocket`.

    Photos with many objects count more than their number, because a photo with one annotated object teaches
    saliency instead of prompting; the unannotated rest of a photo is an object too. The encoder starts from ImageNet.

    only: substring of the names of trained parameters; empty: all are trained
    wholes: probability, for some shards, that all annotated objects of a photo together are also an object: garments,
        hair and skin make a person
    shards: how often each shard is drawn from; "scenes" (`SceneDataset`, of all the others) and "textures"
        (`TextureDataset`) are synthetic and need no file
    fine_features: the decoder reads features at strides 8 and 4 (`FineMaskDecoder`)
    """

    only: str = ""
    wholes: dict[str, float] = field(default_factory=dict)
    fine_features: bool = False
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
    prompts: PromptRecipe = field(default_factory=PromptRecipe)
    augmentation: Augmentation = field(default_factory=Augmentation)


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

VARIED_SHARDS = {
    "coco-multi": 0.17,
    "scenes": 0.17,
    "coco": 0.12,
    "pantry": 0.10,
    "textures": 0.10,
    "coco128": 0.08,
    "fashion": 0.07,
    "animals": 0.06,
    "roads": 0.04,
    "nuclei": 0.04,
    "cats": 0.03,
    "mushrooms": 0.02,
}
"""Weighted by variety, not by photos: roughly the square root of a shard's objects times that of its classes.

COCO's three shards show 80 classes, `pantry` dozens; cats, mushrooms and nuclei are thousands of one class each.
"""

VARIED_512 = replace(
    CAREFUL_512,
    fine_features=True,
    shards=VARIED_SHARDS,
    steps=20_000,
    schedule="cosine",
    learning_rate=2e-4,
    warmup=100,
    seed=20,
    wholes={"fashion": 0.7},
    prompts=replace(CAREFUL_512.prompts, careful_probability=0.75),
    augmentation=Augmentation(scale=(0.6, 1.8), copy_paste=0.15, zoom=0.2, strong=0.3),
    loss=LossWeights(iou=5.0),
)

VARIED_CHOICE_512 = replace(
    VARIED_512,
    only="mask_decoder",
    images=4,
    objects=8,
    background_probability=0.1,
    learning_rate=1e-4,
    warmup=30,
    steps=300,
    ema=0.99,
    seed=22,
    prompts=CHOICE_512.prompts,
    augmentation=replace(VARIED_512.augmentation, scale=(0.8, 1.6)),
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
    "pocket-512-varied": VARIED_512,
    "pocket-512-varied-choice": VARIED_CHOICE_512,
    "pocket-512-varied-more": replace(VARIED_512, steps=1250, seed=23),
    "pocket-512-varied-choice-again": replace(VARIED_CHOICE_512, seed=24),
    "pocket-512-varied-third": replace(
        VARIED_512, steps=500, seed=25, augmentation=replace(VARIED_512.augmentation, zoom=0.35)
    ),
    "pocket-512-varied-choice-third": replace(VARIED_CHOICE_512, steps=150, seed=26),
    "pocket-512-gpu": replace(
        VARIED_512,
        images=48,
        objects=8,
        steps=2500,
        encoder_every=1,
        encoder_rate=0.5,
        learning_rate=6e-4,
        seed=21,
    ),
}
"""`pocket` is first trained at a small size, which is fast, then at its final size with a decaying learning rate.

The zoom stage shows objects at the scale that they have at 512 pixels, for a quarter of the cost; the fine stages have
labels of twice the low-res mask's resolution and tighter boxes; the Muon stages use Muon for the decoder's matrices and
spend more steps on first prompts; the longer stages continue with other samples; the IoU stage trains only the IoU
head, after masks have improved. Half of the careful stage's clicks are in the middle, and two processes trained it. The
choice stages teach the decoder which of its masks to prefer; the street stage pastes whole people, small, onto other
photos. The varied stage has finer features, all shards, synthetic scenes and textures, zoomed views and strong colour
augmentation; weights after the stages that repeat it are averaged with its own. The GPU stage has large batches.
"""
