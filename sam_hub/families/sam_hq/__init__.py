"""SAM-HQ and HQ-SAM Light: a decoder with an additional token, on a ViT or TinyViT."""

from ..family import Family, Part, Variant
from ..mobile_sam import TINY_VIT
from ..sam import FAMILY as SAM
from ..sam import VIT_B, VIT_H, VIT_L


def _hq(encoder: dict, width: int) -> dict:
    """SAM-HQ's decoder, which reads early encoder features with ``width`` channels."""
    return {
        "vision_config": {**encoder["vision_config"], "output_intermediate": True},
        "mask_decoder_config": {"model_type": "sam_hub_hq_mask_decoder", "vit_dim": width},
    }


FAMILY = Family(
    name="sam_hq",
    position=40,
    mask_decoders={
        "sam_hub_hq_mask_decoder": Part(
            config="sam_hub.families.sam_hq.configuration:HqMaskDecoderConfig",
            network="sam_hub.families.sam_hq.decoder:HqMaskDecoder",
        )
    },
    originals={
        "sam-hq": "sam_hub.families.sam_hq.original:SAM_HQ",
        "sam-hq-light": "sam_hub.families.sam_hq.original:SAM_HQ_LIGHT",
    },
    transformers={"sam_hq": "sam_hub.families.sam_hq.configuration:from_transformers"},
    papers={
        "sam-hq": "Ke et al. 2023, Segment Anything in High Quality, arXiv 2306.01567",
        "sam-hq-light": "Ke et al. 2023, Segment Anything in High Quality, arXiv 2306.01567",
    },
    tiny={
        "vision_config": {**SAM.encoders["sam_vision_model"].tiny, "output_intermediate": True},
        "mask_decoder_config": {"model_type": "sam_hub_hq_mask_decoder", "vit_dim": 24},
    },
    goldens={
        "sam_hq_vit_b": ("sam-hq", ("sam-hq-vit-b",)),
        "sam_hq_vit_tiny": ("sam-hq-light", ("sam-hq-light",)),
    },
    catalogue={
        "sam-hq-vit-b": Variant(
            family="sam-hq",
            params=94_806_576,
            license="apache-2.0",
            good_for="finer outlines than sam-vit-b; one mask",
            repo="lkeab/hq-sam",
            file="sam_hq_vit_b.pth",
            sha256="14a9d662cd6f5a9c2dba6d40ab0058d88d287e4a18fd6fdc6ad5fb1a3fdeaa57",
            config=_hq(VIT_B, 768),
        ),
        "sam-hq-vit-l": Variant(
            family="sam-hq",
            params=313_676_080,
            license="apache-2.0",
            good_for="finer outlines than sam-vit-l; one mask",
            repo="lkeab/hq-sam",
            file="sam_hq_vit_l.pth",
            sha256="e1a6c385d62bf005ded91a54d5ec55c985cfc4103ef89c08d90f39f04934c343",
            config=_hq(VIT_L, 1024),
        ),
        "sam-hq-vit-h": Variant(
            family="sam-hq",
            params=642_686_000,
            license="apache-2.0",
            good_for="the finest outlines: thin and intricate objects; one mask",
            repo="lkeab/hq-sam",
            file="sam_hq_vit_h.pth",
            sha256="a7ac14a085326d9fa6199c8c698c4f0e7280afdbb974d2c4660ec60877b45e35",
            config=_hq(VIT_H, 1280),
        ),
        "sam-hq-light": Variant(
            family="sam-hq-light",
            params=10_256_964,
            license="apache-2.0",
            good_for="MobileSAM with finer outlines; one mask",
            repo="lkeab/hq-sam",
            file="sam_hq_vit_tiny.pth",
            sha256="0f32c075ccdd870ae54db2f7630e7a0878ede5a2b06d05d6fe02c65a82fb7196",
            config=_hq(TINY_VIT, 160),
            published={"COCO mask AP": "45.0, MobileSAM 44.3 (SAM-HQ's README)"},
        ),
    },
)
