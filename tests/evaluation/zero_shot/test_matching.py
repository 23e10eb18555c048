"""The matching against SciPy's, which knows nothing of pixels, and against brute force on tiny maps."""

from functools import cache

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from scipy.spatial.distance import cdist

from sam_hub.zero_shot.matching import PART, EdgePixels, disk, match_edges


def pairs(a: np.ndarray, b: np.ndarray, distance: float) -> np.ndarray:
    """Which pixels are within the distance: (N, M) bool."""
    return cdist(np.argwhere(a), np.argwhere(b)) <= distance if a.any() and b.any() else np.zeros((a.sum(), b.sum()))


def most(near: np.ndarray) -> int:
    """The size of a maximum matching, by trying all."""

    @cache
    def best(row: int, taken: int) -> int:
        if row == len(near):
            return 0
        ways = [best(row + 1, taken)]
        ways += [1 + best(row + 1, taken | 1 << j) for j in np.flatnonzero(near[row]).tolist() if not taken >> j & 1]
        return max(ways)

    return best(0, 0)


@pytest.mark.parametrize("seed", range(30))
def test_as_many_as_any_matching_of_a_tiny_map(seed):
    rng = np.random.default_rng(seed)
    a, b = (rng.random((4, 5)) < share for share in rng.uniform(0.2, 0.6, 2))
    distance = float(rng.choice([0.0, 1.0, np.sqrt(2), 2.0]))
    partner = match_edges(EdgePixels(a, distance), EdgePixels(b, distance))
    near = pairs(a, b, distance)
    assert np.count_nonzero(partner >= 0) == most(near)
    chosen = np.flatnonzero(partner >= 0)
    assert len(set(partner[chosen])) == len(chosen)
    assert all(near[i, partner[i]] for i in chosen)


@pytest.mark.parametrize(("seed", "share"), [(0, 0.03), (1, 0.1), (2, 0.3)])
def test_as_many_as_scipy_on_larger_maps(seed, share):
    rng = np.random.default_rng(seed)
    a, b = rng.random((60, 80)) < share, rng.random((60, 80)) < 0.1
    partner = match_edges(EdgePixels(a, 3.0), EdgePixels(b, 3.0))
    theirs = maximum_bipartite_matching(csr_matrix(pairs(a, b, 3.0)), "column")
    assert np.count_nonzero(partner >= 0) == np.count_nonzero(theirs >= 0)


def test_parts_that_are_not_connected_are_solved_apart():
    """More pixels than `PART`, in clusters that do not reach one another."""
    rng = np.random.default_rng(7)
    a, b = np.zeros((150, 150), bool), np.zeros((150, 150), bool)
    for y in range(0, 150, 15):
        for x in range(0, 150, 15):
            a[y : y + 6, x : x + 6] = rng.random((6, 6)) < 0.2
            b[y : y + 6, x : x + 6] = rng.random((6, 6)) < 0.2
    assert min(a.sum(), b.sum()) > 2 * PART
    partner = match_edges(EdgePixels(a, 1.5), EdgePixels(b, 1.5))
    near = pairs(a, b, 1.5)
    wanted = maximum_bipartite_matching(csr_matrix(near), "column")
    assert np.count_nonzero(partner >= 0) == np.count_nonzero(wanted >= 0)
    chosen = np.flatnonzero(partner >= 0)
    assert len(set(partner[chosen])) == len(chosen) and near[chosen, partner[chosen]].all()


def test_the_largest_distance_counts():
    """A pixel 0.0075 of the diagonal away is a partner, one farther is not: 3 of 400 pixels, 4 of 533.3."""
    a = np.zeros((320, 240), bool)  # the diagonal is 400
    a[100, 100] = True
    for x, near in ((103, 0), (104, -1)):
        b = np.zeros_like(a)
        b[100, x] = True
        assert match_edges(EdgePixels(a), EdgePixels(b)).tolist() == [near]
    assert disk(1.0)[1].tolist() == [0, -1, 0, 0, 1]


def test_of_equally_many_pairs_the_nearest_are_taken():
    """The assignment of SciPy's dense solver, in which a pixel alone costs a hundred times the largest distance."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        a, b = rng.random((9, 9)) < 0.25, rng.random((9, 9)) < 0.3
        apart = cdist(np.argwhere(a), np.argwhere(b))
        cost = np.full((len(apart), len(apart[0]) + len(apart)), 200.0)
        cost[:, : len(apart[0])] = np.where(apart <= 2, apart, 1e6)
        wanted = cost[linear_sum_assignment(cost)].sum()
        partner = match_edges(EdgePixels(a, 2), EdgePixels(b, 2))
        mine = sum(200.0 if j < 0 else apart[i, j] for i, j in enumerate(partner))
        assert mine == pytest.approx(wanted, abs=0.01 * len(apart))


@pytest.mark.parametrize("empty", ["a", "b"])
def test_an_empty_map_has_no_partners(empty):
    maps = {name: EdgePixels(np.full((3, 3), name != empty), 2) for name in "ab"}
    assert (match_edges(maps["a"], maps["b"]) == -1).all()
