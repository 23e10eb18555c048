import numpy as np
import pytest

from sam_hub.ops.crops import crop_boxes, layer_point_grids, point_grid


def test_point_grids_are_the_original_ones(amg: dict, amg_spec: dict) -> None:
    for case in amg_spec["point_grids"]:
        n, layers, scale = case["n_per_side"], case["n_layers"], case["scale_per_layer"]
        grids = layer_point_grids(n, layers, scale)
        assert [len(g) for g in grids] == case["points_per_layer"]
        for i, grid in enumerate(grids):
            np.testing.assert_allclose(grid, amg[f"point_grid.{n}_{layers}_{scale}.layer{i}"], rtol=0, atol=1e-12)


def test_a_layer_has_at_least_one_point() -> None:
    assert [len(g) for g in layer_point_grids(4, 3, 2)] == [16, 4, 1, 1]
    np.testing.assert_array_equal(point_grid(1), [[0.5, 0.5]])
    with pytest.raises(ValueError, match="at least 1 point"):
        point_grid(0)


def test_crop_boxes_are_the_original_ones(amg_spec: dict) -> None:
    for case in amg_spec["crop_boxes"]:
        boxes, layers = crop_boxes(tuple(case["im_size_hw"]), case["n_layers"], case["overlap_ratio"])
        assert boxes == case["crop_boxes_xyxy"]
        assert layers == case["layer_idxs"]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (3, 2), (10, 10000)])
def test_crops_of_tiny_images_are_not_empty(size: tuple[int, int]) -> None:
    boxes, layers = crop_boxes(size, n_layers=3, overlap_ratio=512 / 1500)
    assert boxes[0] == [0, 0, size[1], size[0]] and len(boxes) == len(layers)
    for x0, y0, x1, y1 in boxes:
        assert 0 <= x0 < x1 <= size[1] and 0 <= y0 < y1 <= size[0]
