"""`SamImageProcessor`: images -> ``pixel_values``, and low-res logits -> masks in the frame of the images.

Arguments, outputs and files are those of ``transformers``' processor, on Pillow alone (no torchvision). In addition:
any image that `read_image` takes, any input size, masks as arrays or tensors, and coordinates that stay float32 when a
batch is cast to half precision.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import BatchFeature
from transformers.image_processing_backends import PilBackend
from transformers.image_utils import SizeDict

from .. import convert
from ..errors import CheckpointError, ImageError, ModelNotFoundError, SamHubError
from ..families import registry
from ..hub import locate
from ..hub.download import PROCESSORS, Repository
from ..ops.bounds import check_preparation
from ..ops.geometry import resized_size
from ..ops.images import read_image
from ..ops.input_size import FOLLOWING, LOW_RES, complete_sizes, from_two_sides, longest_edge, with_changes
from ..ops.preparation import Preparation
from ..ops.value_range import check_range, range_for
from .configuration_sam import SamConfig
from .mask_generation import MaskGenerationMixin
from .mask_resizing import resize_masks

Size = tuple[int, int]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

PATCH = 16
"""Pixels of the frame per embedding cell (four low-res mask pixels), in all models but SAM 3."""

CHOICES = {
    "resize_mode": ("longest_side", "stretch", "stretch_float", "stretch_smooth"),
    "mask_resize": ("crop", "bilinear", "bicubic", "probability"),
}
"""Allowed values of the settings that are strings."""

FILE_ONLY = ("image_processor_type", "processor_class", "feature_extractor_type")
"""Keys of a saved processor that are not settings."""


HUB_ARGUMENTS = (
    "cache_dir",
    "force_download",
    "local_files_only",
    "proxies",
    "revision",
    "subfolder",
    "token",
    "trust_remote_code",
    "user_agent",
)
"""Arguments of ``from_pretrained`` that select the files."""


class SamImageProcessorKwargs(TypedDict, total=False):
    """Settings, in the constructor or for one call; see `SamImageProcessor`."""

    do_convert_rgb: bool | None
    value_range: Any
    do_resize: bool | None
    resize_mode: str | None
    size: dict[str, int] | SizeDict | None
    resample: int | None
    do_rescale: bool | None
    rescale_factor: float | None
    do_normalize: bool | None
    image_mean: float | list[float] | tuple[float, ...] | None
    image_std: float | list[float] | tuple[float, ...] | None
    do_min_max: bool | None
    do_pad: bool | None
    pad_size: dict[str, int] | SizeDict | None
    frame_size: dict[str, int] | SizeDict | None
    mask_size: dict[str, int] | SizeDict | None
    mask_pad_size: dict[str, int] | SizeDict | None
    mask_resize: str | None
    mask_stride: float | None
    input_data_format: str | None
    return_tensors: str | None


class SamBatchFeature(BatchFeature):
    """The result of the processors: a dict whose `to` moves everything and casts only ``pixel_values``.

    Half precision cannot hold coordinates (1023.5 becomes 1024), so they stay float32.
    """

    def to(self, *args: Any, **kwargs: Any) -> "SamBatchFeature":
        before = dict(self.data)
        super().to(*args, **kwargs)
        for name, value in before.items():
            if name != "pixel_values" and isinstance(value, Tensor):
                self.data[name] = value.to(self.data[name].device, non_blocking=kwargs.get("non_blocking", False))
        return self


NEEDS = {"do_resize": ("resample",), "do_rescale": ("rescale_factor",), "do_normalize": ("image_mean", "image_std")}
"""Settings that each step requires; a file must not set them to null."""


class SamImageProcessor(MaskGenerationMixin, PilBackend):
    """Resizes the long side to ``size["longest_edge"]``, normalises, then pads with zeros at the right and bottom.

    size: {"longest_edge": pixels}
        The other four sizes follow from it unless given, also if it is changed while loading, for a call or later;
        contradictory sizes are refused.
    pad_size, mask_pad_size: {"height", "width"} of the padded input and of the padded ``labels``
    frame_size: {"longest_edge"} of the frame of coordinates and masks: the input's in every model but EfficientViT-SAM
        L0-L2, which encode at 512 and use coordinates up to 1024
    mask_size: {"longest_edge"} of the ``labels`` made from segmentation maps
    image_mean, image_std, rescale_factor: a pixel becomes (value * rescale_factor - mean) / std
    resample: a Pillow filter; the original's is bilinear
    resize_mode: "longest_side"; "stretch" to the square of ``size``, ignoring the aspect ratio (MedSAM, SAM 2); the
        same without rounding to grey levels, "stretch_float" (EfficientSAM) and "stretch_smooth"
        (SAM 2 as its authors run it), see `sam_hub.ops.images`
    do_min_max: an image's darkest value becomes 0 and its lightest 1 (MedSAM), instead of ``image_mean`` and
        ``image_std``
    mask_resize: how masks are resized to the image: "crop", see `resize_masks`; "bilinear" (SAM 2) or "bicubic"
        (EfficientSAM), straight to the image; "probability", straight to the image and bilinear between probabilities
        instead of logits (MedSAM)
    mask_stride: pixels of the frame per pixel of a low-res mask: 4 in all models but SAM 3, where it is 3.5
    do_resize, do_rescale, do_normalize, do_pad: False skips a step
    value_range: which values of an image are black and white, see `sam_hub.ops.value_range.ValueRange`
    do_convert_rgb: written for other readers of the file; images are always converted to RGB here
    input_data_format: "channels_first" or "channels_last" of arrays and tensors; default: inferred from the shape; if
        both are possible, last for arrays and first for tensors

    raises: TypeError for an unknown argument, naming the nearest one; ValueError for contradictory settings
    """

    valid_kwargs = SamImageProcessorKwargs
    model_input_names = ["pixel_values"]

    do_convert_rgb = True
    do_resize = True
    resize_mode = "longest_side"
    size = {"longest_edge": 1024}
    resample = Image.Resampling.BILINEAR
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = IMAGENET_MEAN
    image_std = IMAGENET_STD
    do_min_max = False
    do_pad = True
    mask_resize = "crop"

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {name: value for name, value in kwargs.items() if name not in FILE_ONLY}
        refuse_unknown(kwargs, SamImageProcessorKwargs.__annotations__, type(self).__name__)
        super().__init__(**kwargs)

    @classmethod
    def from_dict(cls, image_processor_dict: dict[str, Any], **kwargs: Any) -> Any:
        """As in ``transformers``: unknown settings in a file are ignored."""
        known = {name: v for name, v in image_processor_dict.items() if name in SamImageProcessorKwargs.__annotations__}
        check_preparation(known)
        known = from_two_sides(known)
        for step, needed in NEEDS.items():
            if known.get(step, True) and None in [known.get(name, "") for name in needed]:
                raise ValueError(f"{step} is true without {' and '.join(needed)}")
        return super().from_dict(known, **with_changes(known, kwargs))

    def __setattr__(self, name: str, value: Any) -> None:
        """Setting a size later also updates the sizes that follow from it."""
        settings = self.__dict__
        if name in ("size", *FOLLOWING) and "_valid_kwargs_names" in settings:
            changed = {**settings, **with_changes(settings, {name: value})}
            for other, size in complete_sizes(changed).items():
                settings[other] = SizeDict(**size)
            return
        super().__setattr__(name, value)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any) -> Any:
        """Load "pocket", a catalogue name, a folder, a preprocessor_config.json or a Hub repository.

        An original checkpoint has no processor; the settings are derived from its shapes.
        other arguments: as in ``transformers`` (revision, token, or a setting to change)
        raises: ModelNotFoundError, CheckpointError
        """
        path, subfolder = Path(pretrained_model_name_or_path), kwargs.get("subfolder") or ""
        if path.suffix == ".json" or any((path / subfolder / name).is_file() for name in PROCESSORS):
            source = str(path)
        else:
            place = locate(pretrained_model_name_or_path, subfolder)
            if place.original:
                return cls.from_dict(cls.for_config(SamConfig(**place.variant.config)).to_dict(), **_settings(kwargs))
            if place.file:
                family, settings, _ = convert.to_ours(convert.read_checkpoint(place.file))
                config = SamConfig(**settings)
                if place.variant and place.variant.family == family:
                    config.take_from(place.variant)
                return cls.from_dict(cls.for_config(config).to_dict(), **_settings(kwargs))
            source = place.repo or str(place.folder)
            if place.repo:
                repository = Repository.of(source, kwargs, place.variant.revision if place.variant else "")
                commit = repository.fetch_first(PROCESSORS)
                if commit is None:
                    raise ModelNotFoundError(f"{source} holds no processor: neither {' nor '.join(PROCESSORS)}")
                kwargs["revision"] = commit
            if place.variant:
                kwargs = {**place.variant.config.get("preprocessing", {}), **kwargs}
        try:
            return super().from_pretrained(source, *args, **kwargs)
        except OSError as e:
            raise ModelNotFoundError(f"{source} holds no processor: {str(e).splitlines()[0]}") from e
        except (ArithmeticError, AttributeError, LookupError, RecursionError, ValueError) as e:
            if isinstance(e, SamHubError):
                raise
            raise CheckpointError(f"the processor settings of {source} are not valid ({e})") from e

    @classmethod
    def for_config(cls, config: SamConfig) -> "SamImageProcessor":
        """The processor that a model was trained with."""
        vision = config.vision_config
        settings = {
            "size": {"longest_edge": vision.image_size},
            **registry.part("encoder", vision.model_type).preparation,
            **(config.preprocessing or {}),
        }
        patch = config.prompt_encoder_config.patch_size
        if patch != PATCH:
            settings["mask_stride"] = LOW_RES * patch / PATCH
        if "frame_size" not in (config.preprocessing or {}):
            settings["frame_size"] = {"longest_edge": frame_of(config, longest_edge(settings["size"]))}
        return cls(**settings)

    def check_model(self, config: SamConfig) -> "SamImageProcessor":
        """Return this processor if its coordinate frame is the model's.

        raises: ValueError
        """
        size, frame = (longest_edge(value) for value in (self.size, self.frame_size))
        if frame != frame_of(config, size):
            raise ValueError(
                f"the processor counts coordinates to {frame} for an input of {size}, and the model to "
                f"{frame_of(config, size)}; omit all but size to derive them from it"
            )
        return self

    def preprocess(self, images: Any, segmentation_maps: Any = None, **kwargs: Any) -> SamBatchFeature:
        """Prepare images for the model.

        images: one image or a list of them, each as for `read_image` or a tensor; or an array or a tensor of a batch
        segmentation_maps: for each image a map (H, W) of class numbers or a stack (N, H, W), for ``labels``
        other arguments: settings for this call; ``return_tensors`` "pt", "np" or None for lists of arrays
        returns: pixel_values (B, 3, S, S) float32, original_sizes (B, 2) and reshaped_input_sizes (B, 2) int64, both
            height and width; with maps also labels (B, h, w) int64, or (B, N, h, w) for stacks
        raises: ImageError; TypeError for an unknown argument
        """
        refuse_unknown(kwargs, SamImageProcessorKwargs.__annotations__, "the image processor")
        return super().preprocess(images, segmentation_maps, **with_changes(self.__dict__, kwargs))

    def preparation(self, **changes: Any) -> Preparation:
        """How an image is prepared, with the settings for one call."""
        settings = {name: self.__dict__.get(name) for name in SamImageProcessorKwargs.__annotations__}
        return Preparation.from_settings({**settings, **with_changes(settings, changes)})

    @property
    def padded_frame(self) -> Size:
        """(height, width) of the padded input, in the frame of coordinates and masks."""
        return self.preparation().padded_frame

    def size_in_frame(self, original_size: Size) -> Size:
        """(height, width) of a resized image, in the frame of coordinates and masks."""
        return self.preparation().size_in_frame(original_size)

    def _standardize_kwargs(
        self,
        size: Any = None,
        pad_size: Any = None,
        frame_size: Any = None,
        mask_size: Any = None,
        mask_pad_size: Any = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        for name, choices in CHOICES.items():
            if kwargs.get(name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}; got {kwargs.get(name)!r}")
        given = dict(zip(("size", *FOLLOWING), (size, pad_size, frame_size, mask_size, mask_pad_size), strict=True))
        sizes = complete_sizes({**kwargs, **given})
        if kwargs.get("value_range") is not None:
            kwargs["value_range"] = check_range(kwargs["value_range"])
        kwargs = super()._standardize_kwargs(size=sizes.pop("size"), pad_size=sizes.pop("pad_size"), **kwargs)
        kwargs |= {name: SizeDict(**value) for name, value in sizes.items()}
        del kwargs["crop_size"]  # a setting of `PilBackend`; SAM does not crop
        return kwargs

    def _preprocess_image_like_inputs(
        self, images: Any, segmentation_maps: Any = None, return_tensors: str | None = None, **settings: Any
    ) -> SamBatchFeature:
        pixel_values, original_sizes, frames = [], [], []
        sources = _split(images)
        for i, source in enumerate(sources):
            try:
                original, frame, values = self._prepare(source, **settings)
            except ImageError as e:
                raise ImageError(f"image {i}: {e}" if len(sources) > 1 else str(e)) from e
            pixel_values.append(values)
            original_sizes.append(original)
            frames.append(frame)
        if return_tensors and len({values.shape for values in pixel_values}) > 1:
            raise ImageError("images of several sizes need padding to become one tensor; use do_pad=True")
        data = {
            "pixel_values": pixel_values,
            "original_sizes": original_sizes,
            "reshaped_input_sizes": frames,
        }
        if segmentation_maps is not None:
            shape = settings["mask_size"], settings["mask_pad_size"], settings["resize_mode"]
            data["labels"] = _labels(segmentation_maps, original_sizes, *shape)
        return SamBatchFeature(data, tensor_type=return_tensors)

    def _prepare(self, source: Any, **settings: Any) -> tuple[Size, Size, np.ndarray]:
        """One image -> its size, its size in the frame of coordinates, and its pixel values (3, H, W)."""
        if isinstance(source, np.ndarray | Tensor):
            source = _channels_last(source, settings["input_data_format"])
        wanted = settings["value_range"]
        own = wanted == (None if self.value_range is None else check_range(self.value_range))
        image = read_image(source, range_for(source, None if own else wanted, wanted))
        # Reading turns floats into grey levels; without rescaling, the caller wants the values unchanged.
        if not settings["do_rescale"] and isinstance(source, np.ndarray) and source.dtype.kind == "f":
            settings |= {"do_rescale": True, "rescale_factor": 1 / 255}
        prepared = Preparation.from_settings(settings)(image)
        return prepared.original_size, prepared.frame_size, prepared.pixel_values[0]

    def post_process_masks(
        self,
        masks: Any,
        original_sizes: Any,
        reshaped_input_sizes: Any,
        mask_threshold: float = 0.0,
        binarize: bool = True,
        pad_size: dict[str, int] | SizeDict | None = None,
    ) -> list:
        """Low-res logits -> masks in the frame of each image.

        masks: for each of B images (N, M, h, w), or any (..., h, w); logits, or a mask in bool or integers
        original_sizes, reshaped_input_sizes: as `preprocess` returned them, (B, 2), height and width
        mask_threshold: pixels above it belong to the object; for a mask in bool or integers, 0.5 is added to it
        binarize: False returns the values, float32
        pad_size: {"height", "width"} of the padded input; default: inferred from the masks, so that settings of the
            call that prepared the images need not be repeated
        returns: a list of B tensors (N, M, H, W), bool or float32; arrays if arrays were given
        raises: ValueError when the numbers of images differ
        """
        original_sizes, reshaped_input_sizes = _sizes(original_sizes), _sizes(reshaped_input_sizes)
        if not len(masks) == len(original_sizes) == len(reshaped_input_sizes):
            raise ValueError(
                f"masks of {len(masks)} images, {len(original_sizes)} original sizes and "
                f"{len(reshaped_input_sizes)} resized sizes; give one of each for each image"
            )
        own = self.preparation()
        results = []
        for mask, original, resized in zip(masks, original_sizes, reshaped_input_sizes, strict=True):
            tensor = torch.as_tensor(mask)
            padded = (pad_size["height"], pad_size["width"]) if pad_size else _padded(tensor, original, resized, own)
            threshold = mask_threshold if tensor.is_floating_point() else mask_threshold + 0.5
            result = resize_masks(tensor, padded, resized, original, threshold if binarize else None, self.mask_resize)
            results.append(result if isinstance(mask, Tensor) else result.numpy())
        return results


def frame_of(config: SamConfig, size: int) -> int:
    """Side of a model's coordinate frame for an input of ``size``: one patch of the prompt encoder for each patch of
    the image encoder.
    """
    patch = config.prompt_encoder_config.patch_size
    return size * patch // getattr(config.vision_config, "patch_size", patch)


def _padded(mask: Tensor, original: Size, resized: Size, own: Preparation) -> Size:
    """(height, width), in the frame, of the padded input that a low-res mask belongs to.

    The processor's, if mask and resized image fit it; otherwise it was set for one call and follows from the mask's
    size.
    """
    height, width = (int(side) for side in mask.shape[-2:])
    low_res = (round(own.mask_stride * height), round(own.mask_stride * width))
    if tuple(resized) == own.size_in_frame(original) and own.padded_frame in (low_res, (height, width)):
        return own.padded_frame
    return low_res if low_res[0] >= resized[0] and low_res[1] >= resized[1] else own.padded_frame


def _settings(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of ``from_pretrained`` that concern the processor."""
    return {name: value for name, value in arguments.items() if name not in HUB_ARGUMENTS}


