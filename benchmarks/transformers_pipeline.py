"""``transformers``' mask-generation pipeline with the weights of a `SamModel`, for comparisons.

Its NMS needs torchvision's ``batched_nms``; there is no torchvision for the tested torch, so `benchmarks/original.py`'s
replacement is patched in for the duration of the call.
"""

import sys
import types
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from transformers import BatchFeature
from transformers.models.sam import image_processing_pil_sam as processing

from sam_hub import SamModel, SamPredictor
from sam_hub.models.image_processing_sam import SamImageProcessor

if __package__:
    from .original import batched_nms
else:
    from original import batched_nms


class _Processor(processing.SamImageProcessorPil):
    """The processor without its check for torchvision."""

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
    """A `SamModel`'s encoder in place of ``transformers.SamModel``'s ViT."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> tuple[Tensor]:
        return (self.model.encode(pixel_values).embedding,)


class _Stretched(_Processor):
    """SAM 2's processor, which stretches photos; unlike in ``transformers``, clicks are scaled per axis."""

    def __init__(self, ours: SamImageProcessor) -> None:
        super().__init__(size=ours.size)
        self.ours = ours

    def __call__(self, images: list, return_tensors: str = "pt", **kwargs: Any) -> BatchFeature:
        images = [np.asarray(image) for image in images]
        images = [image.transpose(1, 2, 0) if image.shape[0] == 3 else image for image in images]
        pixels = self.ours(images, return_tensors="pt")["pixel_values"]
        return BatchFeature({"pixel_values": pixels, "original_sizes": torch.tensor([i.shape[:2] for i in images])})

    def generate_crop_boxes(self, image: Any, target_size: int, *args: Any, **kwargs: Any) -> tuple:
        boxes, points, images, labels = super().generate_crop_boxes(image, target_size, *args, **kwargs)
        scaled = [int(side * target_size / max(image.size) + 0.5) for side in image.size]  # what it took them to be
        return boxes, points * target_size / torch.tensor(scaled, dtype=points.dtype), images, labels

    def post_process_masks(self, masks: Tensor, original_sizes: Any, *args: Any, **kwargs: Any) -> list[Tensor]:
        sizes = [tuple(int(side) for side in size) for size in original_sizes]
        return [F.interpolate(m, s, mode="bilinear", align_corners=False) for m, s in zip(masks, sizes, strict=True)]


def transformers_sam2(model: SamModel) -> transformers.Sam2Model:
    """``transformers.Sam2Model`` with our weights."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return transformers.Sam2Model.from_pretrained(folder).eval()


def transformers_sam(model: SamModel) -> transformers.SamModel | transformers.Sam2Model:
    """``transformers.SamModel`` with its own prompt encoder and mask decoder, our encoder and our weights.

    For a SAM 2, `transformers_sam2`.
    """
    if model.config.to_dict()["model_type"] == "sam2":
        return transformers_sam2(model)
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
    if ours.resize_mode != "longest_side":
        return transformers.pipeline("mask-generation", model=transformers_sam(model), image_processor=_Stretched(ours))
    processor = _Processor(
        size=ours.size,
        pad_size=ours.pad_size,
        image_mean=ours.image_mean,
        image_std=ours.image_std,
        rescale_factor=ours.rescale_factor,
    )
    return transformers.pipeline("mask-generation", model=transformers_sam(model), image_processor=processor)
