"""Morphological thinning, like MATLAB's ``bwmorph(map, "thin", Inf)``.

Lam, Lee and Suen 1992, "Thinning Methodologies", page 879, after Guo and Hall 1989: two passes alternate until nothing
changes. Each pass removes, all at once, the pixels whose neighbourhood is in its table.
"""

import cv2
import numpy as np

NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
"""Row and column offsets of x1 ... x8: counterclockwise, starting from the east."""


def _removable(x: list[int], second: bool) -> bool:
    """Whether to remove a pixel with the neighbours x1 ... x8 (``x[0]`` ... ``x[7]``): conditions G1, G2 and G3."""
    following = x[1:] + x[:1]
    starts = sum(1 for k in (0, 2, 4, 6) if not x[k] and (x[k + 1] or following[k + 1]))
    first_pairs = sum(x[k] | x[k + 1] for k in (0, 2, 4, 6))
    second_pairs = sum(x[k] | following[k] for k in (1, 3, 5, 7))
    turn = 4 if second else 0  # the second pass looks from the other side
    y = x[turn:] + x[:turn]
    return starts == 1 and 2 <= min(first_pairs, second_pairs) <= 3 and not ((y[1] | y[2] | (1 - y[7])) & y[0])


def _table(second: bool) -> np.ndarray:
    """Lookup table (256,) bool, indexed by neighbourhood: bit k is neighbour k + 1."""
    return np.array([_removable([code >> k & 1 for k in range(8)], second) for code in range(256)])


TABLES = _table(False), _table(True)
KERNEL = np.zeros((3, 3), np.float32)
for _bit, (_y, _x) in enumerate(NEIGHBOURS):
    KERNEL[1 + _y, 1 + _x] = 1 << _bit


def thin(edges: np.ndarray) -> np.ndarray:
    """Thin to one-pixel lines, preserving ends, holes and connectivity: (H, W) bool -> (H, W) bool."""
    now = edges.astype(np.uint8)
    while True:
        before = now
        for table in TABLES:
            code = cv2.filter2D(now, cv2.CV_16S, KERNEL, borderType=cv2.BORDER_CONSTANT)
            now = now & ~table[code]
        if (now == before).all():
            return now > 0
