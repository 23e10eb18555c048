"""EfficientViT-SAM: an encoder of convolutions and linear attention, with SAM's decoder."""

from typing import Any

from ..family import Family, Part, Variant


def _efficientvit(depths: list[int], neck_depth: int, **larger: Any) -> dict:
    """EfficientViT-SAM; every norm has an eps of 1e-6, also in the decoder."""
    return {
        "vision_config": {
            "model_type": "sam_hub_efficientvit",
            "depths": depths,
            "neck_depth": neck_depth,
            **larger,
        },
        "mask_decoder_config": {"layer_norm_eps": 1e-6},
    }


EFFICIENTVIT_XL = {
    "widths": [32, 64, 128, 256, 512, 1024],
    "blocks": ["res", "fmb", "fmb", "fmb", "att", "att"],
    "expansions": [1, 4, 4, 4, 4, 6],
    "attention_kernel": 3,
    "neck_expansion": 4,
    "image_size": 1024,
    "patch_size": 16,
}
"""Settings shared by XL0 and XL1 that differ from L0's defaults."""


def _published_efficientvit(coco: float, lvis: float, throughput: int) -> dict[str, str]:
    source = "EfficientViT-SAM's README"
    return {
        "COCO mask AP, ViTDet boxes": f"{coco} ({source})",
        "LVIS mask AP, ViTDet boxes": f"{lvis} ({source})",
        "end to end on an A100, TensorRT fp16": f"{throughput} images/s ({source})",
    }


FAMILY = Family(
    name="efficientvit_sam",
    position=60,
    encoders={
        "sam_hub_efficientvit": Part(
            config="sam_hub.families.efficientvit_sam.configuration:EfficientVitVisionConfig",
            network="sam_hub.families.efficientvit_sam.encoder:EfficientVitEncoder",
            rank_four="sam_hub.families.efficientvit_sam.rank_four:RESTATED",
            wide_operations=("matmul", "real_div", "slice_by_index", "split"),  # sums over all pixels
            tiny={
                "widths": [8, 8, 8, 16, 16],
                "depths": [1, 1, 1, 1, 1],
                "attention_head_dim": 8,
                "neck_width": 16,
                "neck_depth": 1,
                "patch_size": 16,
            },
            tiny_states=5,
            softmax_attention=False,
        )
    },
    originals={"efficientvit-sam": "sam_hub.families.efficientvit_sam.original:EFFICIENTVIT_SAM"},
    papers={"efficientvit-sam": "Zhang et al. 2024, EfficientViT-SAM, arXiv 2402.05008"},
    goldens={
        "efficientvit_sam_l0": ("efficientvit-sam", ("efficientvit-sam-l0",)),
        "efficientvit_sam_xl0": ("efficientvit-sam", ("efficientvit-sam-xl0",)),
    },
    catalogue={
        "efficientvit-sam-l0": Variant(
            family="efficientvit-sam",
            params=34_792_784,
            license="apache-2.0",
            good_for="speed on a GPU at 512 pixels",
            repo="mit-han-lab/efficientvit-sam",
            file="efficientvit_sam_l0.pt",
            sha256="c4f994b01a16d48bcf2fbbb089448cfbf58fae5811edfa8113c953b8b8cc64b8",
            image_size=512,
            config=_efficientvit([1, 1, 1, 4, 4], 4),
            published=_published_efficientvit(45.7, 41.8, 762),
        ),
        "efficientvit-sam-l1": Variant(
            family="efficientvit-sam",
            params=47_650_128,
            license="apache-2.0",
            good_for="between L0 and L2",
            repo="mit-han-lab/efficientvit-sam",
            file="efficientvit_sam_l1.pt",
            sha256="fa151df2b9b96896accd505470755cdd293a4c50cdabac95478f3fbd86d9152b",
            image_size=512,
            config=_efficientvit([1, 1, 1, 6, 6], 8),
            published=_published_efficientvit(46.2, 42.1, 638),
        ),
        "efficientvit-sam-l2": Variant(
            family="efficientvit-sam",
            params=61_328_592,
            license="apache-2.0",
            good_for="the best at 512 pixels",
            repo="mit-han-lab/efficientvit-sam",
            file="efficientvit_sam_l2.pt",
            sha256="d4bfd842224cbb99de09acc3325e81ac5b7e8725c8fbdab152305e5d934bfe4a",
            image_size=512,
            config=_efficientvit([1, 2, 2, 8, 8], 12),
            published=_published_efficientvit(46.6, 42.7, 538),
        ),
        "efficientvit-sam-xl0": Variant(
            family="efficientvit-sam",
            params=116_957_904,
            license="apache-2.0",
            good_for="a large model for a GPU; its authors report more than ViT-H's quality",
            repo="mit-han-lab/efficientvit-sam",
            file="efficientvit_sam_xl0.pt",
            sha256="9bc2f87bd23d6e6d1f7b5beff910f98835c7c333fac73e695bac0bec685968f8",
            config=_efficientvit([0, 1, 1, 2, 3, 3], 6, **EFFICIENTVIT_XL),
            published=_published_efficientvit(47.5, 43.9, 278),
        ),
        "efficientvit-sam-xl1": Variant(
            family="efficientvit-sam",
            params=203_346_128,
            license="apache-2.0",
            good_for="the best EfficientViT-SAM",
            repo="mit-han-lab/efficientvit-sam",
            file="efficientvit_sam_xl1.pt",
            sha256="10f42277679427c1183dcff19758e536aa86bcc4304e4b387ff48865784be05c",
            config=_efficientvit([1, 2, 2, 4, 6, 6], 12, **EFFICIENTVIT_XL),
            published=_published_efficientvit(47.8, 44.4, 182),
        ),
    },
)
