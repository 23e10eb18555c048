"""The protocol of `sam_hub.evaluation.evaluate`, with a scripted predictor and with a real one."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.errors import DataError
from sam_hub.evaluation import evaluate
from sam_hub.evaluation.clicks import corrective_click, farthest_pixel, tight_box
from sam_hub.evaluation.evaluate import Protocol, evaluate_image, evaluate_shard

QUICK = Protocol(baselines=False)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def test_an_oracle_scores_one(scripted, shapes, image, knows):
    predictor = scripted(lambda q: ([knows(q)] * (3 if q.multimask else 1), [0.5] * (3 if q.multimask else 1)))
    for score in evaluate_image(predictor, image, shapes, QUICK):
        assert score.box == 1
        assert score.clicks == [1] * 5
        assert [true for _, true in score.candidates] == [1] * 3
    assert len(predictor.asked) == 2 * len(shapes)  # a perfect mask is not clicked on again


def test_an_empty_mask_scores_zero(scripted, shapes, image):
    def nothing(question):
        count = 3 if question.multimask else 1
        return [np.zeros(image.shape[:2], bool)] * count, [0.5] * count

    predictor = scripted(nothing)
    for score in evaluate_image(predictor, image, shapes, QUICK):
        assert (score.box, score.clicks) == (0, [0] * 5)
    assert {tuple(q.labels) for q in predictor.asked if q.points} == {(1,) * k for k in range(1, 6)}


def test_the_baselines_are_scored_from_the_same_boxes(scripted, shapes, image, knows):
    predictor = scripted(lambda q: ([knows(q)] * 3, [0.5] * 3))
    square, bar, _ = evaluate_image(predictor, image, shapes, Protocol())
    assert square.ellipse == pytest.approx(np.pi / 4, abs=0.05)
    assert bar.ellipse == pytest.approx(np.pi / 4, abs=0.05)
    assert 0 <= square.grabcut <= 1
    assert evaluate_image(predictor, image, shapes, QUICK)[0].grabcut is None


def test_the_prompts(scripted, shapes, image, knows):
    """The box and the first click of each object, and what is fed back after it."""

    def answer(question):
        if not question.multimask:
            return [knows(question) & (np.arange(image.shape[1]) % 2 == 0)], [0.1]
        half = knows(question).copy()
        half[: tight_box(half)[1] + 2] = False
        return [half, knows(question), ~half], [0.9, 0.8, 0.1]  # the best in truth is not the best predicted

    predictor = scripted(answer)
    scores = evaluate_image(predictor, image, shapes, QUICK)
    boxes = [q for q in predictor.asked if q.box]
    assert [(q.points, q.multimask, q.fed_back) for q in boxes] == [([], False, None)] * 3
    assert [tuple(q.box) for q in boxes] == [tight_box(m) for m in shapes]
    first = [(k, q) for k, q in enumerate(predictor.asked) if len(q.points) == 1]
    second = [q for q in predictor.asked if len(q.points) == 2]
    assert len(first) == len(second) == 3
    for (k, q), after, mask, score in zip(first, second, shapes, scores, strict=True):
        assert q.points == [farthest_pixel(mask)]
        assert (q.labels, q.multimask, q.fed_back, q.box) == ([1], True, None, None)
        candidates, predicted = answer(q)
        expected = [(p, iou(c, mask)) for p, c in zip(predicted, candidates, strict=True)]
        np.testing.assert_allclose(score.candidates, expected, atol=1e-6)
        assert score.clicks[0] == iou(candidates[0], mask)
        assert after.fed_back == 10 * k  # candidate 0, the best predicted
        assert not after.multimask and after.box is None
        x, y, label = corrective_click(candidates[0], mask)
        assert after.points == [*q.points, (x, y)]
        assert after.labels == [1, label]


def test_each_click_corrects_the_mask_before(scripted, shapes, image, knows):
    """Objects need different numbers of clicks; each keeps its own clicks, masks and scores."""

    def answer(question):
        """Object i is found with i + 2 clicks; until then a stripe of the image more each time."""
        truth = knows(question)
        (i,) = [i for i, mask in enumerate(shapes) if np.array_equal(mask, truth)]
        count = len(question.points)
        if count == i + 2:
            return [truth], [0.9]
        wrong = truth.copy()
        wrong[:, : 3 + 5 * count + i] ^= True
        return [wrong] * (3 if question.multimask else 1), [0.9] * (3 if question.multimask else 1)

    predictor = scripted(answer)
    scores = evaluate_image(predictor, image, shapes, QUICK)
    for i, (mask, score) in enumerate(zip(shapes, scores, strict=True)):
        asked = [(k, q) for k, q in enumerate(predictor.asked) if q.points and mask[q.points[0][::-1]]]
        assert len(asked) == i + 2
        for (k, q), (_, after) in pairwise(asked):
            current = answer(q)[0][0]
            assert after.points[:-1] == q.points
            assert (*after.points[-1], after.labels[-1]) == corrective_click(current, mask)
            assert after.fed_back == 10 * k
        expected = [iou(answer(q)[0][0], mask) for _, q in asked]
        assert score.clicks == pytest.approx(expected + [1.0] * (5 - len(expected)))
        assert score.clicks[i] < 1 == score.clicks[i + 1]


def test_more_clicks_are_spent_only_on_what_is_not_good_yet(scripted, shapes, image, knows):
    def answer(question):
        wrong = knows(question).copy()
        x0, _, x1, _ = tight_box(wrong)
        missing = 1 if np.array_equal(wrong, shapes[2]) else (x1 - x0) // 2
        wrong[:, : x0 + missing] = False
        return [wrong] * (3 if question.multimask else 1), [0.9] * (3 if question.multimask else 1)

    scores = evaluate_image(scripted(answer), image, shapes, dataclasses.replace(QUICK, clicks=20))
    assert [len(s.clicks) for s in scores] == [20, 20, 5]


@pytest.mark.parametrize(
    ("kinds", "clicks"), [(("boxes",), 0), (("points", "boxes"), 1), (("points", "background points", "masks"), 5)]
)
def test_what_a_model_does_not_take_is_not_asked(scripted, shapes, image, knows, kinds, clicks):
    predictor = scripted(lambda q: ([~knows(q)] * 3, [0.5] * 3), kinds)
    for score in evaluate_image(predictor, image, shapes, QUICK):
        assert (score.box is None) == ("boxes" not in kinds)
        assert len(score.clicks) == clicks
        assert bool(score.candidates) == ("points" in kinds)


def restated(predictor, image: np.ndarray, mask: np.ndarray, clicks: int) -> tuple[float, list[float], list]:
    """The protocol restated for one object, with the predictor's public method."""
    predictor.set_image(image)
    box = predictor.predict(box=np.array(tight_box(mask)), multimask_output=False)[0][0]
    points, labels = [farthest_pixel(mask)], [1]
    masks, predicted, low_res = predictor.predict(np.array(points), np.array(labels))
    candidates = [(float(p), iou(m, mask)) for p, m in zip(predicted, masks, strict=True)]
    best = int(predicted.argmax())
    current, feed, ious = masks[best], low_res[best], [iou(masks[best], mask)]
    while len(ious) < clicks:
        x, y, label = corrective_click(current, mask)
        points, labels = [*points, (x, y)], [*labels, label]
        (current,), _, feed = predictor.predict(
            np.array(points), np.array(labels), mask_input=feed.reshape(1, *feed.shape[-2:]), multimask_output=False
        )
        ious.append(iou(current, mask))
    return iou(box, mask), ious, candidates


