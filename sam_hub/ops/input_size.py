"""The related sizes in a processor's settings: of the input, its padding, the frame and the labels.

``size`` is the size of a resized image, ``pad_size`` of the network's input, ``frame_size`` of the frame of coordinates
and masks; ``mask_size`` and ``mask_pad_size`` are the same for labels. All but ``size`` follow from it unless given.
"""

from collections.abc import Mapping
from typing import Any

from .bounds import check_sides

Size = tuple[int, int]

FOLLOWING = ("pad_size", "frame_size", "mask_size", "mask_pad_size")
"""Sizes that follow from ``size``."""

SQUASHED = {"resize_mode": "stretch", "mask_resize": "bilinear"}
"""SAM 2's way of resizing images."""

LOW_RES = 4
"""Default ``mask_stride``: pixels of the frame per low-res mask pixel, along each side."""


def from_two_sides(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings from a file of SAM 2 or 3, whose ``size`` has a height and a width: images are stretched to it."""
    settings, size = dict(settings), settings.get("size")
    sides = dict(size) if isinstance(size, Mapping) else {}
    if sides.get("longest_edge") or not sides.get("height") or sides.get("height") != sides.get("width"):
        return settings
    of_ours = {name: value for name, value in settings.items() if name not in FOLLOWING}
    masks = dict(settings.get("mask_size") or {}).get("height")
    if masks and sides["height"] != LOW_RES * masks:
        of_ours.setdefault("mask_stride", sides["height"] / masks)
    return {**SQUASHED, **of_ours, "size": {"longest_edge": sides["height"]}}


def to_two_sides(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `from_two_sides`, so that ``transformers`` and transformers.js stretch too."""
    others = any(settings.get(name) != value for name, value in SQUASHED.items())
    if others or settings.get("mask_stride") not in (None, LOW_RES):
        return dict(settings)
    side, low = longest_edge(settings["size"]), longest_edge(settings["size"]) // LOW_RES
    rest = {name: value for name, value in settings.items() if name not in FOLLOWING}
    square = {name: {"height": n, "width": n} for name, n in (("size", side), ("pad_size", side), ("mask_size", low))}
    return {**rest, **square, "image_processor_type": "Sam2ImageProcessor", "processor_class": "Sam2Processor"}


def longest_edge(size: Any, name: str = "size") -> int:
    """raises: ValueError for anything but {"longest_edge": pixels}"""
    sides = size if size is None or isinstance(size, int | float | str) else dict(size)
    pixels = sides.get("longest_edge") if isinstance(sides, dict) else None
    if not isinstance(pixels, int) or pixels < 1:
        raise ValueError(f'{name} must be {{"longest_edge": pixels}}; got {sides}')
    return pixels


def complete_sizes(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The five sizes; missing ones are derived from the others.

    raises: ValueError for sizes that contradict each other
    """
    longest = longest_edge(settings.get("size"))
    pad = dict(settings.get("pad_size") or {"height": longest, "width": longest})
    for name in ("size", *FOLLOWING):
        check_sides(name, dict(settings.get(name) or {}))
    for name in ("pad_size", "mask_pad_size"):
        given = dict(settings.get(name) or {})
        if given and None in (given.get("height"), given.get("width")):
            raise ValueError(f'{name} must be {{"height": pixels, "width": pixels}}; got {given}')
    frame = longest_edge(settings.get("frame_size") or settings["size"], "frame_size")
    padded = padded_frame(longest, pad, frame)
    low_res = max(1, int(frame / (settings.get("mask_stride") or LOW_RES)))
    mask = longest_edge(settings.get("mask_size") or {"longest_edge": low_res}, "mask_size")
    mask_pad = dict(
        settings.get("mask_pad_size") or {k: max(1, v * mask // frame) for k, v in zip(pad, padded, strict=True)}
    )
    stretched = settings.get("resize_mode") not in (None, "longest_side")
    held = min(pad.values()) if stretched else max(pad.values())
    if settings.get("do_resize") is not False and settings.get("do_pad") is not False and held < longest:
        raise ValueError(
            f"pad_size {pad['width']} x {pad['height']} does not hold an image resized to {longest}; leave all but "
            "size out to have them follow it"
        )
    for side, key in zip(padded, ("height", "width"), strict=True):
        if abs(mask_pad[key] * frame - mask * side) > frame:
            raise ValueError(
                f"mask_size {mask} and mask_pad_size {mask_pad['width']} x {mask_pad['height']} are not in "
                f"proportion to the frame, {frame} and {padded[1]} x {padded[0]}; leave all but "
                "size out to have them follow it"
            )
    return {
        "size": {"longest_edge": longest},
        "pad_size": pad,
        "frame_size": {"longest_edge": frame},
        "mask_size": {"longest_edge": mask},
        "mask_pad_size": mask_pad,
    }


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``changes``, and the sizes in ``settings`` that depend on them and are not given, scaled in proportion.

    For example, a processor of size 512 and frame 1024 that is changed to size 256 gets a frame of 512.
    """
    changed = dict(changes)
    given = {name for name in ("size", *FOLLOWING) if changes.get(name) is not None}
    if "size" in given and settings.get("size"):
        new, old = longest_edge(changes["size"]), longest_edge(settings["size"])
        for name in FOLLOWING:
            if name not in given and settings.get(name):
                changed[name] = {side: max(1, round(v * new / old)) for side, v in dict(settings[name]).items()}
    if given & {"pad_size", "frame_size"}:
        for name in ("mask_size", "mask_pad_size"):
            if name not in given:
                changed[name] = None
    elif "mask_size" in given and "mask_pad_size" not in given:
        changed["mask_pad_size"] = None
    return changed


def padded_frame(longest: int, pad: Mapping[str, int], frame: int) -> Size:
    """(height, width) of the padded input, in the frame of coordinates and masks."""
    return int(pad["height"] * frame / longest), int(pad["width"] * frame / longest)
