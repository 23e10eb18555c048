"""One-to-one matching of two edge maps within a distance, the core of the BSDS500 benchmark.

As the benchmark's ``correspondPixels``: a maximum matching with minimum total distance. Only pairs within the maximum
distance are edges of the assignment problem, so it is sparse; SciPy solves it (Jonker and Volgenant 1987).
"""

from functools import lru_cache

import numpy as np

MAX_DISTANCE = 0.0075
"""Maximum distance of matched pixels, as a fraction of the image's diagonal (Martin, Fowlkes and Malik 2004)."""

UNITS = 100
"""Distances are rounded to 1 / `UNITS` pixel."""
PART = 300
"""Minimum number of rows solved together; small connected components are grouped."""
ALONE = 100
"""Cost of an unmatched pixel, in pairs at the maximum distance."""


@lru_cache(maxsize=8)
def disk(radius: float) -> tuple[int, np.ndarray, np.ndarray]:
    """Reach in pixels, and (K,) row and column offsets of all pixels within ``radius`` (inclusive), nearest first."""
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    squared = y * y + x * x
    inside = squared <= radius * radius
    order = np.argsort(squared[inside], kind="stable")
    return reach, y[inside][order], x[inside][order]


class EdgePixels:
    """The pixels of one edge map, numbered row by row.

    edges: (H, W) bool; distance: in pixels; default: `MAX_DISTANCE` times the diagonal
    """

    def __init__(self, edges: np.ndarray, distance: float | None = None) -> None:
        height, width = edges.shape
        self.distance = MAX_DISTANCE * float(np.hypot(height, width)) if distance is None else distance
        reach, y, x = disk(self.distance)
        row = width + 2 * reach
        rows, columns = np.nonzero(edges)
        self.count = len(rows)
        self._place = (rows + reach) * row + columns + reach
        self._steps, self.cost = y * row + x, np.rint(UNITS * np.hypot(y, x))
        self._number = np.full((height + 2 * reach) * row, -1, np.int32)
        self._number[self._place] = np.arange(self.count)

    def near(self, other: "EdgePixels") -> np.ndarray:
        """For each pixel and offset, the pixel of the other map: (N, K) int32, -1 for none."""
        return other._number[self._place[:, None] + self._steps]


def match_edges(a: EdgePixels, b: EdgePixels) -> np.ndarray:
    """The match in ``b`` of each pixel of ``a``, two maps of equal size: (N,) int64, -1 for none."""
    if a.count > b.count:
        back = match_edges(b, a)
        partner = np.full(a.count, -1)
        matched = np.flatnonzero(back >= 0)
        partner[back[matched]] = matched
        return partner
    partner = np.full(a.count, -1)
    near = a.near(b)
    there = near >= 0
    rows = np.flatnonzero(there.any(1))
    for part in _parts(near[rows], there[rows], b.count):
        mine = rows[part]
        columns, compact = np.unique(near[mine][there[mine]], return_inverse=True)
        local = np.full((len(mine), near.shape[1]), -1)
        local[there[mine]] = compact
        found = _assign(local, a.cost, ALONE * UNITS * a.distance, len(columns))
        alone = found >= len(columns)
        partner[mine] = np.where(alone, -1, columns[np.where(alone, 0, found)])
    return partner


def _parts(near: np.ndarray, there: np.ndarray, count: int) -> list[np.ndarray]:
    """Group rows by connected component, joining small ones; the solver's time grows with rows times columns."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import connected_components

    total = len(near)
    if total <= PART:
        return [np.arange(total)] if total else []
    ends = np.concatenate([[0], there.sum(1).cumsum()])
    links = csr_matrix((np.ones(ends[-1], np.int8), near[there], ends), (total, count))
    size = total + count
    square = csr_matrix((links.data, links.indices + total, np.pad(ends, (0, count), mode="edge")), (size, size))
    label = connected_components(square, directed=False)[1][:total]
    order = np.argsort(label, kind="stable")
    starts = np.flatnonzero(np.diff(label[order], prepend=-1))
    cuts, last = [], 0
    for start in starts.tolist():
        if start - last >= PART:
            cuts.append(start)
            last = start
    return np.split(order, cuts)


def _assign(near: np.ndarray, cost: np.ndarray, alone: float, count: int) -> np.ndarray:
    """Minimum-cost assignment of a distinct column to each row; column ``count`` + i leaves row i unmatched.

    near: (N, K) columns, -1 for none; cost: (K,)
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import min_weight_full_bipartite_matching

    total = len(near)
    there = near >= 0
    row, step = np.nonzero(there)
    ends = np.concatenate([[0], there.sum(1).cumsum()]) + np.arange(total + 1)
    place = np.arange(len(row)) + row  # each row ends with its own "unmatched" column
    columns, costs = np.empty(ends[-1], np.int32), np.empty(ends[-1])
    columns[place], costs[place] = near[row, step], cost[step] + 1  # SciPy ignores edges of cost 0
    columns[ends[1:] - 1], costs[ends[1:] - 1] = count + np.arange(total), np.ceil(alone) + 1
    graph = csr_matrix((costs, columns, ends), (total, count + total))
    return min_weight_full_bipartite_matching(graph)[1]
