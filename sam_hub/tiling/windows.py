"""Prompts on an image that exceeds memory: only the window around the prompts is read and encoded."""

import numpy as np

from ..errors import PromptError
from ..inference.image_predictor import ImagePredictor
from ..ops.prompts import check_box, check_points
from ..rasters.raster import Window
from .picture import Picture

ROOM = 1.5
"""Minimum side of a window, as a multiple of the prompt's extent."""


def window_around(points: np.ndarray | None, box: np.ndarray | None, size: tuple[int, int], side: int = 1024) -> Window:
    """A window of ``side`` pixels, or more for a large prompt, centred on the prompt and inside the image.

    points: (P, 2), x then y; box: x0, y0, x1, y1; in pixels of the image, at least one of them; size: (H, W) of the
        image
    """
    corners = [] if points is None else [np.reshape(points, (-1, 2))]
    corners += [] if box is None else [np.reshape(box, (2, 2))]
    low, high = (f(np.concatenate(corners), axis=0) for f in (np.min, np.max))
    length = max(side, int(np.ceil(ROOM * (high - low).max())))
    found = []
    for middle, whole in zip((low + high) / 2, size[::-1], strict=True):
        extent = min(length, whole)
        start = min(max(0, round(float(middle) - extent / 2)), whole - extent)
        found.append((start, start + extent))
    (x0, x1), (y0, y1) = found
    return x0, y0, x1, y1


def predict_in_window(
    predictor: ImagePredictor,
    picture: Picture,
    point_coords: np.ndarray | None = None,
    point_labels: np.ndarray | None = None,
    box: np.ndarray | None = None,
    multimask_output: bool = True,
    side: int = 1024,
) -> tuple[np.ndarray, np.ndarray, Window]:
    """Predict masks of one object in a large image, after setting a window of it on the predictor.

    point_coords, point_labels, box, multimask_output: as for `ImagePredictor.predict`, in pixels of the image
    side: of the window in pixels, see `window_around`
    returns: masks (M, h, w) bool of the window, without pixels that have no data; predicted IoU (M,); the window: pass
    ``origin=window[:2]`` to `mask_to_rle`
    raises: PromptError, ImageError
    """
    if point_coords is None and box is None:
        raise PromptError("a window needs points or a box; give some")
    if point_coords is not None:
        check_points(np.asarray(point_coords, np.float64), np.asarray(point_labels), picture.size)
    if box is not None:
        check_box(np.asarray(box), picture.size)
    window = window_around(point_coords, box, picture.size, side)
    pixels, valid = picture.read(window)
    predictor.set_image(pixels)
    x0, y0 = window[:2]
    masks, scores, _ = predictor.predict(
        None if point_coords is None else np.asarray(point_coords) - [x0, y0],
        point_labels,
        None if box is None else np.asarray(box) - [x0, y0, x0, y0],
        multimask_output=multimask_output,
    )
    return masks & valid, scores, window
