"""Prompts from requests."""

from dataclasses import replace

import numpy as np
import pytest
from sam_hub.demo.limits import Limits
from sam_hub.demo.prompts import PAINTED, parse_prompt

from sam_hub.errors import SamHubError

SIZE = (300, 400)  # height, width


def test_a_click_is_ambiguous_and_more_is_not():
    one = {"points": [[10, 20]], "labels": [1]}
    assert parse_prompt(one, SIZE, Limits()).ambiguous
    for more in (
        {"box": [0, 0, 50, 50]},
        {"refine": {"result": "r", "mask": 0}},
        {"points": [[1, 2], [3, 4]], "labels": [1, 0]},
    ):
        assert not parse_prompt({**one, **more}, SIZE, Limits()).ambiguous


def test_labels_are_of_the_object_where_they_are_left_out():
    parsed = parse_prompt({"points": [[10, 20], [0, 300]]}, SIZE, Limits())
    assert parsed.labels.tolist() == [1, 1] and parsed.points.tolist() == [[10, 20], [0, 300]]


def test_a_box_is_cut_at_the_border():
    assert parse_prompt({"box": [-50, 10, 500, 200]}, SIZE, Limits()).box.tolist() == [0, 10, 400, 200]


def test_strokes_are_painted_and_bring_their_box():
    stroke = {"points": [[100, 150], [300, 150]], "radius": 20}
    parsed = parse_prompt({"strokes": [stroke]}, SIZE, Limits())
    assert parsed.rough.shape == (PAINTED * 3 // 4, PAINTED)
    y, x = np.nonzero(parsed.rough)
    scale = 400 / PAINTED
    found = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) * scale
    np.testing.assert_allclose(found, [80, 130, 320, 170], atol=3)
    np.testing.assert_allclose(parsed.box, found)
    dot = parse_prompt({"strokes": [{"points": [[200, 150]], "radius": 30}]}, SIZE, Limits())
    assert abs(dot.rough.sum() * scale**2 / (np.pi * 30**2) - 1) < 0.1


def test_an_eraser_takes_away_and_points_need_no_box():
    strokes = [
        {"points": [[100, 150], [300, 150]], "radius": 20},
        {"points": [[300, 150]], "radius": 60, "erase": True},
    ]
    parsed = parse_prompt({"strokes": strokes, "points": [[100, 150]]}, SIZE, Limits())
    assert parsed.box is None
    assert not parsed.rough[:, int(260 / 400 * PAINTED) :].any() and parsed.rough.any()


@pytest.mark.parametrize(
    "prompt",
    [
        None, 7, [], "x", {}, {"points": []}, {"points": [[1, 2]], "labels": []}, {"points": [[1, 2]], "labels": [2]},
        {"points": [[1, 2]], "labels": ["a"]}, {"points": [[1]]}, {"points": [[1, 2, 3]]}, {"points": [[1, 2], [3]]},
        {"points": [[401, 2]]}, {"points": [[-1, 2]]}, {"points": [[float("nan"), 2]]}, {"points": {"0": [1, 2]}},
        {"points": [[1e400, 0]]}, {"points": [[10**400, 0]]}, {"box": [1, 2, 3]}, {"box": [5, 5, 5, 9]},
        {"box": [9, 9, 1, 1]}, {"box": "abcd"}, {"box": [500, 1, 600, 9]}, {"strokes": [{}]}, {"strokes": [[1]]},
        {"strokes": [{"points": [[1, 1]], "radius": 0}]}, {"strokes": [{"points": [[1e9, 1]], "radius": 3}]},
        {"strokes": [{"points": [[1, 1]], "radius": 1e9}]},
        {"strokes": [{"points": [[1, 1]], "radius": 3, "erase": True}]},
        {"points": [[1, 2]], "refine": {"result": 7, "mask": 0}},
        {"points": [[1, 2]], "refine": {"result": "r", "mask": -1}},
        {"points": [[1, 2]], "zoom": 1}, {"points": [[1, 2]], "refine": {"result": "r", "mask": 0}, "zoom": True},
        {"points": [[1, 2]], "strokes": [{"points": [[1, 1]], "radius": 3}], "zoom": True},
        {"points": [[1, 2]], "refine": "r"}, {"points": [[1, 2]], "mask": "/etc/passwd"},
    ],
)  # fmt: skip
def test_what_means_nothing_gets_a_sentence(prompt):
    with pytest.raises(SamHubError) as refused:
        parse_prompt(prompt, SIZE, Limits())
    assert len(str(refused.value)) > 15


def test_bounds():
    limits = replace(Limits(), points=3, strokes=2, stroke_points=10)
    for prompt in (
        {"points": [[1, 1]] * 4},
        {"strokes": [{"points": [[1, 1]], "radius": 3}] * 3},
        {"strokes": [{"points": [[1, 1]] * 11, "radius": 3}]},
    ):
        with pytest.raises(SamHubError, match="too"):
            parse_prompt(prompt, SIZE, limits)
