"""Tiny models with every parameter and statistic random, so that zeros and ones hide no errors."""

from collections.abc import Callable

import pytest
import torch

from sam_hub.families import registry
from sam_hub.models.configuration_sam import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig
from sam_hub.models.modeling_sam import SamModel

IMAGE_SIZE = 96
WIDTH = 64


TINY_ENCODERS: dict[str, dict] = {name: dict(part.tiny) for name, part in registry.parts("encoder")}
"""Settings of a small encoder of each kind, as its family declares them."""


def tiny_config(vision: str = "sam_vision_model", image_size: int = IMAGE_SIZE, **settings: object) -> SamConfig:
    """A model of a few thousand parameters; ``settings`` are the encoder's."""
    settings = {"output_channels": WIDTH, "image_size": image_size, **TINY_ENCODERS[vision], **settings}
    return SamConfig(
        vision_config={"model_type": vision, **settings},
        prompt_encoder_config=SamPromptEncoderConfig(hidden_size=WIDTH, image_size=image_size, mask_input_channels=16),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=WIDTH, mlp_dim=48, num_attention_heads=4, iou_head_hidden_dim=28
        ),
    )


def randomise(model: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
    """Random gains, biases, tables and running statistics; matrices scaled by their fan-in."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if not value.is_floating_point():
                continue
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith("running_var"):
                value.copy_(0.75 + 0.5 * torch.rand(value.shape, generator=generator))
            elif value.dim() == 1:
                value.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * noise)
            elif any(p in name for p in ("_embed", "_token.", "_tokens.", "rel_pos", "positional", "attention_biases")):
                value.copy_(0.6 * noise)
            else:
                value.copy_(noise / value[0].numel() ** 0.5)
    return model


@pytest.fixture(scope="session")
def tiny_vit() -> SamModel:
    return randomise(SamModel(tiny_config())).eval()


@pytest.fixture(scope="session")
def tiny_pocket() -> SamModel:
    return randomise(SamModel(tiny_config("sam_hub_pocket"))).eval()


@pytest.fixture(scope="session", params=sorted(TINY_ENCODERS))
def any_encoder(request: pytest.FixtureRequest) -> SamModel:
    """A tiny model with each kind of encoder in turn."""
    return randomise(SamModel(tiny_config(request.param))).eval()


@pytest.fixture(scope="session")
def tiny_encoders() -> dict[str, dict]:
    return TINY_ENCODERS


@pytest.fixture(scope="session")
def make_config() -> Callable[..., SamConfig]:
    """`tiny_config`, for a test that changes more of it."""
    return tiny_config


@pytest.fixture(scope="session")
def randomised() -> Callable[[torch.nn.Module], torch.nn.Module]:
    """`randomise`."""
    return randomise


@pytest.fixture(scope="session")
def tiny_tinyvit() -> SamModel:
    return randomise(SamModel(tiny_config("sam_hub_tiny_vit"))).eval()
