"""EdgeTAM on single images: RepViT-M1 with SAM 2's decoder."""

from ..family import Family, Part, Variant
from ..sam2 import AFTER_ENCODER

TINY = {"model_type": "edgetam_vision_model", "hidden_sizes": [8, 12, 16, 20], "depths": [1, 2, 3, 1]}

FAMILY = Family(
    name="edgetam",
    position=47,
    encoders={
        "edgetam_vision_model": Part(
            config="sam_hub.families.edgetam.configuration:EdgeTamVisionConfig",
            network="sam_hub.families.edgetam.encoder:EdgeTamEncoder",
            preparation={"resize_mode": "stretch", "mask_resize": "bilinear"},
            generation={"pred_iou_thresh": 0.8},
            tiny={name: value for name, value in TINY.items() if name != "model_type"},
            tiny_states=5,
            softmax_attention=False,
        )
    },
    originals={"edgetam": "sam_hub.families.edgetam.original:EDGETAM"},
    transformers={
        "edgetam": "sam_hub.families.edgetam.configuration:from_transformers",
        "edgetam_video": "sam_hub.families.edgetam.configuration:from_transformers",
    },
    native={
        ("edgetam_vision_model", "sam2_prompt_encoder", "sam2_mask_decoder"): (
            "sam_hub.families.edgetam.configuration:to_transformers"
        )
    },
    unread=(r"^spatial_perceiver\.",),
    papers={"edgetam": "Zhou et al. 2025, EdgeTAM: On-Device Track Anything Model, arXiv 2501.07256"},
    tiny={"vision_config": TINY, **AFTER_ENCODER},
    goldens={"edgetam": ("edgetam", ("edgetam",))},
    files={"edgetam.pt": "edgetam"},
    catalogue={
        "edgetam": Variant(
            family="edgetam",
            params=9_120_641,
            license="apache-2.0",
            good_for="phones: SAM 2's decoder on a convolutional encoder",
            repo="yonigozlan/EdgeTAM-hf",
            config={"vision_config": {"model_type": "edgetam_vision_model"}, **AFTER_ENCODER},
        )
    },
)
