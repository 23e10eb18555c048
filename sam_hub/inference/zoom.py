"""A second look at one object: the part of the image around it is encoded on its own, at a higher resolution.

The network's input has a fixed size, in which small objects are few pixels; in the window around an object they are
more. In the window, the result is a mean of both looks' logits: the second is sharper, and the first knows more of the
surroundings, which matter for roads, say.
"""

from dataclasses import dataclass

import numpy as np

from ..ops.masks import mask_to_box
from ..rasters.raster import Window

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
    """Predictions for one object.

    logits: (M, h, w) float32 at the resolution of the image or window; scores: (M,) predicted IoU
    low_res: (M, h, w) float32 logits
    """

    logits: np.ndarray
    scores: np.ndarray
    low_res: np.ndarray

    def in_order(self) -> "Look":
        """The same masks, best first."""
        order = np.argsort(-self.scores, kind="stable")
        return Look(self.logits[order], self.scores[order], self.low_res[order])


def window_around(
    look: Look, points: np.ndarray | None = None, labels: np.ndarray | None = None, box: np.ndarray | None = None
) -> Window | None:
    """The window for a second look, or None if the object is not found or already large.

    points: (P, 2), x then y; labels: (P,), see `prompts.LABELS`; box: (4,) x0, y0, x1, y1; in pixels of the image
    """
    size = look.logits.shape[-2:]
    if box is not None:
        corners = [np.clip(np.reshape(box, (2, 2)).astype(np.float64), 0, size[::-1])]
    else:
        mask = look.logits[look.scores.argmax()] > 0
        if not mask.any():
            return None
        corners = [mask_to_box(mask).reshape(2, 2) + np.array([[0.0], [1.0]])]
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


def combined(first: Look, second: Look, window: Window) -> Look:
    """Both looks as one, in pixels of the image, best mask first; low-res logits are those of the first look."""
    first, second = first.in_order(), second.in_order()
    x0, y0, x1, y1 = window
    logits = first.logits.copy()
    here = logits[:, y0:y1, x0:x1]
    here += SECOND * (second.logits - here)
    return Look(logits, first.scores + SECOND * (second.scores - first.scores), first.low_res)
