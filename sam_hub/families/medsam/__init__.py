"""MedSAM: SAM's network, with its own image preparation, prompts and masks."""

from ..family import Family, Variant
from ..sam import VIT_B

MEDSAM = {
    "prompt_encoder_config": {"prompt_kinds": ["boxes"]},
    "preprocessing": {
        "resize_mode": "stretch",
        "resample": 3,  # Pillow's bicubic filter
        "do_min_max": True,
        "mask_resize": "probability",
    },
}
"""How MedSAM prepares images and takes prompts (bowang-lab/MedSAM, ``MedSAM_Inference.py``).

It resizes with scikit-image, whose cubic spline and blur are not quite Pillow's bicubic filter.
"""

FAMILY = Family(
    name="medsam",
    position=70,
    files={"medsam_vit_b.pth": "medsam"},
    papers={"medsam": "Ma et al. 2024, Segment anything in medical images, arXiv 2304.12306"},
    goldens={"sam_vit_b": ("sam", ("medsam",))},
    catalogue={
        "medsam": Variant(
            family="sam",
            params=93_735_472,
            license="apache-2.0",
            good_for="medical images, from boxes; ask for one mask",
            repo="wanglab/medsam-vit-base",
            revision="de8488bca37bb1d4fb190f612c516126d739ce3b",
            config={**VIT_B, **MEDSAM},
        ),
    },
)
