"""SAM 3: clicks and boxes as in SAM 2 on a larger ViT, and all instances of a concept given by words or examples."""

from ..family import Family, Part, Variant
from ..sam2 import AFTER_ENCODER

SAM3 = {
    "vision_config": {"model_type": "sam3_vision_model"},
    "prompt_encoder_config": {**AFTER_ENCODER["prompt_encoder_config"], "image_size": 1008, "patch_size": 14},
    "mask_decoder_config": AFTER_ENCODER["mask_decoder_config"],
}

TINY = {
    "hidden_size": 32,
    "mlp_dim": 40,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 16,
    "window_size": 4,
    "global_attn_indexes": [1],
    "pretrain_image_size": 64,
}

FAMILY = Family(
    name="sam3",
    position=47,
    encoders={
        "sam3_vision_model": Part(
            config="sam_hub.families.sam3.configuration:Sam3VisionConfig",
            network="sam_hub.families.sam3.encoder:Sam3Encoder",
            rank_four="sam_hub.families.sam3.rank_four:RESTATED",
            preparation={
                "resize_mode": "stretch",
                "mask_resize": "bilinear",
                "image_mean": (0.5, 0.5, 0.5),
                "image_std": (0.5, 0.5, 0.5),
            },
            generation={"pred_iou_thresh": 0.8},
            tiny=TINY,
            tiny_states=4,
        )
    },
    concepts="sam_hub.families.sam3.concepts:ConceptModel",
    transformers={
        "sam3": "sam_hub.families.sam3.configuration:from_detector",
        "sam3_tracker": "sam_hub.families.sam3.configuration:from_tracker",
        "sam3_tracker_video": "sam_hub.families.sam3.configuration:from_tracker",
        "sam3_video": "sam_hub.families.sam3.configuration:from_video",
    },
    native={
        ("sam3_vision_model", "sam2_prompt_encoder", "sam2_mask_decoder"): (
            "sam_hub.families.sam3.configuration:to_tracker"
        )
    },
    renamed={  # transformers repeats the prefix when it saves tensors that it did not load
        r"^(?:tracker_model\.)*detector_model\.vision_encoder\.backbone\.": "vision_encoder.backbone.",
        r"^(?:tracker_model\.)*tracker_neck\.": "vision_encoder.neck.",
        r"^(?:tracker_model\.)+(.+)": r"\1",
    },
    unread=(r"^detector_model\.", r"^vision_encoder\.neck\.fpn_layers\.3\."),
    originals={"sam3": "sam_hub.families.sam3.original:CLICKS"},
    catalogue={
        "sam3": Variant(
            family="sam3",
            params=457_407_889,
            license="sam-license",
            good_for="clicks, boxes and text: every instance of a concept",
            repo="facebook/sam3",
            image_size=1008,
            config=SAM3,
            gated=True,
        )
    },
    files={"sam3.pt": "sam3"},
    goldens={"sam3_tracker": ("sam3", ())},
    papers={"sam3": "Carion et al. 2025, SAM 3: Segment Anything with Concepts, arXiv 2511.16719"},
    tiny={
        **AFTER_ENCODER,
        "vision_config": {"model_type": "sam3_vision_model", **TINY},
    },
)
