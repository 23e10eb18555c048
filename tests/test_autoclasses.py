"""After ``import sam_hub``, in any order, the Auto classes and the pipeline of transformers load our folders."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForMaskGeneration, AutoProcessor, pipeline
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

import sam_hub.autoclasses
from sam_hub import SamImageProcessor, SamModel, SamPredictor, SamProcessor
from sam_hub.hub import ASSETS
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.processing_sam import SamHubProcessor

POCKET = ASSETS / "pocket"
VIT = {
    "vision_config": dict(
        hidden_size=16,
        output_channels=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_pos_feats=16,
        window_size=3,
        global_attn_indexes=[1],
        image_size=64,
    ),
    "prompt_encoder_config": dict(hidden_size=32, image_size=64),
    "mask_decoder_config": dict(hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32),
}
HQ = {
    **VIT,
    "vision_config": {**VIT["vision_config"], "output_intermediate": True},
    "mask_decoder_config": {**VIT["mask_decoder_config"], "model_type": "sam_hub_hq_mask_decoder", "vit_dim": 16},
}


def save(settings: dict, folder) -> SamModel:
    torch.manual_seed(2)
    model = SamModel(SamConfig(**settings)).eval()
    model.save_pretrained(folder)
    SamProcessor.for_config(model.config).save_pretrained(folder)
    return model


@pytest.fixture
def photo(root) -> Image.Image:
    return Image.open(root / "examples" / "cat.jpg").convert("RGB")


ORDER = """
import json, sys
{first}
from transformers import AutoConfig, AutoImageProcessor, AutoModelForMaskGeneration, AutoProcessor, pipeline
autos = AutoConfig, AutoModelForMaskGeneration, AutoProcessor, AutoImageProcessor
found = [auto.from_pretrained(sys.argv[1]) for auto in autos]
import sam_hub.autoclasses as a
print(json.dumps([type(x).__name__ + " " + type(x).__module__.split(".")[0] for x in found]))
print(json.dumps([sorted(a.WAITING), a.FINDER in sys.meta_path]))
"""


FIRST = (
    "import sam_hub; assert 'transformers' not in sys.modules",
    "from transformers import pipeline, AutoModel; import sam_hub",
    "from sam_hub import SamModel",
    "import sam_hub; [sys.modules.pop(m) for m in [*sys.modules] if m.startswith('sam_hub')]; import sam_hub",
)

FORKS = """
import os, sys, traceback
from contextlib import suppress
from importlib import import_module
order, folder, *first = sys.argv[1:]

def run(name, code):
    if not (child := os.fork()):
        for stream, end in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{name}.{end}", os.O_WRONLY | os.O_CREAT), stream)
        sys.argv[1:] = [folder]
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return os.waitpid(child, 0)[1]

failed = [run("bare", "import sam_hub, sys; assert not {'torch', 'transformers'} & {*sys.modules}")]
for name in ("torch._dynamo", "torch.distributed.tensor", "torch.distributed.checkpoint", "scipy.optimize", "torchao"):
    with suppress(ImportError):
        import_module(name)
assert not {"sam_hub", "transformers"} & {*sys.modules}
failed += [run(i, order.format(first=line)) for i, line in enumerate(first)]
sys.exit(any(failed))
"""
"""Each order in a fork of a process that has loaded the libraries of transformers, which take the longest."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_in_any_order(tmp_path):
    save(HQ, tmp_path)
    command = [sys.executable, "-c", FORKS, ORDER, tmp_path, *FIRST]
    done = subprocess.run(command, capture_output=True, text=True)
    said = {path.name: path.read_text() for path in (*tmp_path.glob("*.out"), *tmp_path.glob("*.err"))}
    assert done.returncode == 0, (done.stderr, said)
    for i in range(len(FIRST)):
        kinds, left = map(json.loads, said[f"{i}.out"].splitlines()[-2:])
        names = ("SamConfig", "SamModel", "SamHubProcessor", "SamImageProcessor")
        assert kinds == [f"{name} sam_hub" for name in names], FIRST[i]
        assert left == [[], False], FIRST[i]
        assert "torchvision" not in said[f"{i}.err"], FIRST[i]


