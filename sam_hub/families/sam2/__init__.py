"""SAM 2 and 2.1 on single images: Hiera, and SAM's decoder with finer features and an object score."""

from ..family import Family, Part, Variant


def _hiera(width: int, depths: list[int], heads: int, windows: list[int], whole: list[int], grid: int) -> dict:
    """A Hiera whose width and number of heads double at each stage, with SAM 2's decoder."""
    return {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "hidden_sizes": [width * 2**i for i in range(4)],
            "depths": depths,
            "num_attention_heads": [heads * 2**i for i in range(4)],
            "window_sizes": windows,
            "global_attn_indexes": whole,
            "position_grid": [grid, grid],
        },
        **AFTER_ENCODER,
    }


AFTER_ENCODER = {
    "prompt_encoder_config": {"model_type": "sam2_prompt_encoder"},
    "mask_decoder_config": {"model_type": "sam2_mask_decoder"},
}
"""The parts shared with EdgeTAM and SAM 3's click predictor."""

TINY = _hiera(96, [1, 2, 7, 2], 1, [8, 4, 14, 7], [5, 7, 9], 7)
SMALL = _hiera(96, [1, 2, 11, 2], 1, [8, 4, 14, 7], [7, 10, 13], 7)
BASE_PLUS = _hiera(112, [2, 3, 16, 3], 2, [8, 4, 14, 7], [12, 16, 20], 14)
LARGE = _hiera(144, [2, 6, 36, 4], 2, [8, 4, 16, 8], [23, 33, 43], 7)

VIDEO = (
    r"^memory_",
    r"^mask_downsample\.",
    r"^object_pointer_proj\.",
    r"^temporal_positional_encoding_projection_layer\.",
    r"^no_memory_positional_encoding$",
    r"^no_object_pointer$",
    r"^occlusion_spatial_embedding_parameter$",
)
"""Keys of ``transformers.Sam2VideoModel``, the layout in which SAM 2 is published, that single images do not need."""

FIRST_NAME = "sam2.0"
"""Name of the layout of SAM 2's first files."""

APACHE = {"family": "sam2", "license": "apache-2.0"}


def _published(size: str, config: dict, params: int, good_for: str) -> dict[str, Variant]:
    """Catalogue rows of 2.1 and 2, which only differ in their weights."""
    return {
        f"sam{version}-hiera-{size}": Variant(
            params=params, good_for=text, repo=f"facebook/sam{version}-hiera-{size}", config=config | more, **APACHE
        )
        for version, text, more in (
            ("2.1", good_for, {}),
            ("2", f"sam2.1-hiera-{size} as first published", {"original_layout": FIRST_NAME}),
        )
    }


CATALOGUE = {
    **_published("tiny", TINY, 31_440_721, "the smallest SAM 2.1, a third of sam-vit-b"),
    **_published("small", SMALL, 38_538_577, "SAM 2.1 between tiny and base-plus"),
    **_published("base-plus", BASE_PLUS, 73_328_401, "SAM 2.1 about the size of sam-vit-b"),
    **_published("large", LARGE, 216_924_865, "the largest SAM 2.1"),
}

FAMILY = Family(
    name="sam2",
    position=45,
    encoders={
        "sam2_vision_model": Part(
            config="sam_hub.families.sam2.configuration:Sam2VisionConfig",
            network="sam_hub.families.sam2.encoder:Sam2Encoder",
            rank_four="sam_hub.families.sam2.rank_four:RESTATED",
            bfloat16=True,
            preparation={"resize_mode": "stretch", "mask_resize": "bilinear"},
            generation={"pred_iou_thresh": 0.8},
            tiny={
                "hidden_sizes": [8, 12, 16, 20],
                "depths": [1, 2, 3, 1],
                "num_attention_heads": [1, 2, 2, 4],
                "window_sizes": [8, 4, 4, 3],
                "global_attn_indexes": [4],
                "position_grid": [3, 3],
            },
            tiny_states=8,
        )
    },
    prompt_encoders={
        "sam2_prompt_encoder": Part(
            config="sam_hub.families.sam2.configuration:Sam2PromptEncoderConfig",
            network="sam_hub.families.sam2.decoder:Sam2PromptEncoder",
        )
    },
    mask_decoders={
        "sam2_mask_decoder": Part(
            config="sam_hub.families.sam2.configuration:Sam2MaskDecoderConfig",
            network="sam_hub.families.sam2.decoder:Sam2MaskDecoder",
            client="sam2",
        )
    },
    transformers={
        "sam2": "sam_hub.families.sam2.configuration:from_transformers",
        "sam2_video": "sam_hub.families.sam2.configuration:from_transformers",
    },
    native={
        ("sam2_vision_model", "sam2_prompt_encoder", "sam2_mask_decoder"): (
            "sam_hub.families.sam2.configuration:to_transformers"
        )
    },
    originals={FIRST_NAME: "sam_hub.families.sam2.original:FIRST", "sam2": "sam_hub.families.sam2.original:SAM2"},
    unread=VIDEO,
    catalogue=dict(sorted(CATALOGUE.items(), key=lambda entry: entry[0].startswith("sam2-"))),
    files={f"{name.replace('-', '_')}.pt": name for name in CATALOGUE},
    goldens={"sam2.1_hiera_tiny": ("sam2", ("sam2.1-hiera-tiny", "sam2-hiera-tiny"))},
    papers={"sam2": "Ravi et al. 2024, SAM 2: Segment Anything in Images and Videos, arXiv 2408.00714"},
    tiny=AFTER_ENCODER
    | {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "hidden_sizes": [8, 12, 16, 20],
            "depths": [1, 2, 3, 1],
            "num_attention_heads": [1, 2, 2, 4],
            "window_sizes": [8, 4, 4, 3],
            "global_attn_indexes": [4],
            "position_grid": [3, 3],
        }
    },
)
