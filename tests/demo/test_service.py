"""Answers are the predictor's, in pixels of the photo, and outlines match the masks."""

import asyncio
import re
from dataclasses import replace

import cv2
import numpy as np
import pytest
from sam_hub.demo import closer, presets
from sam_hub.demo import service as service_module
from sam_hub.demo.limits import Limits, Refusal
from sam_hub.demo.models import LoadedModel, ModelPool
from sam_hub.demo.service import SegmentationService
from sam_hub.demo.shapes import shape_of_mask, shape_of_part

from sam_hub import SamPredictor
from sam_hub.annotation import settings
from sam_hub.errors import PromptError
from sam_hub.inference import opening
from sam_hub.inference.amg import PRESETS
from sam_hub.inference.backends import Backend, Prompts
from sam_hub.inference.opening import FolderFormat, open_predictor
from sam_hub.ops.images import read_image
from sam_hub.ops.masks import rle_to_mask
from sam_hub.ops.preparation import Prepared

from .conftest import collect, result

CLICK = {"points": [[150, 200]], "labels": [1]}


@pytest.fixture(scope="module")
def predictor(service, cat) -> SamPredictor:
    made = service.models.load_now().new_predictor()
    made.set_image(cat)
    return made


def filled(path: str, size: tuple[int, int]) -> np.ndarray:
    """An SVG path of straight lines, filled even-odd: (H, W) bool."""
    mask = np.zeros(size, np.uint8)
    rings = [np.float64(ring.split()).reshape(-1, 2) for ring in re.findall(r"M([^Z]+)Z", path)]
    fixed = [np.rint((ring - 0.5) * 256).astype(np.int32) for ring in rings]
    cv2.fillPoly(mask, fixed, 1, shift=8)
    return mask.astype(bool)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max(1, (a | b).sum())


def border(mask: np.ndarray) -> np.ndarray:
    """The pixels on both sides of a mask's border."""
    levels, around = mask.astype(np.uint8), np.ones((3, 3), np.uint8)
    return cv2.dilate(levels, around) > cv2.erode(levels, around)


def test_encoding_tells_size_model_and_time(service, cat):
    events = collect(service.encode(cat))
    assert [e["stage"] for e in events] == ["waiting", "reading", "encoding", "done"]
    done = events[-1]
    assert (done["width"], done["height"], done["model"], done["device"]) == (451, 300, "pocket", "cpu")
    assert done["encode_ms"] > 0 and done["id"] != result(service.encode(cat))["id"]


def test_a_click_has_the_three_masks_of_the_predictor(service, photo, predictor):
    answer = result(service.segment(photo["id"], CLICK))
    masks, scores, _ = predictor.predict(np.array(CLICK["points"]), np.array([1]), tidy=0.02)
    assert len(answer["masks"]) == 3 and answer["best"] == scores.argmax()
    for found, mask, score in zip(answer["masks"], masks, scores, strict=True):
        assert np.array_equal(rle_to_mask(found["rle"]), mask)
        assert found["area"] == mask.sum() and found["score"] == pytest.approx(score, abs=1e-3)


def test_a_precise_prompt_has_its_own_mask_first_and_then_the_three(service, photo, predictor):
    prompt = {"box": [25, 0, 400, 299], "points": [[150, 200], [430, 280]], "labels": [1, 0]}
    answer = result(service.segment(photo["id"], prompt))
    given = np.array(prompt["points"]), np.array(prompt["labels"]), np.array(prompt["box"])
    one, three = (predictor.predict(*given, multimask_output=many, tidy=0.02)[0] for many in (False, True))
    assert answer["best"] == 0
    for found, mask in zip(answer["masks"], [*one, *three], strict=True):
        assert np.array_equal(rle_to_mask(found["rle"]), mask)


def test_going_on_from_an_earlier_answer(service, photo, predictor):
    first = result(service.segment(photo["id"], CLICK))
    points, labels = np.array([[150, 200], [30, 280]]), np.array([1, 0])
    prompt = {"points": points.tolist(), "labels": labels.tolist()}
    again = result(service.segment(photo["id"], {**prompt, "refine": {"result": first["result"], "mask": 1}}))
    low_res = predictor.predict(points[:1], labels[:1])[2][[1]].astype(np.float16)  # as it is kept
    expected = predictor.predict(points, labels, mask_input=low_res, multimask_output=False, tidy=0.02)[0][0]
    assert np.array_equal(rle_to_mask(again["masks"][0]["rle"]), expected)
    forgotten = result(service.segment(photo["id"], {**prompt, "refine": {"result": "gone", "mask": 0}}))
    plain = result(service.segment(photo["id"], prompt))
    assert forgotten["masks"] == plain["masks"] != again["masks"]
    with pytest.raises(PromptError, match="3 masks"):
        result(service.segment(photo["id"], {**prompt, "refine": {"result": first["result"], "mask": 3}}))


