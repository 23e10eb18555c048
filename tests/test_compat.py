"""Programs written for ``segment_anything``: names, attributes and values."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sam_hub
from sam_hub import SamModel, SamPredictor
from sam_hub.errors import PromptError
from sam_hub.zoo import ZOO, canonical_name

PROGRAM = """
import numpy as np
import sam_hub.compat
sam_hub.compat.install()
from segment_anything import SamAutomaticMaskGenerator, SamPredictor, sam_model_registry
from segment_anything.utils.transforms import ResizeLongestSide
from segment_anything.utils.amg import area_from_rle, batched_mask_to_box, remove_small_regions
import segment_anything.modeling
from PIL import Image
sam = sam_model_registry["pocket"](checkpoint="pocket")
sam.to(device="cpu")
image = np.array(Image.open("examples/cat.jpg"))
predictor = SamPredictor(sam)
predictor.set_image(image)
masks, scores, logits = predictor.predict(np.array([[200, 150]]), np.array([1]), multimask_output=True)
assert masks.shape == (3, *image.shape[:2])
import torch
assert batched_mask_to_box(torch.from_numpy(masks)).shape == (3, 4)
assert ResizeLongestSide(sam.image_encoder.img_size).get_preprocess_shape(*image.shape[:2], 512) == (341, 512)
assert SamAutomaticMaskGenerator(sam, points_per_side=3).generate(image)
print("ran", masks[scores.argmax()].sum())

import importlib.util
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.modeling.common import LayerNorm2d
from segment_anything.utils.amg import MaskData
from segment_anything.utils.onnx import SamOnnxModel
assert importlib.util.find_spec("segment_anything.utils.transforms")
assert isinstance(sam, Sam) and isinstance(sam.mask_decoder.transformer, TwoWayTransformer)
assert isinstance(sam.mask_decoder, MaskDecoder) and isinstance(sam.prompt_encoder, PromptEncoder)
for wrong in ("from segment_anything.modeling.image_encoder import window_partition", "SamOnnxModel(sam, True)"):
    try:
        exec(wrong)
    except (ImportError, NotImplementedError) as e:
        print(e)
"""


def test_a_program_runs_unmodified_after_install(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ran")
    assert "window_partition" in done.stdout and "sam-hub export MODEL --layout meta" in done.stdout


def test_the_registry() -> None:
    registry = sam_hub.sam_model_registry
    assert {"default", "vit_h", "vit_l", "vit_b", *ZOO} == set(registry) and len(registry) == len(list(registry))
    with pytest.raises(KeyError, match=r"vit_x.*did you mean vit-"):
        registry["vit_x"]
    assert "sam_vit_b" in registry and "SAM-ViT-L" in registry and "mobile_sam" in registry and "vit_y" not in registry
    assert None not in registry and registry.get(3) is None
    assert registry["pocket"]().config.vision_config.model_type == "sam_hub_pocket"


@pytest.mark.parametrize("name", ["vit_b", "sam_vit_b", "SAM-ViT-B"])
def test_names_of_the_original(name: str) -> None:
    assert canonical_name(name) == "sam-vit-b" and canonical_name("vit_t") == "mobile-sam"


def test_a_predictor_by_name(root: Path) -> None:
    for predictor in (SamPredictor("pocket"), SamPredictor.from_pretrained("pocket")):
        predictor.set_image(root / "examples" / "cat.jpg")
        assert predictor.predict(np.array([[200, 150]]), np.array([1]))[0].any()


def test_what_callers_read_of_a_model(root: Path) -> None:
    model = SamModel.from_pretrained("pocket")
    predictor = SamPredictor(model)
    predictor.set_image(root / "examples" / "cat.jpg")
    assert model.image_encoder.img_size == 512 and model.mask_threshold == 0 and model.image_format == "RGB"
    pixels = predictor.transform.apply_image(predictor._image.pixels)
    x = model.preprocess(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float())
    assert x.shape == (1, 3, 512, 512) and model.pixel_mean.shape == model.pixel_std.shape == (3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(model.image_encoder(x), predictor.features, atol=1e-4, rtol=1e-4)
    masks, _, low_res = predictor.predict(np.array([[200, 150]]), np.array([1]), return_logits=True)
    found = model.postprocess_masks(torch.from_numpy(low_res)[None], predictor.input_size, predictor.original_size)
    np.testing.assert_array_equal(found[0].numpy(), masks)
    assert "image_encoder" not in "".join(model.state_dict())


def test_features_of_a_model_with_finer_maps_come_back_from_one_array(root: Path) -> None:
    model = SamModel.from_pretrained("pocket").eval()
    predictor, other = SamPredictor(model), SamPredictor(model)
    predictor.set_image(root / "examples" / "cat.jpg")
    saved = predictor.get_image_embedding().cpu().numpy()
    other.features, other.original_size, other.input_size = saved.copy(), predictor.original_size, predictor.input_size
    for prompt in ({"point_coords": np.array([[200, 150]]), "point_labels": np.array([1])}, {"box": [25, 0, 400, 299]}):
        for one, expected in zip(other.predict(**prompt), predictor.predict(**prompt), strict=True):
            np.testing.assert_array_equal(one, expected)
    with pytest.raises(PromptError, match=r"stride_8 and stride_4.*predictor\.features"):
        other.features = predictor.encoded.embedding