@pytest.mark.parametrize("batch", [1, 2, 16])
def test_a_real_model_by_the_public_method(tiny_predictor, shapes, image, batch, monkeypatch):
    monkeypatch.setattr(evaluate, "BATCH", batch)
    scores = evaluate_image(tiny_predictor, image, shapes, QUICK)
    assert len({s.box for s in scores}) == 3  # not all of them empty
    assert any(len(set(s.clicks)) > 2 for s in scores)
    for mask, score in zip(shapes, scores, strict=True):
        box, clicks, candidates = restated(tiny_predictor, image, mask, 5)
        assert score.box == pytest.approx(box, abs=2e-3)  # a batch may round a pixel of logit 0 otherwise
        assert score.clicks == pytest.approx(clicks, abs=2e-3)
        np.testing.assert_allclose(score.candidates, candidates, atol=2e-3)


def test_a_second_look_at_each_object(tiny_predictor, shapes, image):
    """With ``zoom``, each prompt is one of `ImagePredictor.predict` with the same option."""
    image, shapes = image.repeat(6, 0).repeat(6, 1), shapes.repeat(6, 1).repeat(6, 2)
    scores = evaluate_image(tiny_predictor, image, shapes, dataclasses.replace(QUICK, zoom=True))
    assert [s.box for s in scores] != [s.box for s in evaluate_image(tiny_predictor, image, shapes, QUICK)]
    for mask, score in zip(shapes, scores, strict=True):
        found, _, _ = tiny_predictor.predict(box=np.array(tight_box(mask)), multimask_output=False, zoom=True)
        assert score.box == pytest.approx(iou(found[0], mask))
        point, one = np.array([farthest_pixel(mask)]), np.ones(1, int)
        found, predicted, low_res = tiny_predictor.predict(point, one, zoom=True)
        np.testing.assert_allclose(score.candidates, [(p, iou(m, mask)) for p, m in zip(predicted, found, strict=True)])
        click = corrective_click(found[0], mask)
        points, labels = np.concatenate([point, [click[:2]]]), np.array([1, click[2]])
        found, _, _ = tiny_predictor.predict(points, labels, None, low_res[:1], False, zoom=True)
        assert score.clicks[1] == pytest.approx(iou(found[0], mask))


