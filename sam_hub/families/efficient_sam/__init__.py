"""EfficientSAM: a plain ViT, a fixed number of prompt slots, and its own decoder."""

from ..family import Family, Part, Variant


def _efficient_sam(width: int) -> dict:
    """EfficientSAM with heads 64 wide and six prompt slots."""
    return {
        "vision_config": {
            "model_type": "sam_hub_efficient_sam",
            "hidden_size": width,
            "num_attention_heads": width // 64,
        },
        "prompt_encoder_config": {"model_type": "sam_hub_efficient_sam_prompt_encoder"},
        "mask_decoder_config": {"model_type": "sam_hub_efficient_sam_mask_decoder"},
    }


FAMILY = Family(
    name="efficient_sam",
    position=50,
    encoders={
        "sam_hub_efficient_sam": Part(
            config="sam_hub.families.efficient_sam.configuration:EfficientSamVisionConfig",
            network="sam_hub.families.efficient_sam.encoder:EfficientSamEncoder",
            preparation={"resize_mode": "stretch_float", "mask_resize": "bicubic"},
            tiny={
                "hidden_size": 24,
                "num_hidden_layers": 2,
                "num_attention_heads": 3,
                "mlp_dim": 40,
                "pretrained_grid": 4,
            },
            tiny_states=3,
        )
    },
    prompt_encoders={
        "sam_hub_efficient_sam_prompt_encoder": Part(
            config="sam_hub.families.efficient_sam.configuration:EfficientSamPromptEncoderConfig",
            network="sam_hub.families.efficient_sam.decoder:EfficientSamPromptEncoder",
            prompts=("points", "boxes"),
        )
    },
    mask_decoders={
        "sam_hub_efficient_sam_mask_decoder": Part(
            config="sam_hub.families.efficient_sam.configuration:EfficientSamMaskDecoderConfig",
            network="sam_hub.families.efficient_sam.decoder:EfficientSamMaskDecoder",
        )
    },
    originals={"efficient-sam": "sam_hub.families.efficient_sam.original:EFFICIENT_SAM"},
    papers={"efficient-sam": "Xiong et al. 2023, EfficientSAM, arXiv 2312.00863"},
    tiny={
        "vision_config": {
            "model_type": "sam_hub_efficient_sam",
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "mlp_dim": 40,
            "pretrained_grid": 4,
        },
        "prompt_encoder_config": {"model_type": "sam_hub_efficient_sam_prompt_encoder"},
        "mask_decoder_config": {"model_type": "sam_hub_efficient_sam_mask_decoder"},
    },
    goldens={
        "efficient_sam_vits": ("efficient-sam", ("efficient-sam-s",)),
        "efficient_sam_vitt": ("efficient-sam", ("efficient-sam-ti",)),
    },
    catalogue={
        "efficient-sam-ti": Variant(
            family="efficient-sam",
            params=10_223_204,
            license="apache-2.0",
            good_for="small and simple; foreground clicks and boxes only",
            repo="yunyangx/EfficientSAM",
            file="efficient_sam_vitt.pt",
            url="https://github.com/yformer/EfficientSAM/raw/main/weights/efficient_sam_vitt.pt",
            config=_efficient_sam(192),
        ),
        "efficient-sam-s": Variant(
            family="efficient-sam",
            params=26_413_028,
            license="apache-2.0",
            good_for="the better EfficientSAM; foreground clicks and boxes only",
            repo="yunyangx/EfficientSAM",
            file="efficient_sam_vits.pt",
            url="https://github.com/yformer/EfficientSAM/raw/main/weights/efficient_sam_vits.pt.zip",
            sha256="339376940b92351ae26dd1162e2305a1cc6f5cde735105e91286251abd9a6b65",
            config=_efficient_sam(384),
        ),
    },
)
