"""Every family against outputs of its reference implementation, on weights from a formula.

The path is the public one: an original-format file -> `from_pretrained` -> a saved folder -> `from_pretrained` ->
processor -> masks at the size of the photo. Tolerances are those of the golden files (``tests/golden/README.md``).
"""

import copy
import gc
import importlib.util
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from torch import nn

from sam_hub import convert
from sam_hub.errors import PromptError
from sam_hub.families import registry
from sam_hub.models.configuration_sam import PROMPT_KINDS
from sam_hub.models.encoders import EncoderOutput
from sam_hub.models.modeling_sam import SamModel
from sam_hub.models.processing_sam import SamProcessor

FOLDER = Path(__file__).parents[1] / "golden"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json") if file.stem != "amg_utils")
NESTED = (
    "efficient_sam_vitt",
    "efficient_sam_vits",
    "sam2.1_hiera_tiny",
    "edgetam",
    "sam3_tracker",
)  # released as {"model": weights}
FAMILY = {golden: layout for family in registry.families() for golden, (layout, _) in family.goldens.items()}


UNREAD = "detector.backbone.vision_backbone.sam2_convs.3."
"""A level of SAM 3's neck that is computed and dropped: written back as zeros."""

RESIZED_BY_TORCH = ("sam3_tracker",)
"""Whose authors resize grey levels by torchvision, which is PyTorch's interpolation of uint8."""


