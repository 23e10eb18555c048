"""Low-res logits in the frame of the image, computed only where a mask can be.

A resize along one axis is a matrix with a few weights in each row, so SAM's two resizes (to the padded input, and,
without the padding, to the image) become one matrix per axis. Bilinear weights are positive and sum to 1: a pixel whose
low-res neighbours are all at or below a level is at or below it too, and need not be computed.
"""

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from ..ops.interpolation import SparseRows, bicubic_rows, bilinear_rows

Size = tuple[int, int]

BLOCK = 64
"""Output pixels computed by one small dense product."""
PIECE = 2**22
"""Size of the intermediate result, in numbers, above which the axis that makes it smaller is resized first."""


@dataclass(frozen=True)
class MaskFrame:
    """How low-res masks lie on an image; sizes are (height, width).

    padded_size: of the padded input; input_size: of the resized image in it; original_size: of the image
    how: ``mask_resize`` of the image processor, see `sam_hub.models.mask_resizing.resize_masks`
    """

    padded_size: Size
    input_size: Size
    original_size: Size
    how: str = "crop"

    def visible(self, grid: Size) -> Size:
        """Rows and columns of the embedding (h, w), four low-res pixels each, that pixels of the image depend on.

        The resize to the padded input mixes two neighbours, so an image pixel depends on at most one low-res pixel
        beyond its own.
        """
        if self.how != "crop":
            return tuple(grid)
        used = zip(grid, self.input_size, self.padded_size, strict=True)
        return tuple(min(n, math.floor(n * part / whole + 0.125) + 1) for n, part, whole in used)


