"""A `SamModel` as a backend, with what its cached embeddings depend on."""

from collections.abc import Callable, Hashable, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import PromptError
from ..models.encoders import EncoderOutput
from ..models.mask_resizing import resize_masks
from ..models.modeling_sam import SamModel
from ..ops.preparation import Preparation, Prepared
from .backends import Backend, Capabilities, Prompts
from .decoding import ImageDecoder
from .upsample import MaskFrame


class TorchBackend(Backend):
    """Runs a model where it is and in the type that it has.

    model: in evaluation mode
    settings: returns the settings of the image processor, which may change
    """

    def __init__(self, model: SamModel, settings: Callable[[], Mapping[str, Any]]) -> None:
        self.model, self._settings = model, settings

    @property
    def preparation(self) -> Preparation:
        return Preparation.from_settings(self._settings())

    @property
    def capabilities(self) -> Capabilities:
        config, decoder = self.model.config, self.model.mask_decoder
        hq = hasattr(decoder, "hq_token")  # it chooses among its masks itself
        return Capabilities(
            prompt_kinds=tuple(config.prompt_encoder_config.prompt_kinds),
            rank_by=decoder.config.rank_by,
            multimask_count=1 if hq else decoder.config.num_multimask_outputs,
            text=self.model.text_projection is not None,
            hq_token=hq,
            encoder=config.vision_config.model_type,
        )

    @property
    def device(self) -> torch.device:
        return self.model.device

    def placement(self) -> Hashable:
        return self.model.device, self.model.dtype

    def encode(self, image: Prepared) -> EncoderOutput:
        return self.encode_values(torch.from_numpy(image.pixel_values))

    @torch.no_grad()
    def encode_values(self, pixel_values: Tensor) -> EncoderOutput:
        """(1, 3, H, W), on any device."""
        return self.model.encode(pixel_values.to(self.model.device))

    def hold(self, encoded: EncoderOutput) -> ImageDecoder:
        return ImageDecoder(self.model, encoded)

    def decode(
        self, held: ImageDecoder, prompts: Prompts, multimask_output: bool = True, hq_token_only: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        arrays = prompts.points, prompts.labels, prompts.boxes, prompts.masks, prompts.text
        tensors = [None if v is None else torch.from_numpy(v).to(self.model.device) for v in arrays]
        low_res, iou = held(*tensors[:3], None if tensors[3] is None else tensors[3][:, 0], multimask_output,
                            hq_token_only, tensors[4])  # fmt: skip
        return low_res.cpu().numpy(), iou.cpu().numpy()

    def click_each(
        self, held: ImageDecoder, points: np.ndarray, select: Callable[[np.ndarray], np.ndarray], frame: MaskFrame
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        visible = frame.visible(tuple(held.encoded.embedding.shape[-2:]))
        chosen = None
        if self.model.mask_decoder.config.rank_by == "iou":
            chosen = held.choose(torch.from_numpy(points).to(self.model.device), select, visible)
        return super().click_each(held, points, select, frame) if chosen is None else chosen

    def enlarge(self, low_res: np.ndarray, frame: MaskFrame, return_logits: bool = False) -> np.ndarray:
        return self.enlarge_tensor(torch.from_numpy(low_res).to(self.model.device), frame, return_logits).cpu().numpy()

    @staticmethod
    def enlarge_tensor(low_res: Tensor, frame: MaskFrame, return_logits: bool = False) -> Tensor:
        """`enlarge` for a tensor, on its device."""
        return resize_masks(
            low_res,
            frame.padded_size,
            frame.input_size,
            frame.original_size,
            threshold=None if return_logits else 0.0,
            how=frame.how,
        )

    def state(self) -> Hashable:
        """Changes when the model moves, is cast, or its weights are changed in place."""
        encoder = self.model.vision_encoder
        tensors = chain(encoder.parameters(), encoder.buffers())
        versions = sum(0 if t.is_inference() else t._version for t in tensors)
        return self.model.device, self.model.dtype, self.model.training, versions

    def to_features(self, encoded: EncoderOutput) -> Tensor:
        return encoded.embedding

    def from_features(self, features: Any) -> EncoderOutput:
        if names := self.model.mask_decoder.feature_maps:
            raise PromptError(
                f"this model's decoder needs {' and '.join(names)} beside the embedding; use load_embedding"
            )
        return EncoderOutput(torch.as_tensor(features).to(self.model.device, self.model.dtype))
