"""An image's embedding and finer maps as one array."""

import numpy as np
import pytest
import torch

from sam_hub.ops.feature_packing import from_cells, packed_width, to_cells, unpack

GRID = (2, 3)
MAPS = {"finer": (4, 4, 6), "last": (2, 3, 7), "finest": (1, 8, 12), "same": (5, 2, 3)}
WIDTH = 6


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_maps_become_channels_and_come_back(kind):
    rng = np.random.default_rng(0)
    arrays = {name: rng.normal(size=(2, *shape)) for name, shape in MAPS.items()}
    embedding = rng.normal(size=(2, WIDTH, *GRID))
    cells = {name: np.asarray(to_cells(kind(x), GRID)) for name, x in arrays.items()}
    for b, c, y, x in np.ndindex(2, 4, 4, 6):
        assert cells["finer"][b, 4 * c + 2 * (y % 2) + x % 2, y // 2, x // 2] == arrays["finer"][b, c, y, x]
    np.testing.assert_array_equal(cells["last"], arrays["last"].transpose(0, 3, 1, 2))
    packed = np.concatenate([embedding, *cells.values()], axis=1)
    assert packed.shape == (2, packed_width(WIDTH, MAPS.values(), GRID), *GRID) == (2, 6 + 16 + 7 + 16 + 5, 2, 3)
    found, maps = unpack(kind(packed), WIDTH, MAPS)
    np.testing.assert_array_equal(found, embedding)
    for name, expected in arrays.items():
        np.testing.assert_array_equal(maps[name], expected)


def test_a_map_that_is_no_multiple_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 3, 6\) is no multiple"):
        to_cells(np.zeros((1, 4, 3, 6)), GRID)
    with pytest.raises(ValueError, match="no multiple"):
        from_cells(np.zeros((1, 9, *GRID)), (9, 4, 3))