@pytest.mark.parametrize(
    "prompt",
    [
        {"points": [[15, 75]], "labels": [1]},
        {"box": [60, 90, 110, 140]},
        {"box": [60, 90, 110, 140], "points": [[80, 110], [400, 20]], "labels": [1, 0], "tidy": False},
    ],
)
def test_a_closer_look_is_the_predictors(service, photo, predictor, prompt):
    events = collect(service.segment(photo["id"], {**prompt, "zoom": True}))
    assert [e["stage"] for e in events] == ["shown", "waiting", "encoding", "done"]
    plain = result(service.segment(photo["id"], prompt))
    assert events[0]["path"] == plain["masks"][plain["best"]]["path"]
    given = {"point_coords": "points", "point_labels": "labels", "box": "box"}
    asked = {name: np.array(prompt[key]) for name, key in given.items() if key in prompt}
    asked["tidy"] = 0.0 if prompt.get("tidy") is False else 0.02
    counts = (True,) if "box" not in prompt else (False, True)
    found = [predictor.predict(**asked, multimask_output=many, zoom=True) for many in counts]
    masks, scores = (np.concatenate(parts) for parts in list(zip(*found, strict=True))[:2])
    done = events[-1]
    assert done["best"] == 0 and len(done["masks"]) == len(masks)
    differ = [m["rle"] != p["rle"] for m, p in zip(done["masks"], plain["masks"], strict=True)]
    assert any(differ)
    for answer, mask, score in zip(done["masks"], masks, scores, strict=True):
        assert np.array_equal(rle_to_mask(answer["rle"]), mask)
        assert answer["area"] == mask.sum() and answer["score"] == pytest.approx(np.clip(score, 0, 1), abs=1e-4)
        assert not (filled(answer["path"], mask.shape) ^ mask)[~border(mask)].any()
    x0, y0, x1, y1 = done["window"]
    assert 64 <= x1 - x0 < 360 and 0 <= y0 < y1 <= 300


def test_several_clicks_are_looked_at_in_one_window(service, photo, predictor, monkeypatch):
    """That of the mask to show, although the three masks for the same clicks may have another."""
    prompt = {"points": [[15, 75], [150, 200]], "labels": [1, 0], "zoom": True}
    stored = service.photos.get(photo["id"])
    encoded, plain = [], stored.predictor.backend.encode
    monkeypatch.setattr(stored.predictor.backend, "encode", lambda image: encoded.append(1) or plain(image))
    done = result(service.segment(photo["id"], prompt))
    assert done["window"] and encoded == [1]
    clicks = np.array(prompt["points"]), np.array(prompt["labels"])
    expected = predictor.predict(*clicks, multimask_output=False, zoom=True, tidy=0.02)[0]
    assert len(done["masks"]) == 4 and np.array_equal(rle_to_mask(done["masks"][0]["rle"]), expected[0])
    encoded.clear()
    tidied = result(service.segment(photo["id"], {**prompt, "tidy": False}))
    assert tidied["window"] == done["window"] and encoded == []  # the last window is kept
    monkeypatch.setattr(closer, "BAND", 3000)  # as in windows of millions of pixels
    banded = result(service.segment(photo["id"], {**prompt, "tidy": False}))
    for one, two in zip(banded["masks"], tidied["masks"], strict=True):
        assert (rle_to_mask(one["rle"]) ^ rle_to_mask(two["rle"])).sum() <= 2 < two["area"]


def test_a_large_object_is_not_looked_at_again(service, photo):
    prompt = {"box": [5, 5, 440, 295]}
    done = result(service.segment(photo["id"], {**prompt, "zoom": True}))
    plain = result(service.segment(photo["id"], prompt))
    assert done["window"] is None and done["masks"][0] == plain["masks"][0]


def test_closer_looks_do_not_grow_a_photo_beyond_one_more_embedding(service, photo):
    """However many objects; and the store knows of it."""
    stored, taken = service.photos.get(photo["id"]), []
    for x in range(40, 360, 80):
        result(service.segment(photo["id"], {"box": [x, 90, x + 40, 140], "zoom": True}))
        taken.append(stored._held)
    grown = taken[0] - stored.pixels.nbytes
    assert len(set(taken)) == 1
    stored.predictor._windows.clear()
    stored.weigh()
    assert 0 < taken[0] - stored._held < 0.75 * grown


