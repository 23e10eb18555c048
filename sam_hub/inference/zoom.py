"""A second look at one object: the part of the image around it is encoded on its own, at a higher resolution.

The network's input has a fixed size, in which small objects are few pixels; in the window around an object they are
more. In the window, the result is a mean of both looks' logits: the second is sharper, and the first knows more of the
surroundings, which matter for roads, say.
"""

from dataclasses import dataclass

import numpy as np

from ..ops.masks import mask_to_box
from ..rasters.raster import Window
from .upsample import MaskFrame, upsampler_of

AROUND_BOX, AROUND_MASK = 2.0, 3.0
"""Side of the window as a multiple of the object's: a box is given; the mask of a click may be too small."""
SECOND = 0.6
"""Weight of the second look. It and the multiples were chosen with `pocket` on 458 objects of its training photos."""
SMALLEST = 64
"""Least side of a window, in pixels."""
GAIN = 1.25
"""Least enlargement that is worth another look."""
OF_OBJECT = (1, 2, 3)
"""Labels of points that the window must contain: clicks on the object and corners of its box."""


@dataclass(frozen=True)
class Look:
    """Predictions for one object in the image or in a window.

    low_res: (M, h, w) float32 logits; scores: (M,) predicted IoU
    frame: how they lie on the image or window
    """

    low_res: np.ndarray
    scores: np.ndarray
    frame: MaskFrame

    def in_order(self) -> "Look":
        """The same masks, best first."""
        order = np.argsort(-self.scores, kind="stable")
        return Look(self.low_res[order], self.scores[order], self.frame)

    def logits(self, window: Window) -> np.ndarray:
        """Logits of a window of the image: (M, h', w') float32."""
        upsampler = upsampler_of(self.low_res.shape[-2:], self.frame)
        return np.stack([upsampler.pixels(each, window) for each in self.low_res])


def closer_window(
    mask: np.ndarray, points: np.ndarray | None = None, labels: np.ndarray | None = None, box: np.ndarray | None = None
) -> Window | None:
    """The window for a second look, or None if the object is not found or already large.

    mask: (H, W) bool, of the first look
    points: (P, 2), x then y; labels: (P,), see `prompts.LABELS`; box: (4,) x0, y0, x1, y1; in pixels of the image
    """
    extent = None
    if box is None and mask.any():
        extent = mask_to_box(mask) + np.array([0, 0, 1, 1])
    return window_around(mask.shape, extent, points, labels, box)


def window_around(
    size: tuple[int, int],
    extent: np.ndarray | None,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    box: np.ndarray | None = None,
) -> Window | None:
    """`closer_window` for an object whose extent is known.

    size: (height, width) of the image
    extent: (4,) x0, y0, x1, y1 of the first look's mask, x1 and y1 exclusive, None if it is empty
    """
    if box is not None:
        corners = [np.clip(np.reshape(box, (2, 2)).astype(np.float64), 0, size[::-1])]
    else:
        if extent is None:
            return None
        corners = [np.reshape(extent, (2, 2)).astype(np.float64)]
    if points is not None:
        corners.append(np.reshape(points, (-1, 2))[np.isin(labels, OF_OBJECT)])
    low, high = (f(np.concatenate(corners), axis=0) for f in (np.min, np.max))
    side = max((high - low).max() * (AROUND_MASK if box is None else AROUND_BOX), SMALLEST)
    start = np.floor(np.maximum((low + high - side) / 2, 0)).astype(int)
    end = np.minimum(np.ceil((low + high + side) / 2), size[::-1]).astype(int)
    if (end - start).min() < 1 or (end - start).max() * GAIN > max(size):
        return None
    return int(start[0]), int(start[1]), int(end[0]), int(end[1])


def inside(
    window: Window, points: np.ndarray | None, labels: np.ndarray | None, box: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Prompts in pixels of the image -> in pixels of the window, without points outside it."""
    corner = np.array(window[:2], np.float64)
    if points is not None:
        points, labels = np.reshape(points, (-1, 2)) - corner, np.asarray(labels)
        here = ((points >= 0) & (points <= np.subtract(window[2:], window[:2]))).all(axis=1)
        points, labels = (points[here], labels[here]) if here.any() else (None, None)
    return points, labels, None if box is None else np.asarray(box, np.float64) - np.tile(corner, 2)


def combine(masks: np.ndarray, first: Look, second: Look, window: Window) -> np.ndarray:
    """Write the mean of both looks' logits into the window of the first look's masks, candidates paired by rank.

    masks: (M, H, W) bool, or float32 logits; both looks in order
    returns: the scores of the result, (M,)
    """
    x0, y0, x1, y1 = window
    logits, closer = first.logits(window), second.logits((0, 0, x1 - x0, y1 - y0))
    logits += SECOND * (closer - logits)
    masks[:, y0:y1, x0:x1] = logits > 0 if masks.dtype == bool else logits
    return first.scores + SECOND * (second.scores - first.scores)
