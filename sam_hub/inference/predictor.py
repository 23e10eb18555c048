"""`SamPredictor`: encode an image once, prompt it many times, with a `SamModel`."""

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils import IMAGE_PROCESSOR_NAME, PROCESSOR_NAME

from ..errors import ImageError, PromptError
from ..models.encoders import EncoderOutput
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel
from ..models.processing_sam import SamProcessor
from ..ops.geometry import resized_size
from ..ops.preparation import Preparation
from .concepts import ConceptFinder, Instances
from .decoding import ImageDecoder
from .devices import pick_device
from .image_predictor import NO_WORDS, HeldImage, ImagePredictor, check_shapes
from .text import ClipText, TextDetector
from .torch_backend import TorchBackend
from .transforms import ResizeLongestSide, Stretch

Size = tuple[int, int]

WRAPPERS = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel, torch.optim.swa_utils.AveragedModel)
"""Wrappers from training loops; the model is in their ``module``."""


class SamPredictor(ImagePredictor):
    """Masks for prompts on one image at a time; see `ImagePredictor`.

    model: in evaluation mode, on any device, of any floating-point type; or its name
    processor: how images are prepared; default: the processor in the model's folder, or else its encoder's
    cache_size: number of images whose embeddings are kept (4 MB each for SAM in float32)
    text: handles text prompts; default: the model's own text part, or, if it has none,
        `TextDetector.from_pretrained`, loaded on first use
    precision: "fast" computes the image encoders of SAM, MobileSAM and SAM 2 in bfloat16 on a GPU or CPU that
        multiplies in it, which changes masks a little; it is the same as "full" elsewhere

    model, processor, transform: those in use
    original_size, input_size: (height, width) of the image and of the resized image, None while no image is set
    """

    backend: TorchBackend

    def __init__(
        self,
        model: SamModel | str | PathLike,
        processor: SamImageProcessor | SamProcessor | None = None,
        cache_size: int = 4,
        text: TextDetector | ClipText | ConceptFinder | None = None,
        precision: str = "full",
    ) -> None:
        if isinstance(model, str | PathLike):
            model = SamModel.from_pretrained(model).to(pick_device()).eval()
        while isinstance(model, WRAPPERS):
            model = model.module
        if not isinstance(model, torch.nn.Module):
            raise TypeError(f"a predictor needs a SamModel or its name; got {type(model).__name__}")
        self.model = model
        self.processor = getattr(processor, "image_processor", processor) or _default_processor(model)
        self.processor.check_model(model.config)
        transform = ResizeLongestSide if self.processor.resize_mode == "longest_side" else Stretch
        self.transform = transform(self.processor.frame_size["longest_edge"])
        super().__init__(TorchBackend(model, self.processor.to_dict, precision), cache_size, text)

    @classmethod
    def from_pretrained(cls, name: str | PathLike, **arguments: Any) -> "SamPredictor":
        """A predictor of the model called ``name``, as for `SamModel.from_pretrained`, on the fastest device."""
        return cls(name, **arguments)

    @property
    def encoded(self) -> EncoderOutput | None:
        """Output of the image encoder; None while no image is set."""
        return self._image.encoded

    @property
    def _decoder(self) -> ImageDecoder | None:
        return self._image.held

    def set_torch_image(self, transformed_image: Tensor, original_image_size: Size) -> None:
        """Encode an image that is already resized; it is not cached.

        transformed_image: (1, 3, h, w) RGB in 0 ... 255, with the long side of the model's input
        original_image_size: (height, width) before resizing, the frame of prompts and masks
        raises: ImageError, after which no image is set
        """
        self.reset_image()
        longest = self.processor.size["longest_edge"]
        shape = tuple(transformed_image.shape)
        stretched = self.processor.resize_mode != "longest_side"
        if len(shape) != 4 or shape[:2] != (1, 3) or longest != max(shape) or (stretched and shape[2] != shape[3]):
            sides = "both sides" if stretched else "a long side"
            raise ImageError(f"transformed_image must be (1, 3, h, w) with {sides} of {longest}; got {shape}")
        expected = (longest, longest) if stretched else resized_size(original_image_size, longest)
        if max(abs(shape[2] - expected[0]), abs(shape[3] - expected[1])) > 1:  # other code may round differently
            raise ImageError(
                f"an image of {tuple(original_image_size)} pixels resized is {expected}, but transformed_image is "
                f"{shape[2:]}; give the size before resizing, height first"
            )
        x = transformed_image.to(self.device, torch.float32)
        preparation = self.preparation
        if preparation.do_min_max:
            mean, std = x.min(), (x.max() - x.min()).clamp(min=1e-8)
        else:
            mean, std = (v.to(self.device) for v in _grey_statistics(preparation))
        x = (x - mean) / std
        if preparation.padded:
            height, width = preparation.padded
            x = F.pad(x, (0, width - shape[3], 0, height - shape[2]))
        self._set(self._held(self.backend.encode_values(x), original_image_size))

    @torch.no_grad()
    def predict_torch(
        self,
        point_coords: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        text_embedding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Masks of N objects at once, from prompts in pixels of the resized image (see `transform`); N may be 0.

        point_coords: (N, P, 2) float32, x then y; point_labels: (N, P), 1 object, 0 background, -10 padding
        boxes: (N, 4) float32, x0, y0, x1, y1
        mask_input: (N or 1, 1, h, w) low-res logits
        text_embedding: (1, N, D) of CLIP, for a model that was trained on them
        returns: masks (N, M, H, W) bool or float32, predicted IoU (N, M) float32 (for EdgeSAM, whose IoU head was not
            trained: the stability score), low-res logits (N, M, h, w) float32
        raises: PromptError for shapes that do not fit (values are not checked); RuntimeError while no image is set
        """
        image = self._require_image()
        given = {"point_coords": point_coords, "point_labels": point_labels, "boxes": boxes, "mask_input": mask_input}
        for name, value in given.items():
            if value is not None and not isinstance(value, Tensor):
                raise PromptError(f"{name} must be a tensor here; `predict_each` takes arrays, in pixels of the image")
        check_shapes(*given.values())
        rough = None if mask_input is None else mask_input[:, 0]
        prompts = (point_coords, point_labels, boxes, rough)
        low_res, iou = image.held(*prompts, multimask_output, hq_token_only, text_embedding)
        iou = self.model.mask_decoder.ranking(low_res, iou)
        return TorchBackend.enlarge_tensor(low_res, self._frame(image), return_logits), iou, low_res

    def find_text(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        if not self._knows_concepts:
            return super().find_text(text)
        found = self.find(text)
        return found.boxes, found.scores

    def _read_text(
        self, image: HeldImage, text: str, box: np.ndarray | None
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        if box is not None or not self._knows_concepts:
            return super()._read_text(image, text, box)
        found = self._find(image, text, None, None, None)
        if not len(found):
            raise PromptError(
                f"nothing in the image matches {text!r}; use other words, or `find` with a lower threshold"
            )
        return found.boxes[0], None

    @property
    def _knows_concepts(self) -> bool:
        return isinstance(self.text, ConceptFinder) or (self.text is None and self.capabilities.concepts)

    def _find(self, image: HeldImage, text: str | None, boxes: Any, labels: Any, threshold: float | None) -> Instances:
        if not self._knows_concepts:
            raise PromptError(NO_WORDS)
        if self.text is None:
            return super()._find(image, text, boxes, labels, threshold)
        finder, trunk = self.text, image.encoded.features.get("trunk")
        if trunk is not None and finder.model.vision_encoder.backbone is self.model.vision_encoder.backbone:
            return finder.find_in(finder.maps_of(trunk), image.original_size, text, boxes, labels, threshold)
        return finder.find(self._photo(image), text, boxes, labels, threshold)

    def _default_detector(self) -> TextDetector:
        return TextDetector.from_pretrained(device=self.device)


def _default_processor(model: SamModel) -> SamImageProcessor:
    """The processor saved beside the model in a local folder, or the one of its encoder."""
    folder = Path(model.name_or_path)
    if model.name_or_path and any((folder / name).is_file() for name in (PROCESSOR_NAME, IMAGE_PROCESSOR_NAME)):
        return SamImageProcessor.from_pretrained(folder)
    return SamImageProcessor.for_config(model.config)


def _grey_statistics(preparation: Preparation) -> tuple[Tensor, ...]:
    """Mean and deviation (3, 1, 1) in grey levels, rounded as `normalize_and_pad` does."""
    return tuple(
        torch.from_numpy(np.divide(v, preparation.rescale_factor, dtype=np.float64).astype(np.float32)).view(-1, 1, 1)
        for v in (preparation.mean, preparation.std)
    )
