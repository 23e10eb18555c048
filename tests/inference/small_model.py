"""A small model with random weights, and images and prompts for it."""

import numpy as np
import pytest
import torch

from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.modeling_sam import SamModel

SIDE, WIDTH = 64, 16
RNG = np.random.default_rng(5)
WIDE = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
TALL = RNG.integers(0, 256, (90, 31, 3), dtype=np.uint8)
POINTS, LABELS, BOX = np.array([[30.5, 20], [3, 4]]), np.array([1, 0]), np.array([5, 6, 50, 33.5])
LOW_RES = (RNG.normal(size=(1, 16, 16)) * 3).astype(np.float32)


def tiny_model(side: int = SIDE) -> SamModel:
    torch.manual_seed(0)
    vision = dict(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=side,
        output_channels=WIDTH,
        global_attn_indexes=[1],
        window_size=2,
        mlp_dim=48,
        num_pos_feats=WIDTH // 2,
    )
    decoder = dict(hidden_size=WIDTH, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=16)
    prompts = dict(hidden_size=WIDTH, image_size=side)
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
    model = SamModel(config).eval()
    with torch.no_grad():  # random throughout, and masks of a healthy range
        for parameter in model.parameters():
            parameter.mul_(2) if parameter.dim() > 1 else parameter.add_(0.2 * torch.randn_like(parameter))
    return model


class Counted:
    """Counts how often the encoder runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, model: SamModel) -> None:
        self.calls = 0
        encode = model.encode

        def counting(*arguments: object, **named: object) -> object:
            self.calls += 1
            return encode(*arguments, **named)

        monkeypatch.setattr(model, "encode", counting)


def close(a, b, atol: float = 1e-5) -> None:
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), rtol=1e-5, atol=atol)
