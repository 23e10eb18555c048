"""A `SamModel` as a backend, which detects when cached embeddings become invalid."""

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
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
from .concepts import Instances, words_of
from .decoding import ImageDecoder
from .precision import check_precision, encoding, in_bfloat16
from .thresholds import suited, tidied, zooms
from .upsample import MaskFrame
from .weights_watch import Watched


class TorchBackend(Backend):
    """Runs a model on its device and in its type.

    model: in evaluation mode
    settings: returns the settings of the image processor, which may change
    precision: of the image encoder; see `precision.PRECISIONS`

    raises: WrongUsage
    """

    def __init__(self, model: SamModel, settings: Callable[[], Mapping[str, Any]], precision: str = "full") -> None:
        check_precision(precision)
        self.model, self._settings, self._precision = model, settings, precision
        self._encoder = Watched()
        self.words: Any = None  # the model's concept part, once loaded

    @property
    def preparation(self) -> Preparation:
        return Preparation.from_settings(self._settings())

    @property
    def capabilities(self) -> Capabilities:
        config = self.model.config
        able = config.capabilities
        return Capabilities(
            prompt_kinds=able.prompts,
            rank_by=able.rank_by,
            multimask_count=max(able.masks),
            text=self.model.text_projection is not None,
            concepts=able.concepts,
            hq_token=bool(able.extra_tokens),
            encoder=config.vision_config.model_type,
            generation=suited(config.vision_config.model_type, getattr(config, "generation", None)),
            tidy=tidied(config.vision_config.model_type, getattr(config, "tidy", None)),
            zoom=zooms(config.vision_config.model_type, getattr(config, "zoom", None)),
        )

    @property
    def rank_by(self) -> str:
        return self.model.mask_decoder.config.rank_by

    @property
    def device(self) -> torch.device:
        return self.model.device

    def encode(self, image: Prepared) -> EncoderOutput:
        return self.encode_values(torch.from_numpy(image.pixel_values))

    @torch.no_grad()
    def encode_values(self, pixel_values: Tensor) -> EncoderOutput:
        """(1, 3, H, W), on any device. The result is contiguous, so that saved features give the same bits."""
        with encoding(self._precision, self.model):
            encoded = self.model.encode(pixel_values.to(self.model.device))
        kept = {"": encoded.embedding, **encoded.features}
        if in_bfloat16(self._precision, self.model):
            kept = {name: value.float() for name, value in kept.items()}
        features = {name: value.contiguous() for name, value in kept.items()}
        return replace(encoded, embedding=features.pop(""), features=features)

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
        if self.rank_by == "iou":
            chosen = held.choose(torch.from_numpy(points).to(self.model.device), select, visible)
        return super().click_each(held, points, select, frame) if chosen is None else chosen

    def find(
        self,
        encoded: EncoderOutput,
        size: tuple[int, int],
        text: str | None,
        boxes: Any,
        labels: Any,
        threshold: float | None,
    ) -> Instances:
        """Instances of a concept, by the model's own text part, which is loaded on first use.

        raises: PromptError; ModelNotFoundError if that part or its tokenizer is missing
        """
        if self.words is None:
            self.words = words_of(self.model)
        maps = self.words.maps_of(encoded.features["trunk"])
        return self.words.find_in(maps, size, text, boxes, labels, threshold)

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

    def placement(self) -> Hashable:
        """The device and the type of computation: autocast's if that is on."""
        device = self.model.device
        if torch.is_autocast_enabled(device.type):
            return device, torch.get_autocast_dtype(device.type)
        return device, self.model.dtype

    def state(self) -> Hashable:
        """A value that differs after any change of the encoder's weights, device, type or attention.

        None, so that nothing is cached, if something with invisible state is attached, such as an adapter that can be
        switched off.
        """
        seen = self._encoder.look(self.model)
        return None if seen is None else (seen, self.placement(), self.model.config._attn_implementation)

    def identity(self) -> str:
        digest = hashlib.sha256(repr(self.preparation).encode())
        if in_bfloat16(self._precision, self.model):
            digest.update(b"bfloat16")
        weights = self.model.vision_encoder.state_dict()
        for layer in self.model.mask_decoder.image_layers:
            weights |= {f"{layer}.{k}": v for k, v in getattr(self.model.mask_decoder, layer).state_dict().items()}
        for name, tensor in sorted(weights.items()):
            flat = tensor.detach().flatten()
            values = flat[:: max(1, flat.numel() // 64)][:64].cpu().double().numpy()
            digest.update(f"{name} {tuple(tensor.shape)} ".encode() + values.tobytes())
        return digest.hexdigest()

    def to_features(self, encoded: EncoderOutput) -> Tensor:
        return self.model.mask_decoder.pack_features(encoded.embedding, encoded.features)

    def from_features(self, features: Any) -> EncoderOutput:
        packed = torch.as_tensor(features)
        decoder = self.model.mask_decoder
        if packed.dim() != 4 or len(packed) != 1:
            raise PromptError(decoder.wrong_features(packed))
        return EncoderOutput(*decoder.unpack_features(packed.to(self.model.device, self.model.dtype)))

    def to_arrays(self, encoded: EncoderOutput) -> dict[str, np.ndarray]:
        tensors = {"image_embeddings": encoded.embedding, **encoded.features}
        return {name: (t.float() if t.dtype == torch.bfloat16 else t).cpu().numpy() for name, t in tensors.items()}

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> EncoderOutput:
        tensors = {k: torch.from_numpy(v).to(self.model.device, self.model.dtype) for k, v in arrays.items()}
        return EncoderOutput(tensors.pop("image_embeddings"), tensors)
