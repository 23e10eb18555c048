"""Everything mode's thresholds belong to the model; an empty result says which threshold dropped the masks."""

import inspect
import re
import warnings

import numpy as np
import pytest

from sam_hub import SamAutomaticMaskGenerator, SamPredictor
from sam_hub.errors import NoMasksWarning
from sam_hub.families.registry import families
from sam_hub.inference.thresholds import ENCODERS, ORIGINAL, suited

THREE = tuple(ORIGINAL)


def of(generator: SamAutomaticMaskGenerator) -> dict:
    return {name: getattr(generator, name) for name in THREE}


def test_pocket_finds_something_from_python(root):
    generator = SamAutomaticMaskGenerator("pocket", points_per_side=6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generator.generate(root / "examples" / "cat.jpg")
    assert of(generator) == suited("sam_hub_pocket") != ORIGINAL


def test_the_originals_thresholds_are_the_originals(original):
    usual = inspect.signature(original.load().SamAutomaticMaskGenerator).parameters
    assert {name: usual[name].default for name in THREE} == ORIGINAL


def test_models_without_thresholds_have_the_originals(vit_shaped):
    assert of(SamAutomaticMaskGenerator(vit_shaped)) == ORIGINAL
    assert of(SamAutomaticMaskGenerator.from_preset(vit_shaped, "fine")) == {
        **ORIGINAL, "pred_iou_thresh": 0.86, "stability_score_thresh": 0.92
    }  # fmt: skip


def test_what_is_given_wins_and_the_model_wins_over_presets(pocket_shaped):
    own = suited("sam_hub_pocket")
    for model in (pocket_shaped, SamPredictor(pocket_shaped)):
        assert of(SamAutomaticMaskGenerator(model)) == own
        assert of(SamAutomaticMaskGenerator.from_preset(model, "fine")) == own
        assert of(SamAutomaticMaskGenerator(model, pred_iou_thresh=0.88)) == {**own, "pred_iou_thresh": 0.88}
        fine = SamAutomaticMaskGenerator.from_preset(model, "fine", stability_score_thresh=0.0)
        assert of(fine) == {**own, "stability_score_thresh": 0.0}


def test_the_configuration_has_the_last_word(pocket_shaped, monkeypatch):
    monkeypatch.setattr(pocket_shaped.config, "generation", {"pred_iou_thresh": 0.1}, raising=False)
    assert of(SamAutomaticMaskGenerator(pocket_shaped)) == {**suited("sam_hub_pocket"), "pred_iou_thresh": 0.1}


def test_families_declare_them():
    declared = {kind for f in families() for kind, part in f.encoders.items() if part.generation}
    assert declared == set(ENCODERS) and suited("sam_vision_model") == suited(None) == {}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (dict(pred_iou_thresh=9.0), r"27 by pred_iou_thresh=9"),
        (dict(pred_iou_thresh=0, stability_score_thresh=1.1), r"by stability_score_thresh=1\.1"),
        (dict(pred_iou_thresh=0, stability_score_thresh=0.0, min_mask_area=10**9), r"by min_mask_area=1000000000"),
        (dict(pred_iou_thresh=0, stability_score_thresh=0.0, max_mask_area_ratio=0.0), r"by max_mask_area_ratio=0"),
    ],
)
def test_an_empty_result_says_why(pocket_shaped, photo, settings, why):
    generator = SamAutomaticMaskGenerator(pocket_shaped, points_per_side=3, **settings)
    with pytest.warns(NoMasksWarning, match=rf"no mask is left: .*{why}") as told:
        assert generator.generate(photo(0, 60, 80)) == []
    assert sum(map(int, re.findall(r"(\d+) by", str(told[0].message)))) == 27  # all masks of 9 clicks


def test_a_stopped_run_does_not_warn(pocket_shaped, photo):
    generator = SamAutomaticMaskGenerator(pocket_shaped, points_per_side=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert generator.generate(photo(0, 60, 80), stop=lambda: True) == []
        assert np.isfinite(generator.pred_iou_thresh)
