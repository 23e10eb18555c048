import numpy as np
import pytest

from sam_hub.ops.tidying import tidy, tidy_window


@pytest.fixture
def mask() -> np.ndarray:
    """A square of 40 x 40 with a pinhole, a large hole and a gap at the border, and two specks beside it."""
    mask = np.zeros((60, 60), bool)
    mask[0:40, 0:40] = True
    mask[5:8, 5:8] = False  # a pinhole, 9 pixels
    mask[20:32, 20:32] = False  # a hole, 144 pixels
    mask[0:2, 30:32] = False  # open to the border
    mask[50:53, 50:53] = True  # a speck, 9 pixels
    mask[50:53, 5:8] = True
    return mask


def test_specks_and_pinholes_go(mask):
    tidied = tidy(mask, 0.02)
    expected = mask.copy()
    expected[5:8, 5:8] = True
    expected[50:53] = False
    np.testing.assert_array_equal(tidied, expected)


def test_the_share_decides(mask):
    np.testing.assert_array_equal(tidy(mask, 0.0), mask)
    np.testing.assert_array_equal(tidy(mask, 0.005), mask)  # 9 pixels are more than 0.5 % of 1,461
    assert tidy(mask, 0.2)[20:32, 20:32].all()


def test_what_was_clicked_stays(mask):
    points = np.array([[51.5, 51.0], [6.0, 6.5], [6.0, 51.0]])
    tidied = tidy(mask, 0.02, points, np.array([1, 0, 0]))
    assert tidied[50:53, 50:53].all()  # a click on the object
    assert not tidied[5:8, 5:8].any()  # a click on the background
    assert not tidied[50:53, 5:8].any()  # a speck under a background click goes


def test_a_click_in_the_outermost_row_and_column_counts(mask):
    cases = (
        (slice(0, 1), slice(50, 53), (51.5, 0.2)),
        (slice(45, 48), slice(0, 1), (0.4, 46.0)),
        (slice(59, 60), slice(50, 53), (51.0, 60.0)),
        (slice(45, 48), slice(59, 60), (60.0, 46.0)),
    )
    for rows, columns, point in cases:
        speck = mask.copy()
        speck[rows, columns] = True
        assert tidy(speck, 0.02, np.array([point]), np.array([1]))[rows, columns].all()
        assert not tidy(speck, 0.02)[rows, columns].any()


def test_the_largest_part_stays_however_small_its_share():
    scattered = np.zeros((40, 40), bool)
    scattered[::4, ::4] = True
    scattered[1, 0] = True
    tidied = tidy(scattered, 0.5)
    assert tidied.sum() == 2 and tidied[0, 0] and tidied[1, 0]
    empty = np.zeros((5, 5), bool)
    assert not tidy(empty, 0.1).any()


def test_the_mask_given_is_not_changed(mask):
    before = mask.copy()
    tidy(mask, 0.2, np.array([[500.0, -3.0]]), np.array([1]))
    np.testing.assert_array_equal(mask, before)


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_other_shares_are_refused(mask, share):
    with pytest.raises(ValueError, match="share must be at least 0 and below 1"):
        tidy(mask, share)


def test_random_masks_lose_only_small_parts():
    import cv2

    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = cv2.GaussianBlur(rng.normal(size=(50, 70)), (0, 0), 1.5) > 0.2
        share = rng.uniform(0.01, 0.1)
        tidied = tidy(mask, share)
        limit = share * mask.sum()
        for changed in (mask & ~tidied, tidied & ~mask):
            _, _, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8), connectivity=4)
            assert (stats[1:, cv2.CC_STAT_AREA] < limit).all()
        _, _, stats, _ = cv2.connectedComponentsWithStats(tidied.astype(np.uint8), connectivity=8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        assert (areas < limit).sum() <= (len(areas) == 1)


@pytest.mark.parametrize("wider", [0, 4])
def test_a_window_is_tidied_as_the_whole(mask, wider):
    """Clicks count where they are in the image, also those outside of the window."""
    placed = np.zeros((200, 150), bool)
    placed[0:60, 40:100] = mask  # at the upper border
    points, labels = np.array([[91.5, 51.0], [46.0, 6.5], [5.0, 150.0]]), np.array([1, 0, 1])
    expected = tidy(placed, 0.02, points, labels)
    window, x = placed[0 : 53 + wider, 40 - wider : 100], 40 - wider
    found = np.zeros_like(placed)
    found[0 : len(window), x : x + window.shape[1]] = tidy_window(window, (x, 0), 0.02, points, labels)
    np.testing.assert_array_equal(found, expected)
