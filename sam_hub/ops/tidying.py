"""Masks without specks and pinholes, as SAM 3's click predictor gives them by default."""

import cv2
import numpy as np

TIDY_SHARE = 0.02
"""Default share of the mask's area below which components and holes are removed."""


def tidy(
    mask: np.ndarray, share: float = TIDY_SHARE, points: np.ndarray | None = None, labels: np.ndarray | None = None
) -> np.ndarray:
    """Drop small components of a mask and fill its small holes.

    The largest component always stays, and so do clicked ones: a component with a click on the object, a hole with a
    click on the background. A region that touches the border of the image is not a hole.

    mask: (H, W) bool; share: of the mask's area, in [0, 1); smaller components and holes are removed
    points: (P, 2), x then y, in pixels of the mask; labels: (P,), 1 object, 0 background
    returns: (H, W) bool
    """
    if not 0 <= share < 1:
        raise ValueError(f"share must be at least 0 and below 1; got {share}")
    area = np.count_nonzero(mask)
    if area == 0 or share == 0:
        return mask.copy()
    clicked = _pixels(points, mask.shape)
    labels = np.ones(len(clicked), int) if labels is None else np.asarray(labels)
    parts, sizes = _components(mask, connectivity=8)
    keep = sizes >= share * area
    keep[np.argmax(sizes)] = True
    keep[[parts[y, x] for (x, y), label in zip(clicked, labels, strict=True) if label == 1]] = True
    keep[0] = False
    kept = keep[parts]
    gaps, sizes = _components(~kept, connectivity=4)
    fill = sizes < share * area
    fill[np.concatenate([gaps[0], gaps[-1], gaps[:, 0], gaps[:, -1]])] = False
    fill[[gaps[y, x] for (x, y), label in zip(clicked, labels, strict=True) if label == 0]] = False
    fill[0] = False
    return kept | fill[gaps]


def tidy_window(
    mask: np.ndarray,
    origin: tuple[int, int],
    share: float = TIDY_SHARE,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> np.ndarray:
    """`tidy` for the window of a mask that holds all its pixels: same result, and time grows with the window only.

    mask: (h, w) bool, the tight window or a larger one; origin: (x, y) of its first pixel in the image
    points: (P, 2), x then y, in pixels of the image; labels: (P,)
    returns: (h, w) bool
    """
    if points is not None:
        xy = np.asarray(points, float).reshape(-1, 2)
        labels = np.ones(len(xy), int) if labels is None else np.asarray(labels)
        xy = xy - origin
        inside = ((xy >= 0) & (xy < mask.shape[::-1])).all(axis=1)
        points, labels = xy[inside], labels[inside]
    return tidy(mask, share, points, labels)


def _pixels(points: np.ndarray | None, shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """The pixel (x, y) of each point; the nearest pixel if outside the image."""
    if points is None:
        return []
    height, width = shape[:2]
    return [(int(np.clip(x, 0, width - 1)), int(np.clip(y, 0, height - 1))) for x, y in np.asarray(points)]


def _components(mask: np.ndarray, connectivity: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of connected components, 0 where ``mask`` is False, and the area of each; the area of label 0 is 0."""
    _, numbers, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    sizes = stats[:, cv2.CC_STAT_AREA].copy()
    sizes[0] = 0
    return numbers, sizes
