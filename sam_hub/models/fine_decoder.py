"""SAM's decoder with finer features of the encoder, which are added while masks are upscaled, as in SAM 2.

Source: "SAM 2: Segment Anything in Images and Videos" (Ravi et al. 2024, arXiv 2408.00714), section 4, and
``sam2/modeling/sam/mask_decoder.py``: ``upscale_conv1(x) + conv_s1(stride_8)``, then ``upscale_conv2(.) +
conv_s0(stride_4)``.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configuration_parts import FineMaskDecoderConfig
from .mask_decoder import MaskDecoder


def add_to_each(x: Tensor, shared: Tensor) -> Tensor:
    """Add one map to all N prompts of its image: (B * N, C, h, w) and (B, C, h, w) -> (B * N, C, h, w)"""
    return (x.unflatten(0, (shared.shape[0], -1)) + shared[:, None]).flatten(0, 1)


class FineMaskDecoder(MaskDecoder):
    """`MaskDecoder` that also reads the encoder's features at strides 8 and 4."""

    as_known = True  # see `MaskDecoder`
    feature_maps = ("stride_8", "stride_4")
    add_map = staticmethod(add_to_each)
    projects_once = False  # whether the maps are projected once for an image instead of for each prompt

    def __init__(self, config: FineMaskDecoderConfig) -> None:
        super().__init__(config)
        c = config.hidden_size
        self.conv_s1 = nn.Conv2d(config.stride_8_channels, c // 4, kernel_size=1)
        self.conv_s0 = nn.Conv2d(config.stride_4_channels, c // 8, kernel_size=1)

    def feature_shapes(self, grid: tuple[int, int]) -> dict[str, tuple[int, ...]]:
        h, w = grid
        widths = self.config.stride_8_channels, self.config.stride_4_channels
        if self.projects_once:
            widths = self.conv_s1.out_channels, self.conv_s0.out_channels
        return {"stride_8": (widths[0], 2 * h, 2 * w), "stride_4": (widths[1], 4 * h, 4 * w)}

    def silence_features(self) -> None:
        """Zero both projections, so that masks are exactly those of `MaskDecoder` with the other weights."""
        for conv in (self.conv_s1, self.conv_s0):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    def project(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """stride_8: (B, C8, 2h, 2w); stride_4: (B, C4, 4h, 4w) -> maps to add, of C / 4 and C / 8 channels"""
        stride_8, stride_4 = self.conv_s1(features["stride_8"]), self.conv_s0(features["stride_4"])
        return {**features, "stride_8": stride_8, "stride_4": stride_4}

    def encode_features(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return self.project(features) if self.projects_once else features

    def upscale(self, x: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """x: (B * N, C, h, w); features as of `feature_shapes` -> (B * N, C / 8, 4h, 4w)"""
        if not self.projects_once:
            features = self.project(features)
        x = self.add_map(self.upscale_conv1(x), features["stride_8"])
        x = F.gelu(self.upscale_layer_norm(x))
        return F.gelu(self.add_map(self.upscale_conv2(x), features["stride_4"]))


@torch.no_grad()
def with_fine_features(model: nn.Module) -> nn.Module:
    """The model with its decoder as a `FineMaskDecoder` of the same weights; the masks do not change.

    model: with the encoder of `pocket` and SAM's own decoder
    """
    config = type(model.config).from_dict(model.config.to_dict())
    decoder = {k: v for k, v in config.mask_decoder_config.to_dict().items() if k != "model_type"}
    config.mask_decoder_config = FineMaskDecoderConfig(**decoder, **model.vision_encoder.fine_channels)
    config.vision_config.output_fine_features = True
    finer = type(model)(config)
    finer.mask_decoder.silence_features()
    finer.load_state_dict(model.state_dict(), strict=False)
    return finer.to(model.dtype).train(model.training)