def test_masks_are_tidied_before_they_are_scored(scripted, shapes, image, knows):
    """A speck is dropped, but not if it is clicked; without ``tidy``, it counts."""

    def speckled(q):
        mask = knows(q).copy()
        mask[-1, -1] ^= True
        return [mask] * 3, [0.5] * 3

    square = shapes[:1]
    raw, tidied = (
        evaluate_image(scripted(speckled), image, square, dataclasses.replace(QUICK, tidy=tidy))[0] for tidy in (0, 0.3)
    )
    assert (raw.click_islands, tidied.click_islands) == (1, 0)
    assert raw.box < 1 and tidied.box == 1.0
    assert raw.candidates[0][1] < 1 and [iou for _, iou in tidied.candidates] == [1.0] * 3


def test_a_large_image_goes_through_in_small_batches(scripted, shapes, image, knows, monkeypatch):
    predictor = scripted(lambda q: ([knows(q)] * 3, [0.5] * 3))
    sizes = []
    ask = predictor.predict_each
    predictor.predict_each = lambda points, labels, boxes, *rest: (
        sizes.append(len(boxes if points is None else points)),
        ask(points, labels, boxes, *rest),
    )[1]
    monkeypatch.setattr(evaluate, "BATCH_PIXELS", 3 * image.shape[0] * image.shape[1])
    assert [s.box for s in evaluate_image(predictor, image, shapes, QUICK)] == [1, 1, 1]
    assert set(sizes) == {1}


def test_images_are_drawn_alike_whatever_the_limit():
    few, more = Protocol(limit=5).images(40), Protocol(limit=12).images(40)
    assert len(few) == 5 and len(more) == 12
    assert set(few) < set(more)
    assert more == sorted(more)
    assert more != list(range(12))
    assert Protocol(limit=5, seed=1).images(40) != few
    assert Protocol(limit=50).images(40) == Protocol().images(40) == list(range(40))


def test_objects_are_drawn_for_each_image_alone():
    protocol = Protocol(max_objects=4)
    draws = [protocol.objects(i, 30) for i in range(6)]
    assert all(len(set(d)) == 4 and d == sorted(d) for d in draws)
    assert len({tuple(d) for d in draws}) > 1
    assert draws == [dataclasses.replace(protocol, limit=3).objects(i, 30) for i in range(6)]
    assert protocol.objects(0, 3) == [0, 1, 2]


@pytest.mark.parametrize("wrong", [{"clicks": 4}, {"limit": 0}, {"max_objects": 0}])
def test_a_protocol_without_meaning_is_refused(wrong):
    with pytest.raises(ValueError, match="must be at least"):
        Protocol(**wrong)


@pytest.fixture
def oracle(scripted, knows):
    return scripted(lambda q: ([knows(q)] * (3 if q.multimask else 1), [0.5] * (3 if q.multimask else 1)))


