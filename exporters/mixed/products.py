"""Constants that are products of smaller ones, such as the sines of positions on a grid."""

import numpy as np

LEAST_ELEMENTS = 16384
"""Smaller constants are left alone."""

EXACT = {2: 1e-3, 4: 2e-6}
"""Bytes of a number -> accepted error of a product, as a fraction of the largest number."""


def factored(values: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Maps (1, C, H, W) -> (1, C, H, 2) and (1, C, 2, W), if their product is exact: sines of a plane are."""
    values = np.asarray(values)
    if values.ndim != 4 or values.shape[0] != 1 or values.size < LEAST_ELEMENTS or min(values.shape[2:]) < 8:
        return None
    u, s, v = np.linalg.svd(values[0].astype(np.float64), full_matrices=False)
    left, right = (u[..., :2] * s[:, None, :2]).astype(np.float32), v[:, :2].astype(np.float32)
    if np.abs(left @ right - values[0]).max() > EXACT[values.dtype.itemsize] * np.abs(values).max():
        return None
    return left[None], right[None]
