"""RepViT with tensors of at most four axes, for phones: see `sam_hub.exporters.rank_four`."""

from torch import Tensor

from ...models.encoders import EncoderOutput
from ...models.four_axes import bicubic
from .encoder import RepVitEncoder


class FlatRepVitEncoder(RepVitEncoder):
    def forward(
        self, pixel_values: Tensor, output_hidden_states: bool = False, output_attentions: bool = False
    ) -> EncoderOutput:
        x, last = pixel_values, None
        for i, block in enumerate(self.features):
            x = block(x)
            if i == self.stage_ends[-2]:
                last = x
        if self.config.fuse_stages:
            x = self.fuse_stage2(last) + bicubic(self.fuse_stage3(x), last.shape[-2:])
        return EncoderOutput(self.neck(x))


RESTATED = {RepVitEncoder: FlatRepVitEncoder}
