"""Segment Anything itself, and SAM with other widths (SlimSAM)."""

from ..family import Family, Part, Variant


def vit_settings(width: int, depth: int, heads: int, every: int) -> dict:
    """A ViT with global attention in every ``every``-th layer."""
    return {
        "vision_config": {
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": heads,
            "global_attn_indexes": list(range(every - 1, depth, every)),
        }
    }


VIT_B, VIT_L, VIT_H = vit_settings(768, 12, 12, 3), vit_settings(1024, 24, 16, 6), vit_settings(1280, 32, 16, 8)


def _pruned(width: int, mlp: int) -> dict:
    """A ViT-B with all widths reduced by the same factor (SlimSAM)."""
    return {"vision_config": {**VIT_B["vision_config"], "hidden_size": width, "mlp_dim": mlp}}


FAMILY = Family(
    name="sam",
    position=10,
    encoders={
        "sam_vision_model": Part(
            config="sam_hub.models.configuration_parts:SamVisionConfig",
            network="sam_hub.models.encoders.vit:VitEncoder",
            rank_four="sam_hub.families.sam.rank_four:RESTATED",
            bfloat16=True,
            tiny={
                "hidden_size": 24,
                "num_hidden_layers": 3,
                "num_attention_heads": 3,
                "global_attn_indexes": [1],
                "window_size": 4,
                "mlp_dim": 40,
                "num_pos_feats": 32,
            },
            tiny_states=4,
        )
    },
    prompt_encoders={
        "sam_prompt_encoder": Part(
            config="sam_hub.models.configuration_parts:SamPromptEncoderConfig",
            network="sam_hub.models.prompt_encoder:PromptEncoder",
        )
    },
    mask_decoders={
        "sam_mask_decoder": Part(
            config="sam_hub.models.configuration_parts:SamMaskDecoderConfig",
            network="sam_hub.models.mask_decoder:MaskDecoder",
        )
    },
    originals={"sam": "sam_hub.families.sam.original:SAM"},
    transformers={"sam": "sam_hub.families.sam.configuration:from_transformers"},
    native={
        ("sam_vision_model", "sam_prompt_encoder", "sam_mask_decoder"): (
            "sam_hub.families.sam.configuration:to_transformers"
        )
    },
    aliases={
        **{f"vit-{size}": f"sam-vit-{size}" for size in "blh"},
        "sam-vit-base": "sam-vit-b",
        "sam-vit-large": "sam-vit-l",
        "sam-vit-huge": "sam-vit-h",
    },
    papers={
        "sam": "Kirillov et al. 2023, Segment Anything, arXiv 2304.02643",
        "slimsam": "Chen et al. 2023, SlimSAM, arXiv 2312.05284",
    },
    goldens={"sam_vit_b": ("sam", ("sam-vit-b",)), "slimsam_77": ("sam", ("slimsam-77",))},
    catalogue={
        "sam-vit-b": Variant(
            family="sam",
            params=93_735_472,
            license="apache-2.0",
            good_for="the smallest original",
            repo="facebook/sam-vit-base",
            config=VIT_B,
        ),
        "sam-vit-l": Variant(
            family="sam",
            params=312_342_832,
            license="apache-2.0",
            good_for="nearly the quality of H at half its size",
            repo="facebook/sam-vit-large",
            config=VIT_L,
        ),
        "sam-vit-h": Variant(
            family="sam",
            params=641_090_608,
            license="apache-2.0",
            good_for="the best masks of the original family",
            repo="facebook/sam-vit-huge",
            config=VIT_H,
        ),
        "slimsam-50": Variant(
            family="sam",
            params=27_961_776,
            license="apache-2.0",
            good_for="a pruned ViT-B, a third of its size",
            repo="Zigeng/SlimSAM-uniform-50",
            config=_pruned(384, 1536),
        ),
        "slimsam-77": Variant(
            family="sam",
            params=9_723_528,
            license="apache-2.0",
            good_for="a pruned ViT-B, a tenth of its size",
            repo="Zigeng/SlimSAM-uniform-77",
            config=_pruned(168, 696),
        ),
    },
)
