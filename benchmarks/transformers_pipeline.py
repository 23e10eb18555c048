"""``transformers``' mask-generation pipeline with the weights of a `SamModel`, as the thing to compare with.

Its suppression needs torchvision's ``batched_nms``, for which there is no wheel for the torch that is tested here: the
stand-in of `benchmarks/original.py` takes its place, during that call alone.
"""

import sys
import types
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import transformers
from torch import Tensor, nn
from transformers.models.sam import image_processing_pil_sam as processing

from sam_hub import SamModel, SamPredictor

if __package__:
    from .original import batched_nms
else:
    from original import batched_nms


class _Processor(processing.SamImageProcessorPil):
    """Without the check that torchvision is installed."""

    def post_process_for_mask_generation(self, masks, scores, boxes, crops_nms_thresh, return_tensors="pt"):
        names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes")
        stand_ins = {name: types.ModuleType(name) for name in names if name not in sys.modules}
        if "torchvision.ops.boxes" in stand_ins:
            stand_ins["torchvision.ops.boxes"].batched_nms = batched_nms
        sys.modules.update(stand_ins)
        try:
            return processing._post_process_for_mask_generation(masks, scores, boxes, crops_nms_thresh)
        finally:
            for name in stand_ins:
                del sys.modules[name]


class _Encoder(nn.Module):
    """The encoder of a `SamModel` where ``transformers.SamModel`` has its ViT."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> tuple[Tensor]:
        return (self.model.encode(pixel_values).embedding,)


def transformers_sam(model: SamModel) -> transformers.SamModel:
    """``transformers.SamModel`` with its own prompt encoder and mask decoder, our encoder and our weights."""
    size = model.config.prompt_encoder_config.image_size
    with TemporaryDirectory() as folder:
        ours = SamModel(
            type(model.config)(
                vision_config={
                    "model_type": "sam_vision_model",
                    "image_size": size,
                    "num_hidden_layers": 1,
                    "hidden_size": 16,
                    "num_attention_heads": 1,
                    "global_attn_indexes": [0],
                    "output_channels": model.config.mask_decoder_config.hidden_size,
                },
                prompt_encoder_config=model.config.prompt_encoder_config,
                mask_decoder_config=model.config.mask_decoder_config,
            )
        )
        weights = {k: v for k, v in model.state_dict().items() if not k.startswith("vision_encoder.")}
        ours.load_state_dict(weights, strict=False)
        ours.save_pretrained(folder)
        theirs = transformers.SamModel.from_pretrained(folder).eval()
    theirs.vision_encoder = _Encoder(model)
    return theirs


def pipeline(model: SamModel) -> Callable[..., dict]:
    """The pipeline; call it with a PIL image and its own arguments."""
    ours = SamPredictor(model).processor
    processor = _Processor(
        size=ours.size,
        pad_size=ours.pad_size,
        image_mean=ours.image_mean,
        image_std=ours.image_std,
        rescale_factor=ours.rescale_factor,
    )
    return transformers.pipeline("mask-generation", model=transformers_sam(model), image_processor=processor)
