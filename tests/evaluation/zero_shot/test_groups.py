"""Groups, their intervals and the statements about them."""

from itertools import product

import numpy as np
import pytest

from sam_hub.errors import DataError
from sam_hub.zero_shot import groups as module
from sam_hub.zero_shot.groups import Groups, group_rows, groups_markdown, interval


def write(tmp_path, text):
    path = tmp_path / "groups.csv"
    path.write_text(text)
    return path


def part(image, values, first=0):
    objects = [
        {"id": str(first + k), "confident": [v, min(1, v + 0.1)], "oracle": [v, v]} for k, v in enumerate(values)
    ]
    return {"image": image, "objects": objects}


def test_the_interval_is_that_of_every_resample_of_three_values():
    """All 27 draws of three values are equally likely: the percentiles of their means are known."""
    values = np.array([0.2, 0.5, 0.9])
    means = np.sort([np.mean(draw) for draw in product(values, repeat=3)])
    low, high = interval(values, np.random.default_rng(0))
    assert means[0] <= low <= means[2] and means[-3] <= high <= means[-1]


def test_the_interval_of_many_values_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(0.6, 0.1, 400)
    low, high = interval(values, np.random.default_rng(0))
    wanted = 1.96 * values.std() / np.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(wanted, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.002)


def test_means_intervals_and_what_is_disjoint(tmp_path):
    groups = Groups.read(write(tmp_path, "id,group\na.jpg,low\nb,high\n7,other\n9,nobody\n"))
    rng = np.random.default_rng(0)
    parts = [
        part("x/a.jpg", rng.uniform(0.2, 0.3, 30), 100),
        part("b.png", rng.uniform(0.7, 0.8, 30), 200),
        part("b.png", [0.25], 7),  # the annotation's own group counts
        part("c.png", [0.5, 0.5], 300),
    ]
    found = group_rows(groups, parts, (1, 3), 0)
    rows = {row["group"]: row for row in found["rows"]}
    assert {g: row["masks"] for g, row in rows.items()} == {"low": 30, "high": 30, "other": 1}
    mean = np.mean([o["confident"][1] for o in parts[0]["objects"]])
    assert rows["low"]["miou_3"] == pytest.approx(mean)
    assert ["high", "low"] in found["disjoint"]["1"]
    assert ["low", "other"] not in found["disjoint"]["1"]
    assert found["without_group"] == 2 and found["empty"] == ["nobody"]
    text = groups_markdown(found)
    assert "high and low" in text and "Without an object: nobody" in text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names no groups"),
        ("id,group\n", "names no groups"),
        ("a.jpg\n", "row 1 is not id,group"),
        ("a.jpg,\n", "row 1 is not id,group"),
        ("a,x\na,y\n", "a is in two groups"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path, text, words):
    with pytest.raises(DataError, match=words):
        Groups.read(write(tmp_path, text))
    with pytest.raises(DataError, match=r"absent\.csv does not exist"):
        Groups.read(tmp_path / "absent.csv")
    with pytest.raises(DataError, match="not a readable CSV"):
        Groups.read(tmp_path)


def test_groups_of_other_data_are_refused(tmp_path):
    groups = Groups.read(write(tmp_path, "z,x\n"))
    with pytest.raises(DataError, match="no id in"):
        group_rows(groups, [part("a.jpg", [0.5])], (1, 3), 0)
    assert module.SHOWN == (1, 3)
