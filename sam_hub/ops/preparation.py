"""Prepares images as a model's input, by the settings in ``preprocessor_config.json``.

`SamImageProcessor`, the torch-free runtime and the proofs of exported files all use this code, so that they agree to
the last bit.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .bounds import check_preparation
from .geometry import resized_size
from .images import normalize_and_pad, resize_longest_side, stretch, stretch_float, stretch_smooth
from .input_size import LOW_RES, complete_sizes, from_two_sides, padded_frame
from .value_range import ValueRange, check_range

Size = tuple[int, int]

RESIZES = {"stretch": stretch, "stretch_smooth": stretch_smooth}
"""Resize modes that take a filter, besides SAM's."""


@dataclass(frozen=True)
class Prepared:
    """An image prepared for a model. Sizes are (height, width).

    original_size: of the image
    frame_size: of the resized image, in the frame of prompts and masks
    resized: (h, w, 3), grey levels at the network's size: uint8, or float32 if resizing does not round
    pixel_values: (1, 3, H, W) float32, normalised and padded
    """

    original_size: Size
    frame_size: Size
    resized: np.ndarray
    pixel_values: np.ndarray


@dataclass(frozen=True)
class Preparation:
    """The settings that affect the results; see `SamImageProcessor` for their meaning.

    padded: (height, width) of the network's input; None: no padding
    """

    longest: int
    padded: Size | None
    frame: int
    resize_mode: str = "longest_side"
    resample: int = Image.Resampling.BILINEAR
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    rescale_factor: float = 1 / 255
    do_min_max: bool = False
    mask_resize: str = "crop"
    mask_stride: float = LOW_RES
    do_resize: bool = True
    value_range: ValueRange = field(default=None, compare=False, repr=False)  # of images; the rest is for grey levels

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "Preparation":
        """From the content of ``preprocessor_config.json``, or `SamImageProcessor.to_dict`.

        raises: ValueError for sizes that contradict each other
        """
        check_preparation(settings)
        settings = from_two_sides(settings)
        sizes = complete_sizes(settings)
        optional = (
            "resize_mode",
            "resample",
            "rescale_factor",
            "do_min_max",
            "mask_resize",
            "mask_stride",
            "do_resize",
        )
        given = {name: settings[name] for name in optional if settings.get(name) is not None}
        if settings.get("do_rescale") is False:
            given["rescale_factor"] = 1.0
        mean, std = settings.get("image_mean", cls.mean), settings.get("image_std", cls.std)
        if settings.get("do_normalize") is False:
            mean, std = 0.0, 1.0
        pad = sizes["pad_size"]
        if settings.get("value_range") is not None:
            given["value_range"] = check_range(settings["value_range"])
        return cls(
            longest=sizes["size"]["longest_edge"],
            padded=None if settings.get("do_pad") is False else (pad["height"], pad["width"]),
            frame=sizes["frame_size"]["longest_edge"],
            mean=_each_channel(mean),
            std=_each_channel(std),
            **given,
        )

    @classmethod
    def read(cls, folder: Path) -> "Preparation":
        """Read ``preprocessor_config.json`` from a folder.

        raises: OSError; ValueError if it is not a regular file, not JSON, or has invalid settings
        """
        file = folder / "preprocessor_config.json"
        if file.exists() and not file.is_file():
            raise ValueError("it is not a regular file")
        try:
            return cls.from_settings(json.loads(file.read_text("utf-8")))
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError) as e:
            raise ValueError(f"its settings are not valid: {type(e).__name__} {e}") from e

    @property
    def padded_frame(self) -> Size:
        """(height, width) of the padded input, in the frame of prompts and masks."""
        height, width = self.padded or (self.longest, self.longest)
        return padded_frame(self.longest, {"height": height, "width": width}, self.frame)

    @property
    def mask_side(self) -> int:
        """Side of low-res masks."""
        return int(self.padded_frame[0] / self.mask_stride)

    def size_in_frame(self, original_size: Size) -> Size:
        """(height, width) of a resized image, in the frame of prompts and masks."""
        if not self.do_resize:
            height, width = original_size
            return round(height * self.frame / self.longest), round(width * self.frame / self.longest)
        return resized_size(original_size, self.frame) if self.resize_mode == "longest_side" else (self.frame,) * 2

    def padded_size_in_frame(self, original_size: Size) -> Size:
        """(height, width) of the padded input for an image, in the frame of prompts and masks."""
        return self.padded_frame if self.padded else self.size_in_frame(original_size)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (h, w, 3), see `Prepared.resized`."""
        if not self.do_resize:
            return image
        if self.resize_mode == "stretch_float":
            return stretch_float(image, self.longest)
        resize = RESIZES.get(self.resize_mode, resize_longest_side)
        return resize(image, self.longest, self.resample)

    def statistics(self, resized: np.ndarray) -> tuple[Any, Any]:
        """Mean and deviation to normalise an image with, in units of ``1 / rescale_factor`` grey levels."""
        if not self.do_min_max:
            return self.mean, self.std
        low, high = float(resized.min()), float(resized.max())
        return low * self.rescale_factor, max(high - low, 1e-8) * self.rescale_factor

    def __call__(self, image: np.ndarray) -> Prepared:
        """Prepare an image, (H, W, 3) uint8 RGB."""
        size = image.shape[:2]
        resized = self.resize(image)
        values = normalize_and_pad(resized, *self.statistics(resized), self.padded, self.rescale_factor)
        return Prepared(size, self.size_in_frame(size), resized, values[None])


def _each_channel(value: Any) -> tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, Iterable) else (float(value),) * 3
