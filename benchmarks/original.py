"""The original ``segment_anything`` (PyPI, 1.0) with the weights of a `SamModel`, for comparisons.

It imports torchvision for four small functions; there is no torchvision for the tested torch, so each is replaced by a
few lines that follow its documentation.
"""

import sys
import types
from functools import partial
from importlib.util import find_spec

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from sam_hub import SamModel, SamPredictor
from sam_hub.convert import to_original
from sam_hub.models.fine_decoder import FineMaskDecoder


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Greedy NMS among boxes of the same idx; returns indices by descending score."""
    boxes, scores, idxs = boxes.cpu(), scores.cpu(), idxs.cpu()  # on a GPU each step would wait for the device
    keep: list[int] = []
    areas = box_area(boxes)
    order = scores.sort(descending=True, stable=True).indices
    gone = torch.zeros(len(boxes), dtype=torch.bool)
    for i in order.tolist():
        if gone[i]:
            continue
        keep.append(i)
        low, high = torch.maximum(boxes[i, :2], boxes[:, :2]), torch.minimum(boxes[i, 2:], boxes[:, 2:])
        both = (high - low).clamp(min=0).prod(dim=1)
        gone |= ((both / (areas[i] + areas - both)).double() > iou_threshold) & (idxs == idxs[i])
    return torch.tensor(keep, dtype=torch.long)


def box_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def to_pil_image(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image)


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bilinear, to (height, width)."""
    return image.resize(size[::-1], Image.Resampling.BILINEAR)


def load() -> types.ModuleType:
    """Import ``segment_anything``, with replacements if torchvision is missing."""
    if find_spec("torchvision") is None and "torchvision" not in sys.modules:
        names = ("torchvision", "torchvision.ops", "torchvision.ops.boxes")
        names += ("torchvision.transforms", "torchvision.transforms.functional")
        modules = {name: types.ModuleType(name) for name in names}
        modules["torchvision.ops.boxes"].__dict__.update(batched_nms=batched_nms, box_area=box_area)
        modules["torchvision.transforms.functional"].__dict__.update(resize=resize, to_pil_image=to_pil_image)
        sys.modules.update(modules)
        try:
            import segment_anything
        finally:
            for name in names:  # do not leave a partial torchvision for other importers
                del sys.modules[name]
        return segment_anything
    import segment_anything

    return segment_anything


class _Encoder(nn.Module):
    """A `SamModel`'s encoder with the original's interface; the original itself has only the ViT."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model
        self.img_size = model.config.vision_config.image_size

    def forward(self, x: Tensor) -> Tensor:
        encoded = self.model.encode(x)
        self.features = encoded.features  # of the latest image, for `_FineUpscaling`
        return encoded.embedding


class _FineUpscaling(nn.Module):
    """The original's upscaling, plus the finer features of `FineMaskDecoder`, which the original lacks."""

    def __init__(self, plain: nn.Sequential, encoder: _Encoder) -> None:
        super().__init__()
        self.plain, self.encoder = plain, encoder

    def forward(self, x: Tensor) -> Tensor:
        conv1, norm, act1, conv2, act2 = self.plain
        maps = self.encoder.model.mask_decoder.project(self.encoder.features)
        return act2(conv2(act1(norm(conv1(x) + maps["stride_8"]))) + maps["stride_4"])


def _vit(modeling: types.ModuleType, model: SamModel) -> nn.Module:
    vision = model.config.vision_config
    return modeling.ImageEncoderViT(
        img_size=vision.image_size,
        patch_size=vision.patch_size,
        embed_dim=vision.hidden_size,
        depth=vision.num_hidden_layers,
        num_heads=vision.num_attention_heads,
        mlp_ratio=vision.mlp_dim / vision.hidden_size,
        out_chans=vision.output_channels,
        qkv_bias=vision.qkv_bias,
        norm_layer=partial(nn.LayerNorm, eps=vision.layer_norm_eps),
        use_rel_pos=vision.use_rel_pos,
        window_size=vision.window_size,
        global_attn_indexes=vision.global_attn_indexes,
    )


def original_sam(model: SamModel) -> nn.Module:
    """``segment_anything.modeling.Sam``: the original's prompt encoder, mask decoder and ViT, and our weights.

    Another encoder than the ViT is used as it is, and a decoder with finer features adds them as ours does.
    """
    modeling = load().modeling
    config = model.config.mask_decoder_config
    c, size = config.hidden_size, model.config.prompt_encoder_config.image_size
    transformer = modeling.TwoWayTransformer(
        depth=config.num_hidden_layers, embedding_dim=c, mlp_dim=config.mlp_dim, num_heads=config.num_attention_heads
    )
    processor = SamPredictor(model).processor
    levels = [np.asarray(v, np.float64) / processor.rescale_factor for v in (processor.image_mean, processor.image_std)]
    is_vit = model.config.vision_config.model_type == "sam_vision_model"
    sam = modeling.Sam(
        image_encoder=_vit(modeling, model) if is_vit else _Encoder(model),
        prompt_encoder=modeling.PromptEncoder(c, (size // 16, size // 16), (size, size), mask_in_chans=16),
        mask_decoder=modeling.MaskDecoder(
            num_multimask_outputs=config.num_multimask_outputs,
            transformer=transformer,
            transformer_dim=c,
            iou_head_depth=config.iou_head_depth,
            iou_head_hidden_dim=config.iou_head_hidden_dim,
        ),
        pixel_mean=levels[0].tolist(),
        pixel_std=levels[1].tolist(),
    )
    fine = isinstance(model.mask_decoder, FineMaskDecoder)
    not_there = (*(() if is_vit else ("vision_encoder.",)), *(("mask_decoder.conv_s",) if fine else ()))
    ours = {k: v for k, v in model.state_dict().items() if not k.startswith(not_there)}
    missing, unexpected = sam.load_state_dict(to_original(ours, "sam"), strict=False)
    missing = [k for k in missing if is_vit or not k.startswith("image_encoder")]
    if missing or unexpected:
        raise RuntimeError(f"the original's weights are other ones: missing {missing}, unexpected {unexpected}")
    if fine:
        sam.mask_decoder.output_upscaling = _FineUpscaling(sam.mask_decoder.output_upscaling, sam.image_encoder)
    return sam.eval()