def test_a_shard(new_shard, oracle, image, shapes):
    shard = new_shard("few")
    shard.add("a", image, shapes)
    shard.add("b", image[::-1], shapes[:1])
    shard.add("c", image, [np.zeros_like(shapes[0]), shapes[1]])
    shard.add("d", image, [np.zeros_like(shapes[0])])
    seen = []
    result = evaluate_shard(oracle, Sa1bDataset(shard.write()), QUICK, lambda indices: seen.extend(indices) or indices)
    assert (result.name, result.images, len(result.objects), result.empty) == ("few", 3, 5, 2)
    assert result.skipped == []
    assert seen == [0, 1, 2, 3]
    assert all(o.box == 1 for o in result.objects)


def test_objects_of_an_image_are_limited(new_shard, oracle, image, shapes):
    shard = new_shard()
    shard.add("a", image, shapes)
    result = evaluate_shard(oracle, Sa1bDataset(shard.write()), dataclasses.replace(QUICK, max_objects=2))
    assert len(result.objects) == 2


def damage(shard, kind: str) -> None:
    """Spoils sample b."""
    if kind == "cut image":
        shard.files["b.png"] = shard.files["b.png"][:200]
    elif kind == "no image":
        shard.files["b.png"] = b"nothing"
    elif kind == "cut annotation":
        shard.files["b.json"] = shard.files["b.json"][:-5]
    elif kind == "no annotations":
        shard.files["b.json"] = b'{"image": {}}'
    elif kind == "no segmentation":
        shard.files["b.json"] = b'{"annotations": [{"id": 1}]}'
    elif kind == "wrong size":
        shard.files["b.json"] = shard.files["b.json"].replace(b"[40, 60]", b"[41, 60]")
    elif kind == "no run lengths":
        shard.files["b.json"] = b'{"annotations": [{"segmentation": {"size": [40, 60]}}]}'
    elif kind == "damaged run lengths":
        shard.files["b.json"] = b'{"annotations": [{"segmentation": {"size": [40, 60], "counts": "zzzzzz"}}]}'
    elif kind == "negative run lengths":
        shard.files["b.json"] = b'{"annotations": [{"segmentation": {"size": [40, 60], "counts": [-5, 2405]}}]}'
    elif kind == "run lengths of another kind":
        shard.files["b.json"] = b'{"annotations": [{"segmentation": {"size": [40, 60], "counts": 7}}]}'


DAMAGES = [
    "cut image",
    "no image",
    "cut annotation",
    "no annotations",
    "no segmentation",
    "wrong size",
    "no run lengths",
    "damaged run lengths",
    "negative run lengths",
    "run lengths of another kind",
]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_sample_is_named_and_left_out(new_shard, oracle, image, shapes, kind):
    shard = new_shard()
    for name in "abc":
        shard.add(name, image, shapes)
    before = dict(shard.files)
    damage(shard, kind)
    assert shard.files != before
    result = evaluate_shard(oracle, Sa1bDataset(shard.write()), QUICK)
    assert (result.images, len(result.objects)) == (2, 6)
    (reason,) = result.skipped
    assert "b.png" in reason or "b.json" in reason


def test_a_shard_of_damaged_samples_is_an_error(new_shard, oracle, image, shapes):
    shard = new_shard()
    shard.add("b", image, shapes)
    damage(shard, "cut image")
    with pytest.raises(DataError, match=r"it has no image to evaluate \(.*b\.png is not a readable image"):
        evaluate_shard(oracle, Sa1bDataset(shard.write()), QUICK)


def test_a_shard_of_empty_masks_is_an_error(new_shard, oracle, image, shapes):
    shard = new_shard()
    shard.add("b", image, [np.zeros_like(shapes[0])])
    with pytest.raises(DataError, match="no image has an object that is not empty"):
        evaluate_shard(oracle, Sa1bDataset(shard.write()), QUICK)


def test_the_scores_do_not_depend_on_what_came_before(new_shard, tiny_predictor, image, shapes):
    first, second = new_shard("first"), new_shard("second")
    for name in "abc":
        first.add(name, image, shapes)
        second.add(name, image[:, ::-1], shapes[:, :, ::-1])
    paths = [first.write(), second.write()]
    protocol = Protocol(limit=2, max_objects=2)
    forth = {p: evaluate_shard(tiny_predictor, Sa1bDataset(p), protocol) for p in paths}
    back = {p: evaluate_shard(tiny_predictor, Sa1bDataset(p), protocol) for p in reversed(paths)}
    assert forth == back
