import json

import pytest

from sam_hub.evaluation.evaluate import ObjectScores, Protocol, ShardScores
from sam_hub.evaluation.report import METRICS, build_report, print_table, summarise

GOOD = ObjectScores(
    box=0.9,
    candidates=[(0.7, 0.6), (0.9, 0.5), (0.2, 0.1)],
    clicks=[0.5, 0.7, 0.86, 0.88, 0.92],
    ellipse=0.6,
    grabcut=0.4,
    box_boundary=0.7,
    click_boundary=0.3,
    click_islands=5,
)
POOR = ObjectScores(
    box=0.3,
    candidates=[(0.1, 0.0), (0.3, 0.2), (0.6, 0.4)],
    clicks=[0.4, 0.4, 0.6, 0.2, 0.3],
    ellipse=0.8,
    grabcut=0.0,
    box_boundary=0.1,
    click_boundary=0.2,
    click_islands=0,
)


def test_the_numbers_by_hand():
    scores = summarise([GOOD, POOR], limit=5)
    assert list(scores) == list(METRICS)
    assert scores == pytest.approx(
        {
            "click_1": 0.45,
            "click_1_oracle": 0.5,
            "click_3": 0.73,
            "click_5": 0.61,
            "box": 0.6,
            "ellipse": 0.7,
            "grabcut": 0.2,
            # ranks of predicted 5 6 2 1 3 4 and of true 6 5 2 1 3 4: squared differences 1 + 1, 1 - 6 * 2 / 210
            "rank_correlation": 1 - 12 / 210,
            "noc_85": (3 + 5) / 2,
            "noc_90": (5 + 5) / 2,
            "click_1_boundary": 0.25,
            "box_boundary": 0.4,
            "click_1_islands": 2.5,
        }
    )


def test_more_clicks_count_when_they_are_allowed():
    late = ObjectScores(box=1.0, candidates=[(0.5, 0.5)], clicks=[0.1] * 11 + [0.87] * 9)
    scores = summarise([late, GOOD], limit=20)
    assert scores["noc_85"] == (12 + 3) / 2
    assert scores["noc_90"] == (20 + 5) / 2


def test_what_was_not_measured_is_none():
    clicks_only = ObjectScores(candidates=[(0.5, 0.5), (0.4, 0.3)], clicks=[0.5])
    scores = summarise([clicks_only], limit=5)
    measured = {name for name, value in scores.items() if value is not None}
    assert measured == {"click_1", "click_1_oracle", "rank_correlation"}
    assert {name for name, value in summarise([ObjectScores(box=0.5)], limit=5).items() if value is not None} == {"box"}


@pytest.fixture
def report() -> dict:
    shards = [
        ShardScores("coco", images=1, objects=[GOOD, GOOD]),
        ShardScores("cats", images=2, objects=[POOR], empty=3, skipped=["x.jpg is not a readable image"]),
        ShardScores("zeroshot-parts", images=1, objects=[POOR]),
    ]
    return build_report("mine", Protocol(seed=4, limit=7), shards)


def test_the_mean_is_over_shards_without_zeroshot(report):
    assert report["mean"]["box"] == pytest.approx((0.9 + 0.3) / 2)
    assert report["mean"]["click_5"] == pytest.approx((0.92 + 0.3) / 2)
    assert set(report["mean"]) == set(METRICS)


def test_the_report_tells_the_protocol(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert report["model"] == "mine"
    assert report["protocol"] == {
        "seed": 4,
        "limit": 7,
        "max_objects": 16,
        "clicks": 5,
        "baselines": True,
        "zoom": False,
        "tidy": 0.0,
    }
    assert set(report["metrics"]) == set(METRICS)
    coco, cats, parts = report["shards"]
    assert (coco["name"], coco["images"], coco["objects"]) == ("coco", 1, 2)
    assert (cats["empty"], cats["skipped"]) == (3, ["x.jpg is not a readable image"])
    assert parts["box"] == 0.3


def test_no_mean_of_zeroshot_shards_alone():
    assert build_report("mine", Protocol(), [ShardScores("zeroshot-a", objects=[GOOD])])["mean"] is None


def test_the_table(report, capsys):
    print_table(report)
    lines = capsys.readouterr().out.splitlines()
    (header,) = [line for line in lines if "oracle" in line]
    (cats,) = [line for line in lines if "cats" in line]
    (mean,) = [line for line in lines if "mean without zeroshot-*" in line]
    for title in ("1 click", "3 clicks", "5 clicks", "box", "ellipse", "GrabCut", "rank r", "NoC85", "NoC90"):
        assert title in header  # in a pipe, where the width is 80, nothing is cut off either
    assert [c.strip() for c in cats.split("│")[1:-1]] == [
        "cats", "2", "1", "0.400", "0.400", "0.600", "0.300", "0.300", "0.800", "0.000", "1.000", "5.0", "5.0",
        "0.200", "0.100", "0.0",
    ]  # fmt: skip
    assert "0.600" in mean


def test_the_table_without_baselines(capsys):
    bare = ObjectScores(box=0.5, candidates=[(0.5, 0.5)], clicks=[0.5] * 5)
    print_table(build_report("mine", Protocol(baselines=False), [ShardScores("a", objects=[bare])]))
    text = capsys.readouterr().out
    assert "GrabCut" not in text and "ellipse" not in text
    assert "box" in text
