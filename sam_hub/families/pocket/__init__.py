"""`pocket`, the small model inside the package: its own encoder, and SAM's decoder with finer features."""

from ..family import Family, Part, Variant

FAMILY = Family(
    name="pocket",
    position=0,
    encoders={
        "sam_hub_pocket": Part(
            config="sam_hub.families.pocket.configuration:PocketVisionConfig",
            network="sam_hub.families.pocket.encoder:PocketEncoder",
            arrays="sam_hub.families.pocket.arrays:PocketArrays",
            preparation={"image_mean": (127 / 255,) * 3, "image_std": (128 / 255,) * 3},
            # Its logits are flatter and its predicted IoUs lower than those of larger models; few or no masks would
            # pass the original's thresholds.
            generation={"pred_iou_thresh": 0.4, "stability_score_thresh": 0.7, "stability_score_offset": 0.5},
            tidy=0.02,
            zoom=True,
            tiny={
                "stages": [[1, 3, 1, 8, 1], [2, 3, 2, 8, 2], [2, 5, 2, 12, 2], [2, 3, 2, 16, 2], [2, 5, 2, 20, 2]],
                "stem_channels": 8,
            },
            tiny_states=6,
            softmax_attention=False,
        )
    },
    mask_decoders={
        "sam_hub_fine_mask_decoder": Part(
            config="sam_hub.models.configuration_parts:FineMaskDecoderConfig",
            network="sam_hub.models.fine_decoder:FineMaskDecoder",
            client="sam2",
        )
    },
    catalogue={
        "pocket": Variant(
            family="pocket",
            params=7_769_232,
            license="apache-2.0",
            good_for="bundled with the package: works offline, without a download",
            image_size=512,
            config={
                "vision_config": {"model_type": "sam_hub_pocket", "image_size": 512, "output_fine_features": True},
                "prompt_encoder_config": {"image_size": 512},
                "mask_decoder_config": {"model_type": "sam_hub_fine_mask_decoder"},
            },
        ),
    },
)
