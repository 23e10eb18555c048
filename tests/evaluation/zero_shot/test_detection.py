"""Proposals, instances and text: the protocols, against pycocotools and faster-coco-eval on whole data sets."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sam_hub.errors import DataError
from sam_hub.ops.masks import mask_to_rle
from sam_hub.zero_shot.annotated_coco import AnnotatedCoco
from sam_hub.zero_shot.boxes import ResultsFile, open_boxes
from sam_hub.zero_shot.instances import average_precision, segment_boxes
from sam_hub.zero_shot.proposals import AREAS, ProposalsTable, count_recalled, rank_proposals
from sam_hub.zero_shot.table import TableRequest
from sam_hub.zero_shot.text import TextTable, best_iou, masks_of_words

SIZE = (120, 160)


def ellipse(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    cy, cx = rng.uniform(20, 100), rng.uniform(20, 140)
    radii = rng.uniform(3, 60, 2)
    return ((y - cy) / radii[0]) ** 2 + ((x - cx) / radii[1]) ** 2 <= 1


def annotation(mask: np.ndarray, number: int, image: int, category: int, crowd: int = 0) -> dict:
    y, x = np.nonzero(mask)
    box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
    return {"id": number, "image_id": image, "category_id": category, "segmentation": mask_to_rle(mask), "bbox": box,
            "area": int(mask.sum()), "iscrowd": crowd}  # fmt: skip


def shifted(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.roll(mask, rng.integers(-8, 9, 2), (0, 1))


@pytest.fixture
def made() -> tuple[dict, list[dict]]:
    """Annotations of four images, three categories, some crowds; and proposals that fit more or less."""
    rng = np.random.default_rng(4)
    annotations, proposals = [], []
    for image in range(1, 5):
        for _ in range(6):
            mask = ellipse(rng)
            number = len(annotations) + 1
            annotations.append(annotation(mask, number, image, int(rng.integers(1, 4)), int(number % 7 == 0)))
            for _ in range(rng.integers(0, 3)):
                one = shifted(mask, rng)
                if one.any():
                    category = annotations[-1]["category_id"]
                    proposals.append({"image_id": image, "category_id": category, "score": float(rng.random()),
                                      "segmentation": mask_to_rle(one)})  # fmt: skip
    images = [{"id": k, "height": SIZE[0], "width": SIZE[1], "file_name": f"{k}.png"} for k in range(1, 5)]
    categories = [{"id": k, "name": f"thing {k}"} for k in (1, 2, 3)]
    return {"images": images, "annotations": annotations, "categories": categories}, proposals


def evaluated(document: dict, results: list[dict], agnostic: bool, most: list[int]) -> COCOeval:
    """pycocotools over everything at once."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = json.loads(json.dumps(document))
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(json.loads(json.dumps(results))), "segm")
        evaluation.params.useCats, evaluation.params.maxDets = int(not agnostic), most
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def recall(parts: list[dict], name: str) -> float:
    total = np.sum([part[name] for part in parts], axis=0)
    return float(np.mean(total[1:] / total[0]))


def parts_of(document: dict, proposals: list[dict], frequency: dict) -> list[dict]:
    return [
        count_recalled(
            [p for p in proposals if p["image_id"] == image["id"]],
            [a for a in document["annotations"] if a["image_id"] == image["id"]],
            frequency,
        )
        for image in document["images"]
    ]


def test_recall_of_parts_is_that_of_pycocotools_over_all(made):
    document, proposals = made
    parts = parts_of(document, proposals, {})
    stats = evaluated(document, proposals, True, [1, 10, 1000]).stats
    for name, place in zip(AREAS, (8, 9, 10, 11), strict=True):
        assert recall(parts, name) == pytest.approx(stats[place], abs=1e-9), name
    assert stats[0] == -1  # which is why AP is not reported here