def test_pocket(photo):
    """The same masks as without the Auto classes."""
    model, processor = AutoModel.from_pretrained(POCKET, dtype=torch.float32), AutoProcessor.from_pretrained(POCKET)
    assert type(model) is SamModel and type(AutoModelForMaskGeneration.from_pretrained(POCKET)) is SamModel
    assert type(processor) is SamHubProcessor and type(AutoImageProcessor.from_pretrained(POCKET)) is SamImageProcessor
    inputs = processor(photo, input_boxes=[[[25, 0, 400, 299]]], return_tensors="pt")
    with torch.no_grad():
        outputs = model.eval()(**inputs, multimask_output=False)
    sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
    mask = processor.post_process_masks(outputs.pred_masks, *sizes)[0][0, 0].numpy()
    predictor = SamPredictor(SamModel.from_pretrained("pocket"))
    predictor.set_image(photo)
    assert (predictor.predict(box=(25, 0, 400, 299), multimask_output=False)[0][0] == mask).mean() > 0.9999


def test_names_of_the_package_need_no_network(photo, monkeypatch):
    """Also for ``pipeline`` imported before ``sam_hub``, as here."""
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))
    assert AutoConfig.from_pretrained("pocket").model_type == "sam_hub"
    assert type(AutoModel.from_pretrained(pretrained_model_name_or_path="pocket")) is SamModel
    assert type(AutoModelForMaskGeneration.from_pretrained("pocket")) is SamModel
    assert type(AutoProcessor.from_pretrained("pocket")) is SamHubProcessor
    assert type(AutoImageProcessor.from_pretrained("pocket")) is SamImageProcessor
    made = pipeline(model="pocket").model  # in float32: half precision takes many times as long on a CPU
    assert type(made) is SamModel and made.dtype is torch.float32
    assert AutoModel.from_pretrained("pocket", dtype=torch.float16).dtype is torch.float16


def test_the_pipeline_has_the_thresholds_of_the_model(root):
    """At those of the original, which are the pipeline's, `pocket` finds next to nothing."""
    photo = Image.open(root / "examples" / "astronaut.jpg")
    generate = pipeline("mask-generation", model="pocket", points_per_crop=5)
    suited = SamPredictor("pocket").capabilities.generation
    assert suited and {name: generate._forward_params[name] for name in suited} == suited
    found = generate(photo)["scores"].tolist()
    assert found == generate(photo, **suited)["scores"].tolist()
    assert len(generate(photo, pred_iou_thresh=0.88, stability_score_thresh=0.95)["scores"]) < len(found)
    given = pipeline("mask-generation", model="pocket", pred_iou_thresh=0.6)
    assert given._forward_params["pred_iou_thresh"] == 0.6


def test_the_pipeline_on_pocket(photo):
    generate = pipeline("mask-generation", model=str(POCKET))
    settings = dict(points_per_crop=5, points_per_batch=25, pred_iou_thresh=0.5, stability_score_thresh=0.7)
    found = generate(photo, output_bboxes_mask=True, output_rle_mask=True, **settings)
    assert len(found["masks"]) >= 1
    for mask, box in zip(found["masks"], found["bounding_boxes"].tolist(), strict=True):
        y, x = np.nonzero(mask)
        assert mask.shape == photo.size[::-1] and [x.min(), y.min(), x.max(), y.max()] == box
    scores = found["scores"].tolist()
    assert scores == sorted(scores, reverse=True) and min(scores) > 0.5


@pytest.mark.parametrize("settings", [VIT, HQ], ids=["vit, by transformers' own model", "hq"])
def test_the_pipeline_on_other_folders(settings, photo, tmp_path):
    save(settings, tmp_path)
    generate = pipeline("mask-generation", model=str(tmp_path))
    assert type(generate.model).__module__.startswith("transformers." if settings is VIT else "sam_hub.")
    assert type(generate.image_processor) is SamImageProcessor
    # coarser grids in the crops, which make the pipeline of transformers fail
    found = generate(
        photo,
        points_per_crop=2,
        crops_n_layers=1,
        crop_n_points_downscale_factor=2,
        pred_iou_thresh=-9,
        stability_score_thresh=-9,
    )
    assert found["masks"] and found["masks"][0].shape == photo.size[::-1]