@pytest.mark.parametrize(("tidy", "share"), [(True, 0.02), (False, 0.0), (None, 0.02)])
def test_masks_are_tidied_where_it_is_said_or_suits_the_model(service, photo, predictor, tidy, share):
    box = [10, 10, 440, 290]
    answer = result(service.segment(photo["id"], {"box": box, **({} if tidy is None else {"tidy": tidy})}))
    expected = predictor.predict(box=np.array(box), multimask_output=True, tidy=share)[0]
    for found, mask in zip(answer["masks"][1:], expected, strict=True):
        assert np.array_equal(rle_to_mask(found["rle"]), mask)
        assert iou(filled(found["path"], mask.shape), mask) > 0.97
    untidy = predictor.predict(box=np.array(box), multimask_output=True)[0]
    assert any(not np.array_equal(a, b) for a, b in zip(untidy, expected, strict=True)) == bool(share)


def test_a_painted_mask_says_where(service, photo):
    stroke = {"points": [[60, 60], [200, 60], [200, 250], [60, 250]], "radius": 40}
    answer = result(service.segment(photo["id"], {"strokes": [stroke]}))
    boxed = result(service.segment(photo["id"], {"box": [20, 20, 240, 290]}))
    assert len(answer["masks"]) == 4 and answer["masks"] != boxed["masks"]


def test_a_preview_is_the_outline_of_the_best_mask(service, photo):
    answer, preview = result(service.segment(photo["id"], CLICK)), asyncio.run(service.preview(photo["id"], CLICK))
    best = answer["masks"][answer["best"]]
    assert (preview["path"], preview["score"]) == (best["path"], best["score"])


@pytest.mark.parametrize("prompt", [CLICK, {"box": [25, 0, 400, 299]}])
def test_what_is_shown_first_is_the_best_mask(service, photo, prompt):
    shown, done = collect(service.segment(photo["id"], prompt))
    best = done["masks"][done["best"]]
    assert shown["stage"] == "shown" and (shown["path"], shown["score"]) == (best["path"], best["score"])
    assert 0 < shown["decode_ms"] <= done["decode_ms"]


def test_a_click_where_a_preview_was_is_not_decoded_again(service, photo, monkeypatch):
    decoded, plain = [], service_module._predict
    service.photos.get(photo["id"]).ready.result()
    monkeypatch.setattr(service_module, "_predict", lambda *given: decoded.append(given) or plain(*given))
    asyncio.run(service.preview(photo["id"], CLICK))
    asyncio.run(service.preview(photo["id"], {"points": [[150, 201]], "labels": [1]}))
    assert len(decoded) == 2
    first = result(service.segment(photo["id"], CLICK))
    assert len(decoded) == 3  # only the latest is kept
    assert result(service.segment(photo["id"], CLICK))["masks"] == first["masks"] and len(decoded) == 3
    result(service.segment(photo["id"], {"points": [[150, 200]], "labels": [0]}))
    assert len(decoded) == 4


@pytest.mark.parametrize("scale", [1, 6])
def test_the_outline_encloses_the_mask(service, cat, root, scale):
    """On a photo that is drawn at its size, and on one that is drawn smaller."""
    pixels = cv2.resize(read_image(cat), None, fx=scale, fy=scale)
    encoded = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
    photo = result(service.encode(encoded))
    box = (np.array([25, 0, 400, 299]) * scale).tolist()
    best = result(service.segment(photo["id"], {"box": box}))["masks"][0]
    mask = rle_to_mask(best["rle"])
    assert mask.shape == pixels.shape[:2]
    assert iou(filled(best["path"], mask.shape), mask) > 0.97
    assert iou(filled(shape_of_mask(mask)["path"], mask.shape), mask) > 0.97
    x, y, w, h = best["bbox"]
    assert mask[y : y + h, x : x + w].sum() == mask.sum() == best["area"]


def test_a_small_part_of_a_large_photo_has_a_fine_outline():
    y, x = np.ogrid[:90, :90]
    part = (np.hypot(x - 40, y - 45) < 30) & (np.hypot(x - 60, y - 40) > 12)  # round, with a bite
    mask = np.zeros((3000, 4000), bool)
    mask[2000:2090, 3000:3090] = part
    fine, coarse = shape_of_part(part, mask.shape, (3000, 2000)), shape_of_mask(mask)
    assert {**fine, "path": ""} == {**coarse, "path": ""}
    assert not (filled(fine["path"], mask.shape) ^ mask)[~border(mask)].any()
    assert (filled(coarse["path"], mask.shape) ^ mask)[~border(mask)].any()


def test_an_empty_mask_is_nothing():
    shape = shape_of_mask(np.zeros((30, 40), bool))
    assert (shape["area"], shape["bbox"], shape["path"]) == (0, [0, 0, 0, 0], "")
    assert not rle_to_mask(shape["rle"]).any() and shape["rle"]["size"] == [30, 40]


