"""Concept prompts of SAM 3 against ``transformers``, including cases that it gets wrong."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam_hub import convert
from sam_hub.errors import CheckpointError, ModelNotFoundError
from sam_hub.models.box_pooling import pool_boxes

from . import tiny_sam3
from .tiny_sam3 import SIDE, modeling_sam3, tokens

from sam_hub.families.sam3.concepts import ConceptModel  # isort: skip
from sam_hub.families.sam3.original import CONCEPTS  # isort: skip

OUTPUTS = ("pred_masks", "pred_boxes", "pred_logits", "presence_logits", "semantic_seg")
BOXES = torch.tensor([[[0.4, 0.5, 0.3, 0.2], [0.2, 0.25, 0.1, 0.3]]])


@pytest.fixture(scope="module")
def theirs():
    return tiny_sam3.reference()


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("theirs")
    theirs.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def ours(folder) -> ConceptModel:
    return ConceptModel.from_pretrained(folder).eval()


def pixels(images: int = 1, side: int = SIDE) -> Tensor:
    return torch.randn(images, 3, side, side, generator=torch.Generator().manual_seed(5))


def same(found: object, expected: object, at: slice = slice(None)) -> None:
    for name in OUTPUTS:
        a, b = getattr(found, name)[at], getattr(expected, name)
        assert a.shape == b.shape and b.isfinite().all() and b.any()
        assert (a - b).abs().max() <= 1e-5 * b.abs().max().clamp(min=1), name


@torch.no_grad()
def test_a_text(ours, theirs):
    ids, mask = tokens(6)
    inputs = {"pixel_values": pixels(), "input_ids": ids, "attention_mask": mask}
    expected = theirs(**inputs)
    assert 0 < expected.presence_logits.abs() < 10 and expected.pred_logits.abs().max() < 12  # not at their bounds
    same(ours(**inputs), expected)


@torch.no_grad()
@pytest.mark.parametrize("labels", [[[1, 0]], [[1, -10]], None])
def test_example_boxes(ours, theirs, monkeypatch, labels):
    """``transformers`` needs torchvision for them; in its place stands the formula."""
    ids, mask = tokens(4)
    inputs = {"pixel_values": pixels(), "input_ids": ids, "attention_mask": mask, "input_boxes": BOXES}
    if labels:
        inputs["input_boxes_labels"] = torch.tensor(labels)
    with pytest.raises(NameError, match="torchvision"):
        theirs(**inputs)
    monkeypatch.setattr(modeling_sam3, "torchvision", tiny_sam3.TORCHVISION, raising=False)
    found = ours(**inputs)
    same(found, theirs(**inputs))
    without = {k: v for k, v in inputs.items() if "boxes" not in k}
    assert (found.pred_masks - ours(**without).pred_masks).abs().max() > 1e-2


def test_cells_of_boxes():
    """Inside, over the border, smaller than a pixel, and beyond."""
    features = torch.randn(2, 5, 9, 13, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor(
        [
            [[1.2, 0.3, 7.9, 8.8], [-3, -2, 4, 5.5], [0, 0, 13, 9]],
            [[5, 5, 5.2, 5.1], [10, 6, 20, 30.0], [2.5, 1, 12.9, 3]],
        ]
    )
    expected = tiny_sam3.sampled_roi_align(features, list(boxes), 7)
    assert torch.allclose(pool_boxes(features, boxes, 7), expected, atol=1e-5)


@torch.no_grad()
def test_several_texts_on_one_image(ours, theirs):
    ids, mask = tokens(6, 3)
    image = pixels()
    both = ours(pixel_values=image, input_ids=ids, attention_mask=mask)
    for i in range(2):
        one = theirs(pixel_values=image, input_ids=ids[i : i + 1], attention_mask=mask[i : i + 1])
        same(both, one, slice(i, i + 1))
    with pytest.raises(RuntimeError, match="shape"):
        theirs(pixel_values=image, input_ids=ids, attention_mask=mask)


@torch.no_grad()
def test_one_text_for_several_images(ours, theirs):
    ids, mask = tokens(6)
    images = pixels(2)
    both = ours(pixel_values=images, input_ids=ids, attention_mask=mask)
    for i in range(2):
        same(both, theirs(pixel_values=images[i : i + 1], input_ids=ids, attention_mask=mask), slice(i, i + 1))
    with pytest.raises(RuntimeError, match="shape"):
        theirs(pixel_values=images, input_ids=ids, attention_mask=mask)
    with pytest.raises(ValueError, match=r"'images': 2, 'texts': 3"):
        ours(pixel_values=images, input_ids=tokens(6, 3, 4)[0])


@torch.no_grad()
def test_embeddings_of_texts_as_a_tensor(ours, theirs):
    ids, mask = tokens(6)
    embedded = theirs.get_text_features(ids, mask).pooler_output
    found = ours(pixel_values=pixels(), text_embeds=embedded, attention_mask=mask)
    same(found, theirs(pixel_values=pixels(), input_ids=ids, attention_mask=mask))
    with pytest.raises(AttributeError, match="pooler_output"):
        theirs(pixel_values=pixels(), text_embeds=embedded, attention_mask=mask)


@torch.no_grad()
def test_an_input_of_another_size(ours, theirs):
    """As a model of ``transformers`` whose configuration says that size; otherwise that fails."""
    ids, mask = tokens(6)
    smaller = tiny_sam3.reference(image_size=84)
    smaller.load_state_dict(theirs.state_dict())
    inputs = {"pixel_values": pixels(side=84), "input_ids": ids, "attention_mask": mask}
    same(ours(**inputs), smaller(**inputs))
    with pytest.raises(RuntimeError, match="size of tensor"):
        theirs(**inputs)


@torch.no_grad()
def test_the_maps_of_an_image_serve_every_text(ours):
    image = pixels()
    maps = ours.maps(image)
    for length in (3, 7):
        ids, mask = tokens(length)
        alone = ours(pixel_values=image, input_ids=ids, attention_mask=mask)
        same(ours(vision_embeds=maps, input_ids=ids, attention_mask=mask), alone)


def test_each_library_loads_the_others_folder(ours, theirs, folder, tmp_path):
    ours.save_pretrained(tmp_path)
    again, info = modeling_sam3.Sam3Model.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for model in (again, ours):
        weights = model.state_dict()
        assert weights.keys() == theirs.state_dict().keys()
        assert all(torch.equal(value, weights[key]) for key, value in theirs.state_dict().items())
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "sam3"


def test_the_published_folder_holds_a_detector(theirs, tmp_path):
    """A folder of ``transformers.Sam3VideoModel``, in whose layout SAM 3 is published."""
    tiny_sam3.save_video_folder(tmp_path, theirs)
    found = ConceptModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, found[key]) for key, value in theirs.state_dict().items())


def test_the_authors_eps_is_used(theirs, tmp_path):
    """``transformers`` states 1e-6, and the ViT was trained with 1e-5."""
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    settings = json.loads(file.read_text())
    settings["vision_config"]["backbone_config"]["layer_norm_eps"] = 1e-6
    file.write_text(json.dumps(settings))
    model = ConceptModel.from_pretrained(tmp_path)
    assert (
        model.vision_encoder.backbone.layer_norm.eps == model.vision_encoder.backbone.layers[0].layer_norm1.eps == 1e-5
    )
    model.save_pretrained(tmp_path / "again")
    assert modeling_sam3.Sam3Model.from_pretrained(tmp_path / "again").vision_encoder.backbone.layer_norm.eps == 1e-5


def original(model: ConceptModel) -> dict[str, Tensor]:
    """A file of the authors: beside the detector the tables of positions, and parts of the tracker."""
    weights = model.to_original()
    trunk = "detector.backbone.vision_backbone.trunk.blocks"
    for i, rows in enumerate((16, 64, 16)):
        weights[f"{trunk}.{i}.attn.freqs_cis"] = torch.zeros(rows, 32, dtype=torch.complex64)
    weights["tracker.maskmem_tpos_enc"] = torch.zeros(7, 1, 1, 64)
    weights["detector.geometry_encoder.points_direct_project.bias"] = torch.zeros(32)
    return weights


def test_the_authors_file(ours, tmp_path):
    torch.save({"model": original(ours)}, tmp_path / "sam3.pt")
    found = ConceptModel.from_pretrained(tmp_path / "sam3.pt")
    mine, before = (model.config.vision_config.backbone_config.to_dict() for model in (found, ours))
    assert mine == before
    assert all(torch.equal(value, found.state_dict()[key]) for key, value in ours.state_dict().items())
    broken = original(ours)
    del broken["detector.dot_prod_scoring.hs_proj.bias"]
    torch.save(broken, tmp_path / "broken.pt")
    with pytest.raises(CheckpointError, match=re.escape("missing dot_product_scoring.query_proj.bias")):
        ConceptModel.from_pretrained(tmp_path / "broken.pt")


def test_fused_weights_are_those_of_attention(ours):
    """``in_proj_weight`` is what ``nn.MultiheadAttention`` calls so: an attention of ours gives what that gives."""
    weights = original(ours)
    where = "detector.segmentation_head.cross_attend_prompt"
    attention = torch.nn.MultiheadAttention(32, 4, batch_first=True)
    attention.load_state_dict({k.removeprefix(f"{where}."): v for k, v in weights.items() if k.startswith(where)})
    x, y = torch.randn(2, 1, 5, 32).unbind()
    with torch.no_grad():
        expected = attention(x, y, y)[0]
        assert torch.allclose(ours.mask_decoder.prompt_cross_attn(x, y, y)[0], expected, atol=1e-5)


def test_the_published_keys(root):
    file = root.parent / "shared" / "golden" / "sam3_published_keys.json"
    if not file.exists():
        pytest.skip("needs the list of published keys")
    published = {key: tuple(shape) for key, (shape, _) in json.loads(file.read_text()).items()}
    config = modeling_sam3.Sam3Config(**CONCEPTS.config(published))
    assert (
        config.vision_config.backbone_config.to_dict()
        == modeling_sam3.Sam3Config(
            vision_config={"backbone_config": {"model_type": "sam3_vit_model", "layer_norm_eps": 1e-5}}
        ).vision_config.backbone_config.to_dict()
    )
    with torch.device("meta"):
        model = ConceptModel(config)
        weights = {key: torch.empty(shape) for key, shape in published.items()}
    renamed = convert.renamed(weights, CONCEPTS, "sam3")
    convert.check_complete({key: tuple(value.shape) for key, value in model.state_dict().items()}, renamed)
    back = {key: tuple(value.shape) for key, value in model.to_original().items()}
    left_out = re.compile(r"tracker\..*|.*\.freqs_cis|.*\.sam2_convs\..*|.*\.points_\w+_project\.\w+")
    assert back == {key: shape for key, shape in published.items() if not left_out.fullmatch(key)}


def test_a_model_without_words(tiny_vit, tmp_path):
    tiny_vit.save_pretrained(tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"takes no text; `sam-hub zoo`"):
        ConceptModel.from_pretrained(tmp_path)
    torch.save({"a": torch.zeros(1)}, tmp_path / "x.pt")
    with pytest.raises(ModelNotFoundError, match=r"x\.pt takes no text"):
        ConceptModel.from_pretrained(tmp_path / "x.pt")
