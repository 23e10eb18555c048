"""The edge benchmark: its published results, and its rules restated pixel by pixel."""

import numpy as np
import pytest

from sam_hub.errors import DataError
from sam_hub.zero_shot import bsds as reader
from sam_hub.zero_shot.bsds import read_boundaries, unpacked_bytes
from sam_hub.zero_shot.edge_scores import THRESHOLDS, EdgeCounts, best_f, count_edges, f_measure, score_edges
from sam_hub.zero_shot.thinning import thin


def thinned(edges: np.ndarray) -> np.ndarray:
    """Guo and Hall's conditions as the manual of MATLAB's bwmorph words them, one pixel at a time."""
    now = np.pad(edges, 1)
    while True:
        start = now.copy()
        for second in (False, True):
            before = now.copy()
            for y, x in np.argwhere(before):
                steps = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
                x1, x2, x3, x4, x5, x6, x7, x8 = (bool(before[y + dy, x + dx]) for dy, dx in steps)
                g1 = (not x1 and (x2 or x3)) + (not x3 and (x4 or x5)) + (not x5 and (x6 or x7))
                g1 += not x7 and (x8 or x1)
                n1 = (x1 or x2) + (x3 or x4) + (x5 or x6) + (x7 or x8)
                n2 = (x2 or x3) + (x4 or x5) + (x6 or x7) + (x8 or x1)
                g3 = ((x6 or x7 or not x4) and x5) if second else ((x2 or x3 or not x8) and x1)
                if g1 == 1 and 2 <= min(n1, n2) <= 3 and not g3:
                    now[y, x] = False
        if (now == start).all():
            return now[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(8))
def test_thinning_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    edges = rng.random((14, 17)) < (0.3, 0.5, 0.7, 0.9)[seed % 4]
    if seed > 3:
        edges = np.kron(edges[:5, :5], np.ones((3, 3))) > 0
    assert (thin(edges) == thinned(edges)).all()


def test_a_bar_becomes_a_line():
    bar = np.zeros((9, 20), bool)
    bar[3:6, 2:18] = True
    line = thin(bar)
    assert line.any() and (line.sum(0) <= 1).all()
    assert not (line & ~bar).any()


def test_the_maps_with_published_answers(bsds):
    """F of the benchmark's own best threshold, for the first images that take little time."""
    answers = np.loadtxt(bsds / "eval_bdry_img.txt")
    names = sorted(path.stem for path in (bsds / "groundTruth").glob("*.mat"))
    for row in (0, 2, 3, 7, 11):
        strength = np.load(bsds / "ucm" / f"{names[row]}.npz")["ucm"].astype(float)
        annotators = read_boundaries(bsds / "groundTruth" / f"{names[row]}.mat", strength.shape)
        wanted = answers[row, 1]
        around = THRESHOLDS[np.abs(THRESHOLDS - wanted) < 0.0099]
        _, recall, precision, f = best_f(count_edges(strength, annotators, around), around)
        assert f == pytest.approx(answers[row, 4], abs=0.002)
        assert (recall, precision) == pytest.approx(answers[row, 2:4], abs=0.006)


def test_curve_and_summary_are_those_of_the_published_counts(bsds):
    """ODS and AP follow from the published curve, as it stands in the file beside them."""
    curve, wanted = np.loadtxt(bsds / "eval_bdry_thr.txt"), np.loadtxt(bsds / "eval_bdry.txt")
    many = 10**6
    counts = EdgeCounts(
        np.rint(curve[:, 1] * many).astype(int),
        np.full(99, many),
        np.rint(curve[:, 2] * many).astype(int),
        np.full(99, many),
    )
    scores = score_edges([counts])
    threshold, recall, precision, f = best_f(counts)
    assert (threshold, recall, precision, f) == pytest.approx(wanted[:4], abs=1e-5)
    assert scores.ods == pytest.approx(wanted[3], abs=1e-5)
    assert scores.ap == pytest.approx(wanted[7], abs=1e-5)
    at = np.searchsorted(curve[:, 2], 0.5)
    assert curve[at, 1] <= scores.r50 <= curve[at - 1, 1] or scores.r50 == pytest.approx(curve[0, 1])


def test_a_pixel_is_right_when_one_annotator_agrees_and_recall_is_over_all():
    strength = np.zeros((50, 60))
    strength[10, 5:15], strength[30, 5:25] = 0.8, 0.4
    first, second = np.zeros(strength.shape, bool), np.zeros(strength.shape, bool)
    first[10, 5:15] = second[30, 5:25] = second[45, 5:15] = True
    counts = count_edges(strength, [first, second], np.array([0.3, 0.5, 0.9]))
    assert counts.annotated.tolist() == [40] * 3
    assert counts.found.tolist() == [30, 10, 0]
    assert counts.right.tolist() == counts.marked.tolist() == [30, 10, 0]


def test_thick_edges_are_thinned_before_they_are_counted():
    strength = np.zeros((60, 60))
    strength[20:25, 10:50] = 1
    truth = np.zeros(strength.shape, bool)
    truth[22, 10:50] = True
    counts = count_edges(strength, [truth], np.array([0.5]))
    assert counts.marked[0] <= 40 and counts.precision[0] == 1


def test_the_best_threshold_of_each_image_and_of_all():
    """Two images whose best thresholds differ: OIS takes each one's counts, ODS one threshold."""

    def image(found, right):
        counts = np.zeros((4, 99), int)
        counts[0, :2], counts[2, :2] = found, right
        counts[1], counts[3] = 100, 100
        return EdgeCounts(*counts)

    scores = score_edges([image([90, 10], [90, 10]), image([20, 80], [20, 80])])
    assert scores.ois == pytest.approx(0.85)
    assert scores.ods == pytest.approx(0.55)


def test_f_measure():
    assert f_measure(np.array([0.5, 0.0]), np.array([1.0, 0.0])) == pytest.approx([2 / 3, 0])


def test_a_file_of_boundaries_that_unpacks_to_too_much(tmp_path, monkeypatch):
    """A few kilobytes that unpack to zeros: reading stops once the size is known to be too large."""
    from scipy.io import savemat

    zeros, path = np.zeros((1500, 1000), np.uint8), tmp_path / "a.mat"
    savemat(path, {"groundTruth": zeros}, do_compression=True)
    assert path.stat().st_size < 10_000 and 1_500_000 < unpacked_bytes(path) < 1_501_000
    monkeypatch.setattr(reader, "UNPACKED", 1_400_000)
    with pytest.raises(DataError, match="unpacks to more than"):
        read_boundaries(path)