def test_a_vit_folder_is_for_transformers_too(photo, tmp_path):
    """Its own model and processor, and ours, compute the same; the Auto classes mix them."""
    ours = save(VIT, tmp_path)
    theirs = AutoModel.from_pretrained(tmp_path).eval()
    assert type(theirs) is transformers.SamModel
    prompt = {"input_points": [[[200, 100]]], "return_tensors": "pt"}
    mine = SamProcessor.from_pretrained(tmp_path)(photo, **prompt)
    with torch.no_grad():
        expected = ours(**mine)
    original = transformers.SamProcessor(SamImageProcessorPil.from_pretrained(tmp_path))
    mixed = AutoProcessor.from_pretrained(tmp_path)
    assert type(mixed) is transformers.SamProcessor and type(mixed.image_processor) is SamImageProcessor
    for processor in (original, mixed):
        inputs = processor(photo, **prompt)
        assert torch.allclose(inputs["pixel_values"], mine["pixel_values"], atol=1e-5)
        inputs = {name: value.float() if value.is_floating_point() else value for name, value in inputs.items()}
        with torch.no_grad():
            found = theirs(**inputs)
        assert torch.allclose(found.pred_masks, expected.pred_masks, atol=1e-4)
        assert torch.allclose(found.iou_scores, expected.iou_scores, atol=1e-4)


def test_crops_and_their_grids(photo):
    """The image and four crops; points lie in the resized crop, and a coarser grid is filled up with its last point."""
    boxes, points, crops, labels = SamImageProcessor().generate_crop_boxes(photo, crop_n_layers=1, points_per_crop=4)
    theirs = SamImageProcessorPil().generate_crop_boxes(photo, 1024, 1, points_per_crop=4)
    assert torch.equal(boxes, theirs[0]) and torch.equal(labels, theirs[3])
    assert torch.allclose(points, theirs[1].float(), atol=1e-3)
    assert [crop.shape for crop in crops] == [np.moveaxis(crop, 0, -1).shape for crop in theirs[2]]
    coarse = SamImageProcessor().generate_crop_boxes(photo, None, 1, 512 / 1500, 4, 2)[1]
    assert torch.equal(coarse[:, :, 0], points[:, :, 0])
    assert len(torch.unique(coarse[0, :, 1], dim=0)) == 4 and (coarse[0, 4:, 1] == coarse[0, 3, 1]).all()


def test_filters_as_transformers_does():
    """Same masks, scores and boxes as its processor, whose suppression alone needs torchvision."""
    theirs, ours = SamImageProcessorPil(), SamImageProcessor()
    generator = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(180.0), indexing="ij")
    place = 20 + torch.rand(40, 3, 2, 1, 1, generator=generator) * torch.tensor([80.0, 140.0])[:, None, None]
    radius = 4 + 16 * torch.rand(40, 3, 1, 1, generator=generator)
    discs = radius - ((y - place[:, :, 0]) ** 2 + (x - place[:, :, 1]) ** 2).sqrt()
    scores = torch.rand(40, 3, generator=generator)
    kept = []
    for crop in ([0, 0, 180, 120], [100, 60, 280, 180]):
        arguments = (discs, scores, (240, 360), torch.tensor(crop), 0.3, 0.7)
        a, b = theirs.filter_masks(*arguments), ours.filter_masks(*arguments)
        assert a[0] == b[0] and torch.equal(a[1], b[1]) and torch.equal(a[2].long(), b[2])
        kept.append(len(b[0]))
    assert 0 < kept[1] < kept[0] < 120


def test_a_fault_of_ours_only_warns(monkeypatch):
    def fail(auto):
        raise RuntimeError("broken")

    monkeypatch.setattr(sam_hub.autoclasses, "WAITING", {"transformers.models.auto.modeling_auto": ("none", fail)})
    with pytest.warns(UserWarning, match=r"modeling_auto \(RuntimeError: broken\)"):
        sam_hub.autoclasses.install()
    assert sam_hub.autoclasses.FINDER not in sys.meta_path
