"""Deterministic simulated clicks: in the middle of the object, then of the largest error."""

import cv2
import numpy as np

from ..ops.masks import mask_to_box


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Box of a non-empty mask: (H, W) bool -> x0, y0, x1, y1 in pixels, x1 and y1 exclusive as in COCO."""
    x0, y0, x1, y1 = mask_to_box(mask).tolist()
    return x0, y0, x1 + 1, y1 + 1


def farthest_pixel(region: np.ndarray) -> tuple[int, int]:
    """The pixel of a non-empty region that is farthest (L2) from its boundary; the image border is boundary too.

    region: (H, W) bool
    returns: x, y; ties: the topmost, then the leftmost (up to 2,000 pixels from the boundary)
    """
    x0, y0, x1, y1 = tight_box(region)
    # A one-pixel margin around the tight box suffices: pixels beyond it are never nearer.
    ringed = np.pad(region[y0:y1, x0:x1], 1).astype(np.uint8)
    distance = cv2.distanceTransform(ringed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Round squared distances to integers, as OpenCV's last bits depend on memory alignment.
    squared = np.rint(np.square(distance, dtype=np.float64))
    y, x = np.unravel_index(int(squared.argmax()), squared.shape)
    return x0 + int(x) - 1, y0 + int(y) - 1


def largest_component(region: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest 8-connected component of a non-empty (H, W) bool region, and its area in pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(region.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    largest = int(areas.argmax())
    return labels == largest + 1, int(areas[largest])


def corrective_click(predicted: np.ndarray, truth: np.ndarray) -> tuple[int, int, int] | None:
    """The next click: the farthest pixel of the largest error component; ties: the missed one.

    predicted, truth: (H, W) bool
    returns: x, y, label (1 for a false negative, 0 for a false positive); None if there is no error
    """
    worst, worst_area, label = None, 0, 0
    for kind, error in ((1, truth & ~predicted), (0, predicted & ~truth)):
        if error.any():
            component, area = largest_component(error)
            if area > worst_area:
                worst, worst_area, label = component, area, kind
    return None if worst is None else (*farthest_pixel(worst), label)