def resized_by_torch(image: np.ndarray, spec: dict[str, Any]) -> np.ndarray:
    """(H, W, 3) uint8 -> (h, w, 3) uint8."""
    size = tuple(spec["preprocessing"]["squashed_size_hw"])
    grey = torch.from_numpy(image).permute(2, 0, 1)[None]
    return F.interpolate(grey, size, mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()


@dataclass
class Golden:
    """One family: what the reference gave, and ours, loaded from the file that the reference would load."""

    name: str
    spec: dict[str, Any]
    arrays: dict[str, np.ndarray]
    image: np.ndarray
    weights: dict[str, torch.Tensor]
    model: SamModel
    processor: SamProcessor
    resize: dict[str, str]
    pixel_values: torch.Tensor
    encoded: EncoderOutput

    def check(
        self,
        name: str,
        full: torch.Tensor,
        kind: str,
        *steps: int,
        exact: Callable[[], torch.Tensor] | None = None,
    ) -> None:
        """Compare a sample of ``full`` (every so many along its last axes), its mean and its deviation.

        exact: the same in float64, which must hold the relative limit where float32 does not: a CPU's products round
            in an order of their own, and a wrong constant stands out in float64 too
        """
        mine = full.numpy().astype("f8")
        gold = self.arrays[f"{name}_sample" if steps else name].astype("f8")
        every = (..., *(slice(None, None, step) for step in steps))
        sample = mine[every]
        assert sample.shape == gold.shape, name
        tolerance = self.spec["advised_max_abs_error"][kind]
        worst = np.abs(sample - gold).max()
        assert worst <= tolerance, f"{name}: {worst:.2e} > {tolerance:.0e}"
        if limit := self.spec["advised_rel_rms_error"].get(kind):
            relative = relative_rms(sample, gold)
            if relative > limit and exact is not None:
                relative = relative_rms(exact().numpy()[every], gold)
            assert relative <= limit, f"{name}: relative {relative:.2e} > {limit:.0e}"
        if steps:
            axes = tuple(range(1, mine.ndim))
            assert np.abs(mine.mean(axes) - self.arrays[f"{name}_mean"]).max() <= tolerance, name
            assert np.abs(mine.std(axes) - self.arrays[f"{name}_std"]).max() <= tolerance, name

    def low_res_in_float64(self, prompts: dict[str, torch.Tensor], arguments: dict[str, Any]) -> torch.Tensor:
        """(M, h, w) float64: encoder and decoder as in `test_masks`, from the same pixels."""
        model = copy.deepcopy(self.model).double()
        encoded = model.encode(self.pixel_values.double(), output_hidden_states=True)
        outputs = model(
            image_embeddings=encoded.embedding,
            intermediate_embeddings=encoded.intermediate,
            **{name: value.double() if value.is_floating_point() else value for name, value in prompts.items()},
            **arguments,
        )
        return outputs.pred_masks[0, 0]

    def inputs(self, prompt: str) -> dict[str, Any]:
        """The photo and a prompt, through the processor."""
        given = self.spec["prompts"][prompt]
        return self.processor(
            self.image,
            input_points=[[given["points"]]] if "points" in given else None,
            input_labels=[[given["labels"]]] if "points" in given else None,
            input_boxes=[[given["box"]]] if "box" in given else None,
            input_masks=self.arrays["point_mask.mask_input"][None] if "mask_input" in given else None,
            return_tensors="pt",
            **self.resize,
        )

    def supports(self, prompt: str) -> bool:
        background = 0 in self.spec["prompts"][prompt].get("labels", [])
        return not background or "background points" in self.model.config.prompt_encoder_config.prompt_kinds


def relative_rms(found: np.ndarray, expected: np.ndarray) -> float:
    return ((found - expected) ** 2).mean() ** 0.5 / (expected**2).mean() ** 0.5


def fill_module() -> ModuleType:
    found = importlib.util.spec_from_file_location("golden_fill", FOLDER / "fill.py")
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def build(name: str, folder: Path) -> Golden:
    fill = fill_module()
    spec = json.loads((FOLDER / f"{name}.json").read_text())
    arrays = fill.fill_state_dict(spec["keys"], spec["salt"])
    for key, probe in spec["weight_probes"].items():
        assert np.allclose(arrays[key].ravel()[:3], probe), f"the formula gave another {key}"
    weights = {key: torch.from_numpy(np.asarray(value)) for key, value in arrays.items()}
    file = folder / f"{name}.pth"
    tables = {k: torch.zeros(shape, dtype=torch.complex64) for k, (shape, _) in spec.get("derived_buffers", {}).items()}
    torch.save({"model": weights | tables} if name in NESTED else weights, file)
    SamModel.from_pretrained(file).save_pretrained(folder / "ours")
    SamProcessor.from_pretrained(file).save_pretrained(folder / "ours")
    file.unlink()
    model = SamModel.from_pretrained(folder / "ours")
    processor = SamProcessor.from_pretrained(folder / "ours")
    shape = spec["image"]
    image = fill.golden_image(shape["seed"], shape["height"], shape["width"])
    resize = {"resize_mode": "stretch_smooth"} if "pillow_effect" in spec else {}  # as their authors do it
    pixel_values = processor(image, return_tensors="pt", **resize)["pixel_values"]
    if name in RESIZED_BY_TORCH:
        pixel_values = processor(resized_by_torch(image, spec), do_resize=False, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        encoded = model.encode(pixel_values, output_hidden_states=True)
    gold = load_file(FOLDER / f"{name}.safetensors")
    return Golden(name, spec, gold, image, weights, model, processor, resize, pixel_values, encoded)


@pytest.fixture(scope="module", params=NAMES)
def golden(request: pytest.FixtureRequest) -> Iterator[Golden]:
    with TemporaryDirectory() as folder:
        yield build(request.param, Path(folder))
    gc.collect()


def test_recognised_and_converted_back_bit_by_bit(golden):
    shapes = {key: tuple(value.shape) for key, value in golden.weights.items()}
    assert shapes == {key: tuple(shape) for key, shape in golden.spec["keys"].items()}
    family = convert.detect_family(shapes)
    assert family == FAMILY[golden.name]
    back = convert.to_original(golden.model.state_dict(), family)
    assert {key: tuple(value.shape) for key, value in back.items()} == shapes
    blank = convert.FAMILIES[family].blank
    for key, value in back.items():
        if key not in blank and not (key.startswith(UNREAD) and not value.any()):
            expected = golden.weights[key]
            if family == FAMILY["sam3_tracker"] and key.endswith("trunk.pos_embed"):
                assert not value[:, 0].any()  # of a class token, which nothing reads
                value, expected = value[:, 1:], expected[:, 1:]
            assert torch.equal(value, expected), key


def test_preprocessing(golden):
    assert list(golden.pixel_values.shape) == golden.spec["preprocessing"]["encoder_input"]
    golden.check("preprocessed", golden.pixel_values, "preprocessed", 64, 64)


def test_image_embeddings(golden):
    golden.check("image_embeddings", golden.encoded.embedding, "image_embeddings", 8, 4, 4)
    if "interm_embeddings_0_sample" in golden.arrays:
        golden.check("interm_embeddings_0", golden.encoded.intermediate[0], "interm_embeddings", 4, 4, 8)
        later = [name for name in golden.arrays if name.startswith("interm_embeddings") and name.endswith("_sample")][
            1:
        ]
        layers = getattr(golden.model.config.vision_config, "global_attn_indexes", [0])
        assert len(later) == len(layers) - 1
        for i, layer in enumerate(layers[1:], start=1):  # the decoder reads the first only
            states = golden.encoded.hidden_states[layer + 1]
            golden.check(f"interm_embeddings_{i}", states, "interm_embeddings", 8, 8, 16)
    elif "high_res_features_0_sample" in golden.arrays:
        for i, name in enumerate(("stride_4", "stride_8")):
            golden.check(f"high_res_features_{i}", golden.encoded.features[name], f"high_res_features_{i}", 4, 8, 8)
    else:
        assert golden.encoded.intermediate == ()


@torch.no_grad()
def test_prepared_by_pillow(golden):
    """By default photos are resized as grey levels; the authors of some models resize floats."""
    if "pillow_effect" not in golden.spec:
        assert not golden.resize
        return
    inputs = golden.processor(
        golden.image, input_points=[[golden.spec["prompts"]["point"]["points"]]], return_tensors="pt"
    )
    golden.check("pillow.preprocessed", inputs["pixel_values"], "preprocessed", 64, 64)
    encoded = golden.model.encode(inputs["pixel_values"])
    golden.check("pillow.image_embeddings", encoded.embedding, "image_embeddings", 16, 4, 4)
    output = golden.model(
        image_embeddings=encoded.embedding,
        intermediate_embeddings=encoded.features,
        input_points=inputs["input_points"],
    )
    golden.check("pillow.point.multi.low_res_masks", output.pred_masks[0, 0], "low_res_masks", 4, 4)
    golden.check("pillow.point.multi.iou_predictions", output.iou_scores[0, 0], "iou_predictions")


@torch.no_grad()
def test_fused_for_inference(golden):
    """On a part of the photo, with the weights of a healthy network: 1e-5 of what it was before."""
    side = 16 * golden.model.config.prompt_encoder_config.patch_size
    part = golden.pixel_values[:, :, :side, :side]
    expected = golden.model.encode(part).embedding
    fused = copy.deepcopy(golden.model).fuse()
    assert not [m for m in fused.modules() if isinstance(m, nn.BatchNorm2d)]
    assert fused.is_fused is any(isinstance(m, nn.BatchNorm2d) for m in golden.model.modules())
    if fused.is_fused:
        found = fused.encode(part).embedding
        assert ((found - expected).norm() / expected.norm()).item() <= 1e-5


@torch.no_grad()
@pytest.mark.parametrize("prompt", ["point", "points3", "box", "box_neg", "point_mask"])
def test_masks(golden, prompt, monkeypatch):
    if prompt not in golden.spec["prompts"]:
        assert prompt == "point_mask" and "masks" not in golden.model.config.prompt_encoder_config.prompt_kinds
        return
    model, inputs = golden.model, golden.inputs(prompt)
    prompts = {key: value for key, value in inputs.items() if key.startswith("input_")}
    embeddings = {
        "image_embeddings": golden.encoded.embedding,
        "intermediate_embeddings": golden.encoded.intermediate,
    }
    if not golden.supports(prompt):  # the reference computes something; here it is refused
        with pytest.raises(PromptError):
            model(**embeddings, **prompts)
        monkeypatch.setattr(model.config.prompt_encoder_config, "prompt_kinds", PROMPT_KINDS)
    for mode, arguments in golden.spec["modes"].items():
        outputs = model(**embeddings, **prompts, **arguments)
        name = f"{prompt}.{mode}"
        low_res, scores = outputs.pred_masks[0, 0], outputs.iou_scores[0, 0]
        golden.check(
            f"{name}.low_res_masks",
            low_res,
            "low_res_masks",
            4,
            4,
            exact=partial(golden.low_res_in_float64, prompts, arguments),
        )
        golden.check(f"{name}.iou_predictions", scores, "iou_predictions")
        masks = golden.processor.post_process_masks(
            outputs.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"], binarize=False
        )
        golden.check(f"{name}.masks", masks[0][0], "masks", 8, 8)
        if f"{name}.object_score_logits" in golden.arrays:
            golden.check(f"{name}.object_score_logits", outputs.object_score_logits[0, 0], "object_score_logits")
        if f"{name}.stability_scores" in golden.arrays:
            ranking = model.mask_decoder.ranking(outputs.pred_masks, outputs.iou_scores)[0, 0]
            golden.check(f"{name}.stability_scores", ranking, "stability_scores")
        if f"{name}.iou_head_all" in golden.arrays:
            everything = model.predict_masks(**embeddings_for(golden), **prompts)
            golden.check(f"{name}.iou_head_all", everything[1][0, 0], "iou_head_all")


@torch.no_grad()
@pytest.mark.parametrize("mode", ["single_static", "single_mixed"])
def test_when_a_single_mask_gives_way(golden, mode):
    if mode not in golden.spec.get("extra_modes", {}):
        assert not golden.model.config.capabilities.object_score
        return
    model = copy.deepcopy(golden.model)
    config = model.config.mask_decoder_config
    if mode == "single_static":
        config.dynamic_multimask_via_stability = False
    else:
        config.dynamic_multimask_stability_thresh = golden.spec["dynamic_multimask"]["mixed_thresh"]
    for prompt in golden.spec["prompts"]:
        given = {key: value for key, value in golden.inputs(prompt).items() if key.startswith("input_")}
        outputs = model(
            image_embeddings=golden.encoded.embedding,
            intermediate_embeddings=golden.encoded.features,
            multimask_output=False,
            **given,
        )
        golden.check(f"{prompt}.{mode}.iou_predictions", outputs.iou_scores[0, 0], "iou_predictions")
        mean = golden.arrays[f"{prompt}.{mode}.low_res_masks_mean"]
        assert np.abs(outputs.pred_masks[0, 0].double().mean((1, 2)).numpy() - mean).max() <= 1e-4


def embeddings_for(golden: Golden) -> dict[str, Any]:
    """Arguments of `SamModel.predict_masks`."""
    return {"image_embeddings": golden.encoded.embedding, "intermediate": golden.encoded.intermediate}