def refuse_unknown(kwargs: Iterable[str], known: Iterable[str], where: str) -> None:
    """TypeError for an unknown argument, naming the nearest known one."""
    known = list(known)
    for name in kwargs:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{where} has no argument {name!r}; {hint}")


def _split(images: Any) -> list:
    """The images of a batch."""
    if images is None:
        raise ImageError("no image was given; pass one as images=...")
    if isinstance(images, list | tuple) or (isinstance(images, np.ndarray | Tensor) and images.ndim == 4):
        if len(images) == 0:
            raise ImageError("the list of images is empty; pass at least one image")
        return list(images)
    return [images]


def _array(value: np.ndarray | Tensor) -> np.ndarray:
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        return (value.float() if value.is_floating_point() else value).numpy()
    return value


def _channels_last(image: np.ndarray | Tensor, data_format: str | None) -> np.ndarray:
    """(C, H, W) or (H, W, C) -> (H, W, C); other shapes as they are."""
    first = image.ndim == 3 and image.shape[0] in (1, 3, 4)
    if data_format is None and image.ndim == 3 and image.shape[-1] in (1, 3, 4):
        first = first and isinstance(image, Tensor)
    elif data_format is not None:
        first = image.ndim == 3 and data_format == "channels_first"
    array = _array(image)
    return np.moveaxis(array, 0, -1) if first else array