def test_recall_by_frequency_counts_the_objects_of_those_categories_alone(made):
    """Against pycocotools with the other categories' objects as ignored regions that are not crowds."""
    document, proposals = made
    frequency = {1: "f", 2: "c", 3: "r"}
    parts = parts_of(document, proposals, frequency)
    for letter, name in (("f", "frequent"), ("c", "common"), ("r", "rare")):
        wanted = [a for a in document["annotations"] if frequency[a["category_id"]] == letter and not a["iscrowd"]]
        assert sum(part[name][0] for part in parts) == len(wanted)
        found = 0  # by hand, at an IoU of 0.5: an object counts where a free proposal overlaps it enough
        for image in document["images"]:
            mine = [p for p in proposals if p["image_id"] == image["id"]]
            objects = [a for a in wanted if a["image_id"] == image["id"]]
            if mine and objects:
                ious = coco_mask.iou(
                    [p["segmentation"] for p in mine], [a["segmentation"] for a in objects], [0] * len(objects)
                )
                found += int((ious.max(0) >= 0.5).sum())
        assert sum(part[name][1] for part in parts) <= found
        assert sum(part[name][1] for part in parts) >= 0.5 * found > 0


def test_proposals_are_ranked_by_the_mean_of_confidence_and_stability():
    records = [{"segmentation": k, "predicted_iou": 1 - k / 3000, "stability_score": k % 2} for k in range(1500)]
    ranked = rank_proposals(records)
    assert len(ranked) == 1000
    assert [r["segmentation"] for r in ranked[:3]] == [1, 3, 5] and ranked[0]["score"] == pytest.approx(
        (1 - 1 / 3000 + 1) / 2
    )
    assert {r["segmentation"] for r in ranked} == {*range(1, 1500, 2), *range(0, 500, 2)}


def test_ap_is_that_of_pycocotools(made):
    document, results = made
    stats = evaluated(document, results, False, [1, 10, 100]).stats
    found = average_precision(document, results, [1, 2, 3, 4], lvis=False)
    assert [found[k] for k in ("ap", "ap_50", "ap_75")] == pytest.approx(stats[:3])
    assert found["ap_small"] == (None if stats[3] < 0 else pytest.approx(stats[3]))
    assert average_precision(document, [], [1], lvis=False)["ap"] == 0


def test_ap_of_lvis_forgives_what_was_not_annotated(made):
    """A box of a category that is neither present nor known to be absent in an image is no error in LVIS."""
    document, _ = made
    kept = [a for a in document["annotations"] if a["category_id"] != 3 or a["image_id"] > 2]
    document["annotations"] = kept
    for image in document["images"]:
        present = {a["category_id"] for a in document["annotations"] if a["image_id"] == image["id"]}
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        image["present"] = present
    for category, letter in zip(document["categories"], "fcr", strict=True):
        category["frequency"] = letter
    perfect = [{k: a[k] for k in ("image_id", "category_id", "segmentation")} | {"score": 0.9}
               for a in document["annotations"] if not a["iscrowd"]]  # fmt: skip
    for a in document["annotations"]:
        a["iscrowd"] = 0
    extra = [
        {"image_id": image["id"], "category_id": k, "segmentation": mask_to_rle(np.ones(SIZE, bool)), "score": 0.99}
        for image in document["images"]
        for k in (1, 2, 3)
        if k not in image["present"]
    ]
    for image in document["images"]:
        del image["present"]
    assert extra
    plain = average_precision(json.loads(json.dumps(document)), perfect, [1, 2, 3, 4], lvis=True)
    forgiven = average_precision(json.loads(json.dumps(document)), perfect + extra, [1, 2, 3, 4], lvis=True)
    assert forgiven["ap"] == pytest.approx(plain["ap"]) and {"ap_rare", "ap_common", "ap_frequent"} <= forgiven.keys()
    for image in document["images"]:
        image["neg_category_ids"] = [1, 2, 3]
    counted = average_precision(json.loads(json.dumps(document)), perfect + extra, [1, 2, 3, 4], lvis=True)
    assert counted["ap"] < plain["ap"]


def test_the_most_confident_mask_goes_back_with_its_box(scripted, shapes, image):
    predictor = scripted(lambda q: ([shapes[0]] * 3, [0.2, 0.9, 0.1]) if q.multimask else ([shapes[1]], [0.5]))
    predictor.set_image(image)
    masks = segment_boxes(predictor, np.array([[5, 4, 15, 14], [2, 20, 40, 23]]))
    assert (masks == shapes[1]).all()
    assert [(q.box, q.fed_back, q.multimask) for q in predictor.asked] == [
        ([5, 4, 15, 14], None, True),
        ([2, 20, 40, 23], None, True),
        ([5, 4, 15, 14], 1.0, False),
        ([2, 20, 40, 23], 11.0, False),
    ]


