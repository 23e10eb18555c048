"""The layout of the toy's checkpoints."""

from sam_hub.families.layout import OriginalLayout
from sam_hub.families.sam.original import MASK_DECODER, PROMPT_ENCODER


def config(shapes):
    from . import DECODER, PROMPTS

    return {
        "vision_config": {"model_type": "toy_vision", "width": shapes["image_encoder.toy.0.weight"][0]},
        "prompt_encoder_config": {**PROMPTS, "image_size": 96},
        "mask_decoder_config": {"model_type": "toy_mask_decoder", **DECODER},
    }


TOY = OriginalLayout(
    signature=("image_encoder.toy.0.weight", "mask_decoder.toy.weight"),
    rules=[
        ("image_encoder.toy.0.{r}", "vision_encoder.fine.{r}"),
        ("image_encoder.toy.1.{r}", "vision_encoder.coarse.{r}"),
        ("mask_decoder.toy.{r}", "mask_decoder.fine.{r}"),
        *PROMPT_ENCODER,
        *MASK_DECODER,
    ],
    config=config,
)