def _labels(
    maps: Any, image_sizes: Sequence[Size], mask_size: SizeDict, padded_size: SizeDict, resize_mode: str
) -> np.ndarray:
    """Segmentation maps, one (H, W) or (N, H, W) for each image -> (B, h, w) or (B, N, h, w) int64, padded with 0."""
    if isinstance(maps, np.ndarray | Tensor):
        maps = _array(maps)
        batch = list(maps) if maps.ndim == 4 or (maps.ndim == 3 and len(maps) == len(image_sizes)) else [maps]
    else:
        batch = [_array(m) if isinstance(m, Tensor) else np.asarray(m) for m in _split(maps)]
    if len(batch) != len(image_sizes):
        raise ImageError(f"{len(batch)} segmentation maps were given for {len(image_sizes)} images; give one for each")
    for array, size in zip(batch, image_sizes, strict=True):
        if array.ndim not in (2, 3) or array.shape[-2:] != tuple(size):
            raise ImageError(f"a segmentation map must be {size} or (N, *{size}) like its image; got {array.shape}")
    count = max(len(m) if m.ndim == 3 else 1 for m in batch)
    out = np.zeros((len(batch), count, padded_size.height, padded_size.width), np.int64)
    for i, array in enumerate(batch):
        side = mask_size.longest_edge
        height, width = resized_size(array.shape[-2:], side) if resize_mode == "longest_side" else (side, side)
        for j, single in enumerate(array.reshape(-1, *array.shape[-2:])):
            image = Image.fromarray(single.astype(np.int32))
            out[i, j, :height, :width] = image.resize((width, height), Image.Resampling.NEAREST)
    return out if any(m.ndim == 3 for m in batch) else out[:, 0]


def _sizes(sizes: Any) -> list[Size]:
    """(height, width) pairs of ints from a tensor, an array or lists."""
    return [(int(h), int(w)) for h, w in (sizes.tolist() if hasattr(sizes, "tolist") else sizes)]
