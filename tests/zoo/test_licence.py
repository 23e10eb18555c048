"""Weights that may not be used commercially say so when they are loaded, once."""

import warnings

import pytest

from sam_hub.models import loading
from sam_hub.models.modeling_sam import SamModel
from sam_hub.zoo import ZOO


@pytest.fixture(autouse=True)
def nothing_said_yet():
    loading._warn_once.cache_clear()
    yield
    loading._warn_once.cache_clear()


@pytest.mark.parametrize("name", [name for name, variant in ZOO.items() if not variant.commercial_use])
def test_it_is_said_once(name):
    with pytest.warns(UserWarning, match=f"{ZOO[name].license}: not for commercial use"):
        loading.tell_licence(ZOO[name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loading.tell_licence(ZOO[name])


def test_loading_the_original_file_says_it(golden_file, tmp_path):
    renamed = golden_file("edge_sam").rename(tmp_path / "renamed.pth")
    with pytest.warns(UserWarning, match="not for commercial use"):
        SamModel.from_pretrained(renamed)


def test_free_weights_load_in_silence():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SamModel.from_pretrained("pocket")
