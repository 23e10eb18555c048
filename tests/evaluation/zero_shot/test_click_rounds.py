"""The points of section 7.1, with a scripted predictor and SciPy's distance transform."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from sam_hub.evaluation.clicks import corrective_click
from sam_hub.zero_shot.click_rounds import ClickProtocol, click_rounds, first_point, next_point
from sam_hub.zero_shot.points import apart
from sam_hub.zero_shot.sampling import choose_images


def depth(region: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a region to the nearest pixel outside, where the image ends at its border."""
    return distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]


@pytest.mark.parametrize("seed", range(10))
def test_the_first_point_is_the_pixel_farthest_from_the_boundary(seed):
    rng = np.random.default_rng(seed)
    mask = np.kron(rng.random((6, 8)) < 0.5, np.ones((5, 4))) > 0
    x, y = first_point(mask, "center", rng)
    assert depth(mask)[y, x] == depth(mask).max() >= 2


@pytest.mark.parametrize("seed", range(10))
def test_the_next_point_is_farthest_in_all_mistakes_together(seed):
    rng = np.random.default_rng(seed)
    truth, mine = (np.kron(rng.random((6, 8)) < 0.5, np.ones((5, 4))) > 0 for _ in range(2))
    x, y, label = next_point(mine, truth, "whole")
    wrong = mine != truth
    assert depth(wrong)[y, x] == depth(wrong).max()
    assert label == truth[y, x]


def test_whole_and_largest_differ_where_the_largest_mistake_is_thin():
    truth, mine = np.zeros((40, 60), bool), np.zeros((40, 60), bool)
    truth[2, 2:58] = True  # missed: 56 pixels, all at the boundary
    mine[20:27, 20:27] = True  # invented: 49 pixels, up to 4 from it
    assert next_point(mine, truth, "whole") == (23, 23, 0)
    assert next_point(mine, truth, "largest")[2] == 1
    assert next_point(mine, truth, "largest") == corrective_click(mine, truth)
    assert next_point(truth, truth, "whole") is None


def test_a_random_first_point_is_any_pixel_of_the_object():
    mask = np.zeros((5, 6), bool)
    mask[1, 1:4] = mask[3, 5] = True
    drawn = {first_point(mask, "random", np.random.default_rng(seed)) for seed in range(60)}
    assert drawn == {(1, 1), (2, 1), (3, 1), (5, 3)}


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_most_confident_mask_and_oracle_go_their_own_ways(scripted, shapes, image, knows):
    """The best predicted mask is wrong; each chain feeds back its own mask's logits and continues with one mask."""
    square = shapes[0]
    half, most = square.copy(), square.copy()
    half[9:], most[13:] = False, False

    def answer(question):
        if question.multimask:
            return [half, most, np.zeros_like(square)], [0.9, 0.5, 0.1]
        return [square if len(question.points) > 2 else most], [0.4]

    predictor = scripted(answer)
    predictor.set_image(image)
    (rounds,) = click_rounds(predictor, square[None], ClickProtocol(counts=(1, 2, 3)), np.random.default_rng(0))
    assert rounds.confident == pytest.approx([iou(half, square), iou(most, square), 1])
    assert rounds.oracle == pytest.approx([iou(most, square), iou(most, square), 1])
    first, *later = predictor.asked
    assert first.multimask and not any(q.multimask for q in later)
    assert [q.fed_back for q in later] == [0, 10, 1, 30]  # of the confident mask, of its successor; of the oracle's
    assert [q.labels for q in later] == [[1, 1], [1, 1, 1]] * 2


def test_a_perfect_mask_is_left_alone_and_counts_are_reported_as_asked(scripted, shapes, image, knows):
    predictor = scripted(lambda q: ([knows(q)] * (3 if q.multimask else 1), [0.5] * (3 if q.multimask else 1)))
    predictor.set_image(image)
    rounds = click_rounds(predictor, shapes, ClickProtocol(), np.random.default_rng(0))
    assert [r.confident for r in rounds] == [r.oracle for r in rounds] == [[1.0] * 5] * 3
    assert len(predictor.asked) == 3


class Counted(list):
    """A data set of which only the number of annotations of each image is known."""

    def __getitem__(self, index):
        return type("Sample", (), {"annotations": [0] * super().__getitem__(index)})


def test_large_sets_are_sampled_by_whole_images():
    counts = Counted(np.random.default_rng(0).integers(1, 40, 1000).tolist())
    assert (
        choose_images(counts, 0) != list(range(1000)) and sum(list.__getitem__(counts, i) for i in range(1000)) > 15000
    )
    chosen = choose_images(counts, 0)
    total = sum(list.__getitem__(counts, i) for i in chosen)
    assert 10_000 <= total < 10_040
    assert chosen == choose_images(counts, 0) != choose_images(counts, 1)
    small = Counted([10] * 1500)  # 15 k masks, not more
    assert choose_images(small, 0) == list(range(1500))
    assert len(choose_images(small, 0, limit=7)) == 7


def test_names_beside_the_curves_do_not_overlap():
    moved = apart([0.85, 0.30, 0.86, 0.845], 0.03)
    assert moved == pytest.approx([0.875, 0.30, 0.905, 0.845])  # in the order of their values
    assert apart([], 0.03) == [] and apart([0.2], 0.03) == [0.2]