class AxisResize:
    """A matrix whose rows have a few neighbouring weights, applied in small dense blocks."""

    def __init__(self, rows: SparseRows) -> None:
        used = rows.weights != 0
        self.first = rows.first + used.argmax(axis=1)  # first and last input that each output reads
        self.last = rows.first + used.shape[1] - 1 - used[:, ::-1].argmax(axis=1)
        self.reach = int((self.last - self.first).max())
        steps = np.diff(self.first, prepend=0), np.diff(self.last)
        self.dense = bool((steps[0] <= 1).all() and (steps[1] <= 1).all())  # every input is the first of some output
        self.starting = np.bincount(self.first, minlength=rows.n_in)  # for each input: outputs that start reading there
        self.blocks = []  # for each `BLOCK` outputs: the first input they read, and the weights from there on
        for a in range(0, len(self.first), BLOCK):
            low, high = self.inputs(a, a + BLOCK)
            self.blocks.append((low, rows[a : a + BLOCK].dense(low, high).astype(np.float32)))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        places = self.first, self.last, self.starting
        return sum(array.nbytes for array in (*places, *(weights for _, weights in self.blocks)))

    def inputs(self, start: int, stop: int) -> tuple[int, int]:
        """The range of inputs that outputs ``start`` to ``stop`` read. The first row need not start first: a bicubic
        row that lies exactly on an input reads fewer inputs than its neighbours.
        """
        return int(self.first[start:stop].min()), int(self.last[start:stop].max()) + 1

    def outputs(self, low: int, high: int) -> tuple[int, int]:
        """The range of outputs that read any of the inputs ``low`` to ``high`` (inclusive).

        It may be empty if the image is smaller than the low-res mask.
        """
        start = int(np.searchsorted(self.last, low))
        return start, max(start, int(np.searchsorted(self.first, high, side="right")))

    def __call__(self, x: np.ndarray, at: int, start: int, stop: int) -> np.ndarray:
        """Outputs ``start`` to ``stop``, (stop - start, k), from inputs (n, k) that begin at input ``at``."""
        out = np.empty((stop - start, x.shape[1]), dtype=np.float32)
        a = start
        while a < stop:
            begin = a - a % BLOCK
            b = min(begin + BLOCK, stop)
            zero, weights = self.blocks[a // BLOCK]
            low, high = self.inputs(a, b)
            low, high = max(low, at), min(high, at + len(x))
            part = weights[a - begin : b - begin, low - zero : high - zero]
            np.matmul(part, x[low - at : high - at], out=out[a - start : b - start])
            a = b
        return out


class Upsampler:
    """Resizes low-res logits of masks to one image; the values are those of `resize_masks`."""

    def __init__(self, low_size: Size, frame: MaskFrame) -> None:
        """low_size: (h, w) of the low-res masks"""
        self.low_size, self.frame = low_size, frame
        self.rows, self.columns = (AxisResize(self._weights(axis)) for axis in (0, 1))

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.rows.nbytes + self.columns.nbytes

    def _weights(self, axis: int) -> SparseRows:
        low, frame = self.low_size[axis], self.frame
        used, out = frame.input_size[axis], frame.original_size[axis]
        if frame.how == "bicubic":
            return bicubic_rows(low, out)
        if frame.how in ("probability", "bilinear"):
            return bilinear_rows(low, out)
        return bilinear_rows(low, frame.padded_size[axis])[:used].bilinear(out)

    @cached_property
    def visible(self) -> Size:
        """(h, w) of the low-res pixels that the image covers; the rest is padding."""
        return int(self.rows.last[-1]) + 1, int(self.columns.last[-1]) + 1

    def window(self, logits: np.ndarray, level: float) -> tuple[slice, slice] | None:
        """The low-res rows and columns needed for pixels above ``level``; None if there are none.

        logits: (h, w)
        """
        above = logits[: self.visible[0], : self.visible[1]] > level
        rows, columns = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if len(rows) == 0:
            return None
        if self.frame.how == "bicubic":  # its negative weights can lift pixels beside the window
            return slice(0, self.visible[0]), slice(0, self.visible[1])
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def margin(self, window: tuple[slice, slice]) -> tuple[slice, slice]:
        """The window, and the low-res pixels around it that are interpolated with it."""
        return tuple(
            slice(max(0, part.start - axis.reach), min(size, part.stop + axis.reach))
            for part, axis, size in zip(window, (self.rows, self.columns), self.visible, strict=True)
        )

    def box_bounds(
        self, logits: np.ndarray, window: tuple[slice, slice], level: float
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Bounds of the mask's box in the image, without computing the mask.

        An image pixel is above the level if all its low-res neighbours are, and is not if none of them is.

        logits: as for calling the upsampler
        returns: an inner and an outer box, XYXY (4,) with inclusive edges, between which the box lies; None if unknown
        """
        if self.frame.how == "bicubic" or not (self.rows.dense and self.columns.dense):
            return None
        above = solid = logits > level
        for _ in range(self.rows.reach):
            solid = solid[1:] & solid[:-1]
        for _ in range(self.columns.reach):
            solid = solid[:, 1:] & solid[:, :-1]  # at the upper left pixel of each block that is all above
        if not solid.any():
            return None
        inner, outer = np.empty(4, dtype=np.float32), np.empty(4, dtype=np.float32)
        around = self.margin(window)
        for place, (axis, resize) in enumerate(((1, self.columns), (0, self.rows))):
            blocks = np.flatnonzero(solid.any(axis=1 - axis)) + around[axis].start
            inner[place] = np.searchsorted(resize.first, blocks[0])
            inner[place + 2] = np.searchsorted(resize.last, blocks[-1] + resize.reach, side="right") - 1
            pixels = np.flatnonzero(above.any(axis=1 - axis)) + around[axis].start
            start, stop = resize.outputs(int(pixels[0]), int(pixels[-1]))
            outer[place::2] = start, stop - 1
        return inner, outer

    def stability_bound(
        self, logits: np.ndarray, window: tuple[slice, slice], threshold: float, offset: float
    ) -> float:
        """An upper bound of the stability score of the mask in the image, without computing the mask.

        An image pixel is not above ``threshold + offset`` if none of its low-res neighbours is, and it is above
        ``threshold - offset`` if all of them are.

        logits: as for calling the upsampler
        returns: at least `sam_hub.ops.masks.stability_score` of the result; infinity if unknown
        """
        if self.frame.how == "bicubic":
            return np.inf
        around = self.margin(window)
        reach = self.rows.reach, self.columns.reach
        padded = np.full([n + r for n, r in zip(logits.shape, reach, strict=True)], -np.inf, np.float32)
        padded[: logits.shape[0], : logits.shape[1]] = logits
        some, every = padded > threshold + offset, padded > threshold - offset
        for axis, steps in enumerate(reach):  # combine the block of neighbours that starts at each low-res pixel
            for _ in range(steps):
                first, second = (np.s_[:-1], np.s_[1:]) if axis == 0 else (np.s_[:, :-1], np.s_[:, 1:])
                some, every = some[first] | some[second], every[first] & every[second]
        rows, columns = (axis.starting[part] for axis, part in zip((self.rows, self.columns), around, strict=True))
        inner, outer = (float(rows @ blocks.astype(np.int64) @ columns) for blocks in (some, every))
        return inner / outer if outer else np.inf if inner else 0.0

    def __call__(self, logits: np.ndarray, window: tuple[slice, slice]) -> tuple[np.ndarray, tuple[int, int]]:
        """Logits of the image pixels that depend on the window: (h', w') float32, and the x, y of the first of them.

        logits: (h, w) of the `margin` of the window. All other pixels of the image are at or below the window's level.
        """
        rows, columns = window
        around = self.margin(window)
        top, bottom = self.rows.outputs(rows.start, rows.stop - 1)
        left, right = self.columns.outputs(columns.start, columns.stop - 1)
        x = self._scaled(logits)
        # Transposed, so that memory is column-major, as run lengths need it.
        if (bottom - top) * x.shape[1] <= PIECE or x.shape[1] <= right - left:
            x = self.rows(x, around[0].start, top, bottom)
            x = self.columns(np.ascontiguousarray(x.T), around[1].start, left, right).T
        else:  # a tall, thin image
            x = self.columns(np.ascontiguousarray(x.T), around[1].start, left, right)
            x = np.asfortranarray(self.rows(np.ascontiguousarray(x.T), around[0].start, top, bottom))
        return self._as_logits(x), (left, top)

    def pixels(self, logits: np.ndarray, window: tuple[int, int, int, int]) -> np.ndarray:
        """Logits of a window of the image, (h', w') float32.

        logits: (h, w), the whole low-res mask; window: x0, y0, x1, y1 in pixels, x1 and y1 exclusive
        """
        x0, y0, x1, y1 = window
        (top, bottom), (left, right) = self.rows.inputs(y0, y1), self.columns.inputs(x0, x1)
        x = self._scaled(logits[top:bottom, left:right])
        x = self.rows(x, top, y0, y1)
        return self._as_logits(self.columns(np.ascontiguousarray(x.T), left, x0, x1).T)

    def _scaled(self, logits: np.ndarray) -> np.ndarray:
        """What is interpolated: logits, or probabilities."""
        return 1 / (1 + np.exp(-logits)) if self.frame.how == "probability" else logits

    def _as_logits(self, x: np.ndarray) -> np.ndarray:
        if self.frame.how != "probability":
            return x
        x = x.clip(1e-6, 1 - 1e-6)
        return np.log(x / (1 - x))


def enlarge(low_res: np.ndarray, frame: MaskFrame, return_logits: bool = False) -> np.ndarray:
    """Low-res logits (..., h, w) -> masks of the image, (..., H, W) bool, or float32 logits."""
    flat = low_res.reshape(-1, *low_res.shape[-2:])
    upsampler = upsampler_of(flat.shape[-2:], frame)
    out = np.zeros((len(flat), *frame.original_size), np.float32 if return_logits else bool)
    everything = tuple(slice(0, side) for side in upsampler.visible)
    for mask, logits in zip(out, flat, strict=True):
        window = everything if return_logits else upsampler.window(logits, 0)
        if window is not None:
            part, (x, y) = upsampler(logits[upsampler.margin(window)], window)
            mask[y : y + part.shape[0], x : x + part.shape[1]] = part if return_logits else part > 0
    return out.reshape(*low_res.shape[:-2], *frame.original_size)


@lru_cache(maxsize=2)
def upsampler_of(low_size: Size, frame: MaskFrame) -> Upsampler:
    """The last few are cached, as a photo usually gets many clicks."""
    return Upsampler(low_size, frame)