@pytest.fixture
def folder(tmp_path: Path, made) -> Path:
    """The annotations as a file next to their photos."""
    document, _ = made
    (tmp_path / "instances.json").write_text(json.dumps(document))
    for image in document["images"]:
        Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(tmp_path / image["file_name"])
    return tmp_path


@pytest.mark.parametrize("change", [{"id": "1e999"}, {"bbox": "[1e999, 0, 1, 1]"}, {"area": "1" + "0" * 400}])
def test_numbers_that_are_too_large_are_named(folder, made, change):
    document, _ = made
    ((key, value),) = change.items()
    before = len(AnnotatedCoco(folder / "instances.json").annotations("1", SIZE))
    number = next(i for i, a in enumerate(document["annotations"]) if a["image_id"] == 1)
    annotations = [dict(a) for a in document["annotations"]]
    annotations[number][key] = "@"
    text = json.dumps({**document, "annotations": annotations}).replace('"@"', value)
    (folder / "instances.json").write_text(text)
    coco = AnnotatedCoco(folder / "instances.json")
    if key == "bbox":  # a box without end is a number
        assert len(coco.annotations("1", SIZE)) == before
        return
    with pytest.raises(DataError, match=r"annotation \d+ of image 1 is damaged"):
        coco.annotations("1", SIZE)


def test_boxes_of_files_and_of_the_truth(folder, made):
    document, _ = made
    coco = AnnotatedCoco(folder / "instances.json")
    assert coco.ids() == ["1", "2", "3", "4"]
    photo = coco.image("1")
    annotations = coco.annotations("1", SIZE)
    truth = open_boxes("truth", coco)("1", photo, annotations)
    first = next(a for a in document["annotations"] if a["image_id"] == 1)
    x, y, w, h = first["bbox"]
    assert truth[0].xyxy == (x, y, x + w, y + h) and truth[0].score == 1
    assert len(truth) == sum(a["image_id"] == 1 and not a["iscrowd"] for a in document["annotations"])
    path = folder / "results.json"
    records = [{"image_id": 1, "category_id": 2, "bbox": [-5, 4, 20, 10], "score": s} for s in (0.3, 0.8)]
    path.write_text(json.dumps([*records, {"image_id": 1, "category_id": 2, "bbox": [300, 4, 5, 5], "score": 1}]))
    boxes = open_boxes(str(path), coco)("1", photo, [])
    assert [(b.xyxy, b.score) for b in boxes] == [((0, 4, 15, 14), 0.8), ((0, 4, 15, 14), 0.3)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not a COCO results file"),
        ("{}", "it is no list"),
        ("[]", "holds no boxes"),
        ('[{"image_id": 1}]', "not a COCO results file"),
        ('[{"image_id": 77, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1}]', "for other images"),
        ('[{"image_id": 1, "category_id": 9, "bbox": [0, 0, 5, 5], "score": 1}]', "has category 9"),
    ],
)
def test_wrong_results_are_one_sentence(folder, text, words):
    (folder / "results.json").write_text(text)
    with pytest.raises(DataError, match=words):
        ResultsFile(folder / "results.json", AnnotatedCoco(folder / "instances.json"))


def test_wrong_annotations_are_one_sentence(folder, made):
    document, _ = made
    path = folder / "instances.json"
    document["categories"][0]["frequency"] = "r"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="has no neg_category_ids"):
        AnnotatedCoco(path)
    del document["categories"]
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="has no categories"):
        AnnotatedCoco(path)


def test_lvis_names_its_photos_by_address(folder, made):
    document, _ = made
    for image in document["images"]:
        image |= {"neg_category_ids": [], "not_exhaustive_category_ids": []}
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image.pop('file_name')}"
    for category in document["categories"]:
        category["frequency"] = "c"
    (folder / "instances.json").write_text(json.dumps(document))
    coco = AnnotatedCoco(folder / "instances.json")
    assert coco.is_lvis and len(coco.ids()) == 4


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("segmentation", mask_to_rle(np.ones((5, 5), bool)), "of 5 x 5 pixels, not 160 x 120"),
        ("segmentation", None, ""),
        ("bbox", "wide", ""),
        ("id", "first", ""),
    ],
)
def test_a_damaged_annotation_or_one_of_another_size_is_named(folder, made, field, value, words):
    """Without it a detection of the object would count as false."""
    document, _ = made
    document["annotations"][0][field] = value
    (folder / "instances.json").write_text(json.dumps(document))
    coco = AnnotatedCoco(folder / "instances.json")
    with pytest.raises(DataError, match=rf"instances\.json: annotation 0 of image 1 is damaged \(.*{words}"):
        coco.annotations("1", SIZE)
    assert coco.annotations("2", SIZE)


