"""`SamProcessor`: images and prompts in any nesting -> the arguments of `SamModel`."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import ProcessorMixin
from transformers.utils import IMAGE_PROCESSOR_NAME

from ..errors import ModelNotFoundError, PromptError
from ..ops.input_size import to_two_sides
from .configuration_sam import SamConfig
from .image_processing_sam import (
    HUB_ARGUMENTS,
    SamBatchFeature,
    SamImageProcessor,
    SamImageProcessorKwargs,
    refuse_unknown,
)
from .prompt_batch import batch_prompts, objects_present

ARGUMENTS = ("images", "segmentation_maps", "input_points", "input_labels", "input_boxes", "input_masks")


class SamProcessor(ProcessorMixin):
    """Images and prompts for `SamModel`, and its logits back to masks of the images.

    Arguments and outputs are those of ``transformers.SamProcessor``. In addition: prompts may be lists, arrays or
    tensors, ragged across images, objects and points (padding is masked out of the attention, so it changes
    nothing); points and boxes may be mixed; mask prompts; float32 coordinates; wrong prompts are refused.
    """

    def __init__(self, image_processor: SamImageProcessor | None = None) -> None:
        super().__init__(image_processor or SamImageProcessor())

    def __call__(
        self,
        images: Any = None,
        text: None = None,
        segmentation_maps: Any = None,
        input_points: Any = None,
        input_labels: Any = None,
        input_boxes: Any = None,
        input_masks: Any = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> SamBatchFeature:
        """Prepare a batch of B images with up to N objects each.

        images, segmentation_maps: see `SamImageProcessor.preprocess`
        text: not supported; only here because ``transformers`` has it
        input_points: [image][object][point][x, y] in pixels of the original image; for shorter nestings and None see
            `sam_hub.models.prompt_batch`
        input_labels: [image][object][point], 1 object, 0 background, -1 not a point, -10 padding; all 1 by default
        input_boxes: [image][object][x0, y0, x1, y1]; boxes are clipped to the image
        input_masks: [image][object][h][w] low-res logits, of side longest_edge / 4; one for all objects or one for each
        return_tensors: "pt", "np", or None for lists of arrays
        other arguments: settings of `SamImageProcessor` for this call
        returns: the result of `SamImageProcessor.preprocess`, and, if given, input_points (B, N, P, 2), input_labels
            (B, N, P), input_boxes (B, N, 4) and input_masks (B, N, h, w), in pixels of the resized image
        raises: ImageError, PromptError; TypeError for an unknown argument, naming the nearest one
        """
        refuse_unknown(kwargs, [*ARGUMENTS, *SamImageProcessorKwargs.__annotations__], type(self).__name__)
        if text is not None:
            raise PromptError("text prompts are not supported; give points, boxes or masks")
        encoding = self.image_processor(images, segmentation_maps, **kwargs)
        preparation = self.image_processor.preparation(**kwargs)
        prompts = batch_prompts(
            {
                "input_points": input_points,
                "input_labels": input_labels,
                "input_boxes": input_boxes,
                "input_masks": input_masks,
            },
            encoding["original_sizes"],
            encoding["reshaped_input_sizes"],
            mask_side=preparation.mask_side,
        )
        return SamBatchFeature({**encoding, **prompts}, tensor_type=return_tensors)

    def post_process_masks(self, *args: Any, **kwargs: Any) -> list:
        """Low-res logits -> masks of the images: see `SamImageProcessor.post_process_masks`."""
        return self.image_processor.post_process_masks(*args, **kwargs)

    def drop_padding(self, values: Any, inputs: SamBatchFeature) -> list:
        """Remove the padding objects of a batch in which some images have fewer objects than others.

        values: for each image (N, ...): ``pred_masks``, ``iou_scores`` or the result of `post_process_masks`
        inputs: this processor's result
        returns: a list of B tensors or arrays (number of objects of the image, ...)
        """
        names = "input_labels", "input_boxes", "input_masks"
        present = objects_present(*(torch.as_tensor(inputs[name]) if name in inputs else None for name in names))
        if present is None:
            return list(values)
        return [value[keep.nonzero()[:, 0].tolist()] for value, keep in zip(values, present, strict=True)]

    @property
    def model_input_names(self) -> list[str]:
        return [*self.image_processor.model_input_names, "original_sizes", "reshaped_input_sizes"]

    def to_json_file(self, json_file_path: str | os.PathLike) -> None:
        """Write processor_config.json, and the preprocessor_config.json that transformers.js reads."""
        super().to_json_file(json_file_path)
        # transformers.js only knows the name SamProcessor, and reads no other file.
        settings = to_two_sides({**self.image_processor.to_dict(), "processor_class": SamProcessor.__name__})
        if type(self) is SamProcessor and settings["processor_class"] != SamProcessor.__name__:
            own = Path(json_file_path)
            whole = {**json.loads(own.read_text("utf-8")), "processor_class": settings["processor_class"]}
            own.write_text(json.dumps({**whole, "image_processor": settings}, indent=2, sort_keys=True) + "\n", "utf-8")
        beside = Path(json_file_path).parent / IMAGE_PROCESSOR_NAME
        beside.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> "SamProcessor":
        """Load from anything that `SamImageProcessor.from_pretrained` takes; raises the same errors."""
        image_processor = SamImageProcessor.from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        try:
            hub = {name: kwargs[name] for name in HUB_ARGUMENTS if name in kwargs}
            config = SamConfig.from_pretrained(pretrained_model_name_or_path, **hub)
        except (ModelNotFoundError, OSError):  # a processor alone, or beside a checkpoint file
            return cls(image_processor)
        return cls.for_config(config, image_processor)

    @classmethod
    def for_config(cls, config: SamConfig, image_processor: SamImageProcessor | None = None) -> "SamProcessor":
        """The processor of a model; a `SamHubProcessor` if ``transformers`` lacks the model."""
        image_processor = image_processor and image_processor.check_model(config)
        kind = cls if config.is_transformers_native or cls is not SamProcessor else SamHubProcessor
        return kind(image_processor or SamImageProcessor.for_config(config))


class SamHubProcessor(SamProcessor):
    """`SamProcessor` under a name that ``transformers`` does not use.

    Saved files name the processor's class. ``AutoProcessor`` resolves "SamProcessor" to the class of ``transformers``,
    which suits the models it knows; the files of all others name this class.
    """
