"""The toy's networks."""

import torch.nn.functional as F
from torch import nn

from sam_hub.models.encoders import EncoderOutput, check_size
from sam_hub.models.mask_decoder import MaskDecoder


class ToyEncoder(nn.Module):
    """(B, 3, H, W) -> embedding (B, C, H / 16, W / 16) and "stride8", (B, width, H / 8, W / 8)."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config
        self.fine = nn.Conv2d(3, config.width, kernel_size=8, stride=8)
        self.coarse = nn.Conv2d(config.width, config.output_channels, kernel_size=2, stride=2)

    def forward(self, pixel_values, output_hidden_states=False, output_attentions=False) -> EncoderOutput:
        check_size(pixel_values, 16)
        fine = F.gelu(self.fine(pixel_values))
        embedding = self.coarse(fine)
        return EncoderOutput(embedding, {"stride8": fine}, (fine, embedding) if output_hidden_states else None)


class ToyMaskDecoder(MaskDecoder):
    """Adds the finer map to what the tokens are compared with; its IoU is a probability."""

    feature_maps = ("stride8",)

    def __init__(self, config) -> None:
        super().__init__(config)
        self.fine = nn.ConvTranspose2d(config.fine_width, config.hidden_size // 8, kernel_size=2, stride=2)

    def feature_shapes(self, grid):
        return {"stride8": (self.config.fine_width, 2 * grid[0], 2 * grid[1])}

    def draw_masks(self, tokens, upscaled, image_embeddings, features):
        return super().draw_masks(
            tokens, upscaled + self.fine(features["stride8"])[:, None], image_embeddings, features
        )

    def forward(self, *args, **kwargs):
        masks, iou, attentions = super().forward(*args, **kwargs)
        return masks, iou.sigmoid(), attentions
