"""A family outside the package: an encoder with a second feature map, and a decoder that reads it.

Neither ``sam_hub`` nor the shared tests mention it. Its decoder shows what later SAMs need: a finer feature map by
name, a sigmoid on the predicted IoU, and choosing the single mask by stability.
"""

from sam_hub.families.family import Family, Part, Variant

TINY = {"width": 12}
PROMPTS = {"hidden_size": 64, "mask_input_channels": 16}
DECODER = {"hidden_size": 64, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 28}

FAMILY = Family(
    name="toy",
    encoders={
        "toy_vision": Part(
            config="toy_family.configuration:ToyVisionConfig",
            network="toy_family.network:ToyEncoder",
            preparation={"resize_mode": "stretch", "mask_resize": "bicubic", "image_mean": (0.5,) * 3},
            tiny=TINY,
            tiny_states=2,
            softmax_attention=False,
        )
    },
    mask_decoders={
        "toy_mask_decoder": Part(
            config="toy_family.configuration:ToyMaskDecoderConfig", network="toy_family.network:ToyMaskDecoder"
        )
    },
    originals={"toy": "toy_family.original:TOY"},
    catalogue={
        "toy": Variant(
            family="toy",
            params=139_444,
            license="apache-2.0",
            good_for="tests",
            file="toy.pth",
            url="https://example.invalid/toy.pth",
            image_size=96,
            config={
                "vision_config": {"model_type": "toy_vision", **TINY},
                "prompt_encoder_config": {**PROMPTS, "image_size": 96},
                "mask_decoder_config": {"model_type": "toy_mask_decoder", **DECODER},
            },
        )
    },
    papers={"toy": "Nobody 2026, Toys"},
    tiny={
        "vision_config": {"model_type": "toy_vision", **TINY},
        "mask_decoder_config": {"model_type": "toy_mask_decoder"},
    },
)
