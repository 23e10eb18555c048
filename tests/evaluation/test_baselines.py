import cv2
import numpy as np
import pytest

from sam_hub.evaluation import baselines
from sam_hub.evaluation.baselines import GrabCut, inscribed_ellipse
from sam_hub.evaluation.clicks import tight_box
from sam_hub.evaluation.metrics import mask_iou


def disk(height: int, width: int, x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


@pytest.mark.parametrize("radius", [4.5, 12.5, 24])
def test_an_ellipse_fits_a_disk(radius):
    truth = disk(60, 80, 38, 30, radius)
    assert mask_iou(inscribed_ellipse(tight_box(truth), truth.shape), truth) > 0.9


def test_the_ellipse_pixel_by_pixel():
    x0, y0, x1, y1 = box = (3, 5, 16, 12)
    ellipse = inscribed_ellipse(box, (20, 25))
    for y in range(20):
        for x in range(25):
            u, v = (x + 0.5 - (x0 + x1) / 2) / (x1 - x0), (y + 0.5 - (y0 + y1) / 2) / (y1 - y0)
            assert ellipse[y, x] == (u * u + v * v <= 0.25)
    assert tight_box(ellipse) == box


def test_the_ellipse_of_one_pixel():
    assert np.argwhere(inscribed_ellipse((2, 1, 3, 2), (4, 4))).tolist() == [[1, 2]]


@pytest.fixture
def photo() -> tuple[np.ndarray, np.ndarray]:
    """A bright disk on dark ground, both noisy, and its mask."""
    truth = disk(90, 120, 70, 40, 22)
    noise = np.random.default_rng(0).normal(0, 12, (90, 120, 3))
    image = np.where(truth[..., None], (220, 170, 60), (40, 60, 90)) + noise
    return image.clip(0, 255).astype(np.uint8), truth


def test_grabcut_finds_a_clear_object(photo):
    image, truth = photo
    assert mask_iou(GrabCut(image).segment((40, 10, 100, 70)), truth) > 0.95  # a loose box: the ellipse has 0.54


def test_grabcut_equals_the_call_by_rectangle(photo):
    image, _ = photo
    box = (48, 18, 93, 63)
    labels = np.zeros(image.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    rect = (box[0], box[1], box[2] - box[0], box[3] - box[1])
    cv2.grabCut(image, labels, rect, np.zeros((1, 65)), np.zeros((1, 65)), 5, cv2.GC_INIT_WITH_RECT)
    np.testing.assert_array_equal(GrabCut(image).segment(box), labels % 2 == 1)


def test_grabcut_is_the_same_each_time():
    """On coloured tiles the result depends on where k-means starts."""
    rng = np.random.default_rng(2)
    tiles = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (80, 60), interpolation=cv2.INTER_NEAREST)
    grabcut = GrabCut((tiles + rng.normal(0, 6, tiles.shape)).clip(0, 255).astype(np.uint8))
    found = []
    for seed in range(5):
        cv2.setRNGSeed(seed)
        found.append(grabcut.segment((15, 10, 60, 50)))
    assert all((mask == found[0]).all() for mask in found)


def test_grabcut_of_a_large_image_answers_at_full_size(photo, monkeypatch):
    image, truth = photo
    monkeypatch.setattr(baselines, "GRABCUT_LONGEST_SIDE", 60)
    grabcut = GrabCut(image)
    assert grabcut.image.shape == (45, 60, 3)
    found = grabcut.segment(tight_box(truth))
    assert found.shape == truth.shape
    assert mask_iou(found, truth) > 0.9


def test_the_box_is_scaled_with_the_image(monkeypatch):
    """A bar that leaves the box above and below is cut where the box ends, rounded outwards."""
    ramp = np.repeat(np.linspace(0, 255, 80, dtype=np.uint8)[None, :, None], 60, axis=0).repeat(3, axis=2)
    ramp[20:40, 30:50] = (255, 0, 0)
    ramp[0:60, 45:50] = (255, 0, 0)
    monkeypatch.setattr(baselines, "GRABCUT_LONGEST_SIDE", 40)
    found = GrabCut(ramp).segment((25, 15, 53, 44))
    assert tight_box(found) == (30, 14, 50, 44)


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (119, 89, 120, 90), (50, 20, 51, 80)])
def test_grabcut_takes_the_thinnest_boxes(photo, box):
    found = GrabCut(photo[0]).segment(box)
    outside = np.ones_like(found)
    outside[box[1] : box[3], box[0] : box[2]] = False
    assert not (found & outside).any()


def test_grabcut_of_the_whole_image_is_the_box(photo):
    assert GrabCut(photo[0]).segment((0, 0, 120, 90)).all()