def test_everything_tells_how_far_it_is(service, photo):
    events = collect(service.everything(photo["id"], "fast"))
    steps = [e for e in events if e["stage"] == "searching"]
    assert events[0]["stage"] == "waiting" and events[-1]["stage"] == "done" and len(steps) == 4
    assert 0 < steps[0]["done"] < steps[0]["of"] == 256
    for mask in events[-1]["masks"]:
        assert rle_to_mask(mask["rle"]).sum() == mask["area"] and 0 <= mask["score"] <= 1
    areas = [m["area"] for m in events[-1]["masks"]]
    assert areas == sorted(areas, reverse=True)
    again = result(service.segment(photo["id"], CLICK))  # the search has left the photo's own predictor alone
    other = result(service.encode_again(photo["id"], "pocket"))
    assert again["masks"] == result(service.segment(other["id"], CLICK))["masks"]


def test_thresholds_are_the_models_with_some_slack(monkeypatch):
    monkeypatch.setitem(settings.THRESHOLDS, "pocket", {"pred_iou_thresh": 0.7, "stability_score_offset": 0.2})
    found = presets.preset_arguments("sam_hub_pocket", "default")
    assert found["pred_iou_thresh"] == pytest.approx(0.7 - presets.SLACK) and found["stability_score_offset"] == 0.2
    found = presets.preset_arguments("sam_vision_model", "default")
    assert found["pred_iou_thresh"] == pytest.approx(0.88 - presets.SLACK) and "stability_score_offset" not in found
    assert list(presets.SEARCH_PRESETS) == list(PRESETS)


@pytest.mark.parametrize("preset", ["finest", None, 7, ["fast"]])
def test_unknown_presets(service, photo, preset):
    with pytest.raises(Refusal, match="preset"):
        collect(service.everything(photo["id"], preset))


def test_models_that_are_not_offered(service, cat):
    for name in ("sam-vit-h", "/etc/passwd", "../pocket", 7, ["pocket"]):
        with pytest.raises(Refusal, match="does not offer"):
            collect(service.encode(cat, name))


def test_encoding_again_replaces(service, photo):
    other = result(service.encode_again(photo["id"], "pocket"))
    assert other["id"] != photo["id"] and other["width"] == photo["width"]
    with pytest.raises(Refusal, match="no longer"):
        result(service.segment(photo["id"], CLICK))


class Plain(Backend):
    """`pocket` as a format without shortcuts: it only encodes and decodes."""

    def __init__(self) -> None:
        self.model = open_predictor("pocket", "cpu").backend
        self.preparation, self.capabilities = self.model.preparation, self.model.capabilities

    def encode(self, image: Prepared) -> object:
        return self.model.encode(image)

    def decode(self, held: object, prompts: Prompts, *how: bool) -> tuple[np.ndarray, np.ndarray]:
        return self.model.decode(self.model.hold(held), prompts, *how)


def test_any_registered_format_is_offered(service, photo, cat, tmp_path, monkeypatch):
    (tmp_path / "plain.txt").touch()
    added = FolderFormat("plain", lambda f: (f / "plain.txt").is_file(), lambda *_: Plain())
    monkeypatch.setitem(opening.FOLDER_FORMATS, "plain", added)
    other = SegmentationService(ModelPool([str(tmp_path)], "cpu", Limits()), Limits())
    other.warm_up()
    (facts,) = other.facts()["models"]
    assert facts["good_for"] == "exported model"
    key = result(other.encode(cat))["id"]
    for prompt in (CLICK, {"box": [25, 0, 400, 299]}):
        expected = result(service.segment(photo["id"], prompt))["masks"]
        found = result(other.segment(key, prompt))["masks"]
        for a, b in zip(found, expected, strict=True):
            assert iou(rle_to_mask(a["rle"]), rle_to_mask(b["rle"])) > 0.99
    assert result(other.everything(key, "fast"))["masks"]


def test_the_longest_unused_model_goes_first(monkeypatch):
    loads = []
    monkeypatch.setattr("sam_hub.demo.models._probe", lambda reachable: reachable.set())
    monkeypatch.setattr(
        "sam_hub.demo.models._load",
        lambda entry, device: loads.append(entry.name) or LoadedModel(entry.name, device, object),
    )
    pool = ModelPool(["pocket", "sam-vit-b", "mobile-sam"], "cpu", replace(Limits(), models=2))
    for name in ("pocket", "sam-vit-b", "pocket", "mobile-sam", "pocket", "mobile-sam", "sam-vit-b"):
        assert pool.load_now(name).name == name
    assert loads == ["pocket", "sam-vit-b", "mobile-sam", "sam-vit-b"]