def test_proposals_take_the_grid_of_the_paper_without_filters(folder, tiny_predictor, monkeypatch):
    from sam_hub.zero_shot import proposals

    asked = {}

    class Generator:
        def __init__(self, predictor, **arguments):
            asked.update(arguments)

        def generate(self, image):
            return []

    monkeypatch.setattr(proposals, "SamAutomaticMaskGenerator", Generator)
    table = ProposalsTable(TableRequest("proposals", (str(folder / "instances.json"),)))
    part = table.measure(tiny_predictor, "1")
    assert asked["points_per_side"] == 64 and asked["box_nms_thresh"] == 0.9
    assert asked["pred_iou_thresh"] == asked["stability_score_thresh"] == 0
    assert part["counts"]["all"][0] > 0 and part["counts"]["all"][1:] == [0] * 10
    assert table.rows({"1": part})[0]["all"] == 0


class Words:
    """Understands the names of some categories."""

    def __init__(self, known):
        self.known = known

    def find(self, image, text):
        boxes = np.array(self.known.get(text, []), float).reshape(-1, 4)
        return boxes, np.ones(len(boxes))


def test_words_find_masks_by_a_detector(folder, tiny_predictor):
    import copy

    predictor = copy.copy(tiny_predictor)
    predictor.text = Words({"thing 1": [[10, 10, 60, 60], [70, 20, 150, 90]]})
    predictor.set_image(np.full((*SIZE, 3), 90, np.uint8))
    assert masks_of_words(predictor, "thing 1").shape == (2, *SIZE)
    assert masks_of_words(predictor, "thing 2").shape == (0, *SIZE)
    table = TextTable(TableRequest("text", (str(folder / "instances.json"),)))
    parts = {key: table.measure(predictor, key) for key in table.items()}
    (row,) = table.rows(parts)
    present = [name for part in parts.values() for name in part["present"]]
    assert row["present"] == len(present)
    assert row["found"] == pytest.approx(present.count("thing 1") / len(present))
    absent = [name for part in parts.values() for name in part["absent"]]
    expected = 2 * absent.count("thing 1") / len(absent) if absent else None
    assert row["false_masks"] == (pytest.approx(expected) if absent else None)


def test_the_best_mask_counts_with_one_object_or_with_all():
    left, right = np.zeros((4, 8), bool), np.zeros((4, 8), bool)
    left[:, :4], right[:, 4:] = True, True
    assert best_iou(np.array([left | right]), np.array([left, right])) == 1
    assert best_iou(np.array([~left, left]), np.array([left])) == 1
    assert best_iou(np.array([left | right]), np.array([left])) == 0.5
    assert best_iou(np.zeros((0, 4, 8), bool), np.array([left])) is None


def test_boxes_of_a_detector_of_transformers(folder, tmp_path):
    """A tiny YOLOS of random weights: its labels are found among the names of the categories."""
    from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessor

    config = YolosConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 32],
        patch_size=16, num_detection_tokens=8, id2label={0: "Thing 2", 1: "other"}, label2id={"Thing 2": 0, "other": 1},
    )  # fmt: skip
    model = YolosForObjectDetection(config)
    model.class_labels_classifier.layers[-1].bias.data += torch.tensor([4.0, 3.0, 0.0])
    model.save_pretrained(tmp_path / "detector")
    YolosImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "detector")
    coco = AnnotatedCoco(folder / "instances.json")
    boxes = open_boxes(str(tmp_path / "detector"), coco)("1", coco.image("1"), [])
    assert boxes and {box.category for box in boxes} == {2}
    assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
    assert all(0 <= box.xyxy[0] < box.xyxy[2] <= SIZE[1] for box in boxes)
