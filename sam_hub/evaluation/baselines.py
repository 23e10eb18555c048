"""Baselines that segment from a box without a model: the inscribed ellipse, and OpenCV's GrabCut."""

import cv2
import numpy as np

GRABCUT_ITERATIONS = 5
GRABCUT_LONGEST_SIDE = 512
"""GrabCut runs on a copy of the image no larger than this; otherwise it would dominate the run time."""


def inscribed_ellipse(box: tuple[int, int, int, int], size: tuple[int, int]) -> np.ndarray:
    """The pixels whose centres lie in the ellipse that touches the four sides of a box.

    box: x0, y0, x1, y1 in pixels, x1 and y1 exclusive; size: (H, W)
    returns: (H, W) bool
    """
    x0, y0, x1, y1 = box
    x = (np.arange(size[1]) + 0.5 - (x0 + x1) / 2) / ((x1 - x0) / 2)
    y = (np.arange(size[0]) + 0.5 - (y0 + y1) / 2) / ((y1 - y0) / 2)
    return y[:, None] ** 2 + x[None, :] ** 2 <= 1


class GrabCut:
    """``cv2.grabCut`` from boxes in one image (Rother et al. 2004), without user corrections.

    image: (H, W, 3) uint8; scaled down so that its longest side is at most ``GRABCUT_LONGEST_SIDE``
    """

    def __init__(self, image: np.ndarray) -> None:
        self.size = image.shape[:2]
        self.scale = min(1.0, GRABCUT_LONGEST_SIDE / max(self.size))
        small = [max(1, round(side * self.scale)) for side in self.size[::-1]]
        self.image = image if self.scale == 1 else cv2.resize(image, small, interpolation=cv2.INTER_AREA)

    def segment(self, box: tuple[int, int, int, int]) -> np.ndarray:
        """x0, y0, x1, y1 (exclusive) in pixels of the original image -> (H, W) bool, the object GrabCut finds.

        A box that covers the whole image leaves no background to learn from; then the result is the box.
        """
        height, width = self.image.shape[:2]
        x0, y0 = int(box[0] * self.scale), int(box[1] * self.scale)
        x1 = min(width, max(x0 + 1, int(np.ceil(box[2] * self.scale))))
        y1 = min(height, max(y0 + 1, int(np.ceil(box[3] * self.scale))))
        labels = np.full((height, width), cv2.GC_BGD, np.uint8)
        labels[y0:y1, x0:x1] = cv2.GC_PR_FGD
        if (labels == cv2.GC_PR_FGD).all():
            return np.ones(self.size, bool)
        cv2.setRNGSeed(0)  # its k-means uses OpenCV's random generator
        background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
        rect = (x0, y0, x1 - x0, y1 - y0)
        cv2.grabCut(self.image, labels, rect, background, foreground, GRABCUT_ITERATIONS, cv2.GC_INIT_WITH_RECT)
        found = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.float32)
        if self.scale < 1:
            found = cv2.resize(found, self.size[::-1], interpolation=cv2.INTER_LINEAR)
        return found >= 0.5
