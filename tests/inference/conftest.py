"""Models with random weights, and the original generator to compare with."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import PocketVisionConfig, SamConfig, SamPromptEncoderConfig, SamVisionConfig
from sam_hub.models.modeling_sam import SamModel

from .small_model import WIDE, tiny_model

SIDE = 128


def with_masks(config: SamConfig, seed: int = 0) -> SamModel:
    """Random weights that give masks of some size, steep enough to count as stable."""
    torch.manual_seed(seed)
    model = SamModel(config).eval()
    with torch.no_grad():
        for mlp in model.mask_decoder.output_hypernetworks_mlps:
            mlp.proj_out.weight.mul_(200)
            mlp.proj_out.bias.mul_(60)
        model.mask_decoder.iou_prediction_head.proj_out.weight.mul_(4)
        model.mask_decoder.iou_prediction_head.proj_out.bias.fill_(0.9)
    return model


@pytest.fixture(scope="session")
def pocket_shaped() -> SamModel:
    """The encoder of `pocket`, thinner, and SAM's decoder as it is."""
    vision = PocketVisionConfig(
        image_size=SIDE,
        stages=[[1, 3, 1, 8, 1], [2, 3, 2, 12, 1], [2, 5, 2, 16, 1], [2, 3, 2, 24, 1], [2, 5, 2, 32, 1]],
        stem_channels=8,
    )
    return with_masks(SamConfig(vision_config=vision, prompt_encoder_config=SamPromptEncoderConfig(image_size=SIDE)))


@pytest.fixture(scope="session")
def vit_shaped() -> SamModel:
    """SAM ViT-B with fewer and thinner layers, and SAM's decoder as it is."""
    vision = SamVisionConfig(
        image_size=SIDE,
        hidden_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        global_attn_indexes=[1, 3],
        window_size=5,
    )
    return with_masks(SamConfig(vision_config=vision, prompt_encoder_config=SamPromptEncoderConfig(image_size=SIDE)))


@pytest.fixture(scope="session", params=["pocket_shaped", "vit_shaped"])
def shaped(request: pytest.FixtureRequest) -> SamModel:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def photo(golden_dir: Path) -> Callable[..., np.ndarray]:
    """(seed, h, w) -> a picture of waves, rectangles and ellipses, (h, w, 3) uint8."""
    return _module(golden_dir / "fill.py").golden_image


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def model() -> SamModel:
    return tiny_model()


@pytest.fixture
def predictor(model) -> SamPredictor:
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    return predictor
