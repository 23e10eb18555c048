"""`SamPredictor`: encode an image once, prompt it many times.

The methods, arguments and shapes are those of the original (``segment_anything/predictor.py``). Beyond it: any
image that `read_image` takes, any model of the family in any floating type, embeddings of the last images kept,
and wrong prompts refused with a sentence.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from itertools import chain
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
from ..models.mask_resizing import resize_masks
from ..models.modeling_sam import SamModel
from ..models.processing_sam import SamProcessor
from ..ops.geometry import resized_size, scale_points
from ..ops.images import ImageSource, read_image
from ..ops.prompts import read_prompt
from ..ops.value_range import ValueRange
from .decoding import ImageDecoder
from .text import ClipText, TextDetector
from .transforms import ResizeLongestSide, Stretch
from .upsample import MaskFrame

Size = tuple[int, int]


class SamPredictor:
    """Masks for prompts on one image at a time.

    model: in evaluation mode, on any device, in any floating type
    processor: how images are prepared; by default that of the folder the model came from, else its encoder's
    cache_size: how many images' embeddings are kept (4 MB each for SAM in float32); an image that is set again
        is recognised by its pixels. Any change of the weights or of the processor makes them void.

    text: what understands words; by default, when words are first given, `TextDetector.from_pretrained`

    model, processor, transform: what is used
    original_size, input_size: (height, width) of the image and of the resized image, None while no image is set
    """

    def __init__(
        self,
        model: SamModel,
        processor: SamImageProcessor | SamProcessor | None = None,
        cache_size: int = 4,
        text: TextDetector | ClipText | None = None,
    ) -> None:
        self.model, self.text = model, text
        self.processor = getattr(processor, "image_processor", processor) or _default_processor(model)
        self.processor.check_model(model.config)
        transform = ResizeLongestSide if self.processor.resize_mode == "longest_side" else Stretch
        self.transform = transform(self.processor.frame_size["longest_edge"])
        self.cache_size = cache_size
        self._cache: OrderedDict[tuple, EncoderOutput] = OrderedDict()
        self.reset_image()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def encoder_kind(self) -> str:
        """The ``model_type`` of the image encoder's configuration."""
        return self.model.config.vision_config.model_type

    @property
    def features(self) -> Tensor | None:
        """The image embedding, (1, C, h, w); None while no image is set."""
        return self.encoded.embedding if self.encoded else None

    @property
    def is_image_set(self) -> bool:
        return self.encoded is not None

    def reset_image(self) -> None:
        """Forget the image that is set (its embedding stays in the cache)."""
        self.encoded: EncoderOutput | None = None
        self._decoder: ImageDecoder | None = None
        self.original_size: Size | None = None
        self.input_size: Size | None = None
        self._pixels: np.ndarray | None = None

    def set_image(self, image: ImageSource, image_format: str = "RGB", value_range: ValueRange = None) -> None:
        """Encode an image, or find its embedding in the cache.

        image: anything that `read_image` takes, as an array (H, W, 3) uint8
        image_format: "RGB" or "BGR", the order of the channels of an array
        value_range: the values that are black and white, see `ValueRange`; by default the processor's
        raises: ImageError, after which no image is set
        """
        self.reset_image()
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f'image_format must be "RGB" or "BGR"; got {image_format!r}')
        pixels = read_image(image, value_range or self.processor.value_range)
        if image_format == "BGR" and isinstance(image, np.ndarray):
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        key = (hashlib.sha256(pixels).digest(), pixels.shape, self.processor.to_json_string(), *self._model_state())
        encoded = self._cache.pop(key, None)
        if encoded is None:
            inputs = self.processor(pixels, value_range="auto", return_tensors="pt")  # pixels are 8 bits by now
            encoded = self._encode(inputs["pixel_values"])
        self._cache[key] = encoded
        while len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        self._hold(encoded, pixels.shape[:2])
        self._pixels = pixels

    def set_torch_image(self, transformed_image: Tensor, original_image_size: Size) -> None:
        """Encode an image that is already resized; it is not kept in the cache.

        transformed_image: (1, 3, h, w) RGB in 0 ... 255, the long side as long as the model's input
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
        if max(abs(shape[2] - expected[0]), abs(shape[3] - expected[1])) > 1:  # other code may round otherwise
            raise ImageError(
                f"an image of {tuple(original_image_size)} pixels resized is {expected}, but transformed_image is "
                f"{shape[2:]}; give the size before resizing, height first"
            )
        x = transformed_image.to(self.device, torch.float32)
        if self.processor.do_min_max:
            mean, std = x.min(), (x.max() - x.min()).clamp(min=1e-8)
        else:
            mean, std = self._grey_statistics()
        x = (x - mean) / std
        padded = self.processor.pad_size
        x = F.pad(x, (0, padded["width"] - shape[3], 0, padded["height"] - shape[2]))
        self._hold(self._encode(x), original_image_size)

    def _grey_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation (3, 1, 1) in grey levels, rounded as `normalize_and_pad` does."""
        return tuple(
            torch.from_numpy(np.divide(v, self.processor.rescale_factor, dtype=np.float64).astype(np.float32))
            .view(-1, 1, 1)
            .to(self.device)
            for v in (self.processor.image_mean, self.processor.image_std)
        )

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        hq_token_only: bool = False,
        text: str | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of one object.

        point_coords: (P, 2), x then y, in pixels of the image
        point_labels: (P,), 1 object, 0 background
        box: (4,), x0, y0, x1, y1, in pixels of the image; cut at the image's border where it pokes out
        mask_input: (1, h, w) low-res logits, usually of the prediction before
        multimask_output: three masks, for an ambiguous prompt such as one click, or one
        return_logits: logits instead of bool
        hq_token_only: SAM-HQ's own mask, without SAM's
        text: what to find, such as "a cat"; it stands for a box, so there is none beside it. Of several such objects it
            is the one that the detector is surest of (`find_text` gives all)
        returns: masks (M, H, W) bool or float32, predicted IoU (M,) float32, low-res logits (M, h, w) float32
        raises: PromptError; ModelNotFoundError without a detector; RuntimeError while no image is set
        """
        embedded = None
        if text is not None:
            if box is not None:
                raise PromptError("text finds a box of its own; give either text or a box")
            if isinstance(self.text, ClipText):
                embedded = self.text.embed(text).to(self.device)
            else:
                box = self._detector().best(self._photo(), text)
        prompts = self._prompts(point_coords, point_labels, box, mask_input)
        found = self.predict_torch(*prompts, multimask_output, return_logits, hq_token_only, embedded)
        return tuple(v[0].cpu().numpy() for v in found)

    def find_text(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (K, 4) and scores (K,) of everything that ``text`` names in the image that is set, best first."""
        return self._detector().find(self._photo(), text)

    def _detector(self) -> TextDetector:
        if isinstance(self.text, ClipText):
            raise PromptError("CLIP finds no boxes; make the predictor with a TextDetector")
        if self.text is None:
            self.text = TextDetector.from_pretrained(device=self.device)
        return self.text

    def _photo(self) -> np.ndarray:
        self._require_image()
        if self._pixels is None:
            raise PromptError("text needs the photo itself, which set_torch_image does not give; use set_image")
        return self._pixels

    def predict_low_res(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`predict` without enlarging the masks, for who draws them at another size (see `Upsampler`).

        returns: predicted IoU (M,) float32, low-res logits (M, h, w) float32
        """
        prompts = self._prompts(point_coords, point_labels, box, mask_input)
        return tuple(v[0].cpu().numpy() for v in self._low_res(*prompts, multimask_output, False))

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
        """Masks of N objects at once, from prompts in pixels of the resized image (see `transform`).

        point_coords: (N, P, 2) float32, x then y; point_labels: (N, P), 1 object, 0 background, -10 padding
        boxes: (N, 4) float32, x0, y0, x1, y1
        mask_input: (N or 1, 1, h, w) low-res logits
        text_embedding: (1, N, D), CLIP's, for a model that was trained on them
        returns: masks (N, M, H, W) bool or float32, predicted IoU (N, M) float32 (of EdgeSAM, whose IoU head was not
            trained, the stability), low-res logits (N, M, h, w) float32
        raises: PromptError for shapes that do not fit (values are not looked at); RuntimeError while no image is set
        """
        self._require_image()
        _check_shapes(point_coords, point_labels, boxes, mask_input)
        if text_embedding is None:
            iou, low_res = self._low_res(point_coords, point_labels, boxes, mask_input, multimask_output, hq_token_only)
        else:
            prompts = [None if t is None else t[None] for t in (point_coords, point_labels, boxes)]
            rough = None if mask_input is None else mask_input[None, :, 0]
            masks, scores, _ = self.model.predict_masks(
                self.encoded.embedding,
                *prompts,
                rough,
                intermediate=self.encoded.features,
                text_embeddings=text_embedding,
            )
            masks, scores = self.model.mask_decoder.select_masks(masks, scores, multimask_output)
            low_res, iou = masks[0].float(), scores[0].float()
        frame = self.mask_frame
        masks = resize_masks(
            low_res,
            frame.padded_size,
            frame.input_size,
            frame.original_size,
            threshold=None if return_logits else 0.0,
            how=frame.how,
        )
        return masks, iou, low_res

    @torch.no_grad()
    def _low_res(
        self,
        points: Tensor | None,
        labels: Tensor | None,
        boxes: Tensor | None,
        masks: Tensor | None,
        multimask_output: bool,
        hq_token_only: bool,
    ) -> tuple[Tensor, Tensor]:
        """Predicted IoU (N, M) and low-res logits (N, M, h, w) of the prompts of `predict_torch`."""
        rough = None if masks is None else masks[:, 0]
        low_res, iou = self._decoder(points, labels, boxes, rough, multimask_output, hq_token_only)
        return self.model.mask_decoder.ranking(low_res, iou), low_res

    @property
    def mask_frame(self) -> MaskFrame:
        """How the low-res masks lie on the image that is set."""
        self._require_image()
        return MaskFrame(self.processor.padded_frame, self.input_size, self.original_size, self.processor.mask_resize)

    def click_each(
        self, points: np.ndarray, select: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One click for each of many objects, for `SamAutomaticMaskGenerator`: see its `ClickPredictor`."""
        self._require_image()
        scaled = scale_points(points, self.original_size, self.input_size)  # float32: MPS has no float64
        grid = self.encoded.embedding.shape[-2:]
        visible = self.mask_frame.visible(grid)
        return self._decoder.choose(torch.from_numpy(scaled).to(self.device), select, visible)

    def get_image_embedding(self) -> Tensor:
        """The embedding of the image that is set: (1, C, h, w)."""
        self._require_image()
        return self.encoded.embedding

    def _require_image(self) -> None:
        if self.encoded is None:
            raise RuntimeError("no image is set; call set_image first")

    @torch.no_grad()
    def _encode(self, pixel_values: Tensor) -> EncoderOutput:
        return self.model.encode(pixel_values.to(self.device))

    def _hold(self, encoded: EncoderOutput, original_size: Size) -> None:
        self.encoded = encoded
        self._decoder = ImageDecoder(self.model, encoded)
        self.original_size = tuple(map(int, original_size))
        self.input_size = self.transform.resized_size(self.original_size)

    def _model_state(self) -> tuple:
        """Changes when the model moves, is cast, or its weights are changed in place."""
        encoder = self.model.vision_encoder
        tensors = chain(encoder.parameters(), encoder.buffers())
        versions = sum(0 if t.is_inference() else t._version for t in tensors)
        return self.device, self.model.dtype, self.model.training, versions

    def _prompts(self, coords: Any, labels: Any, box: Any, mask: Any) -> list[Tensor | None]:
        """The prompts of `predict` as those of `predict_torch`; PromptError, or RuntimeError without an image."""
        self._require_image()
        side = self.processor.frame_size["longest_edge"] // 4
        found = read_prompt(coords, labels, box, mask, self.original_size, self.input_size, side)
        return [None if v is None else torch.from_numpy(v).to(self.device) for v in found]


def _default_processor(model: SamModel) -> SamImageProcessor:
    """The processor saved beside the model in a local folder, or the one of its encoder."""
    folder = Path(model.name_or_path)
    if model.name_or_path and any((folder / name).is_file() for name in (PROCESSOR_NAME, IMAGE_PROCESSOR_NAME)):
        return SamImageProcessor.from_pretrained(folder)
    return SamImageProcessor.for_config(model.config)


def _check_shapes(points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None) -> None:
    """Shapes of N prompts that fit each other; PromptError otherwise."""
    if (points is None) != (labels is None):
        raise PromptError("point_coords and point_labels belong together; give both or neither")
    counts = {}
    if points is not None:
        if points.dim() != 3 or points.shape[-1] != 2 or labels.shape != points.shape[:2]:
            got = f"{tuple(points.shape)} and {tuple(labels.shape)}"
            raise PromptError(f"point_coords must be (N, P, 2) and point_labels (N, P); got {got}")
        counts["point_coords"] = len(points)
    if boxes is not None:
        if boxes.dim() != 2 or boxes.shape[1] != 4:
            raise PromptError(f"boxes must be (N, 4); got {tuple(boxes.shape)}")
        counts["boxes"] = len(boxes)
    if masks is not None:
        if masks.dim() != 4 or masks.shape[1] != 1:
            raise PromptError(f"mask_input must be (N, 1, h, w); got {tuple(masks.shape)}")
        if len(masks) != 1:
            counts["mask_input"] = len(masks)
    if len(set(counts.values())) > 1:
        raise PromptError(f"prompts are for unequal numbers of objects: {counts}")
