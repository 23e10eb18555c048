"""A tiny model with random weights, and photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

WIDTH, HEIGHT = 120, 80


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a SAM with a one-layer ViT and an input of 64 pixels."""
    import torch

    from sam_hub import SamConfig, SamImageProcessor, SamModel

    settings = {
        "hidden_size": 16,
        "output_channels": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_pos_feats": 16,
        "window_size": 0,
        "global_attn_indexes": [0],
        "image_size": 64,
    }
    torch.manual_seed(2)  # its masks are neither empty nor full, and its candidates not in order
    model = SamModel(
        SamConfig(
            vision_config=settings,
            prompt_encoder_config={"hidden_size": 32, "image_size": 64},
            mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
        )
    )
    folder = tmp_path_factory.mktemp("model") / "tiny"
    model.save_pretrained(folder)
    SamImageProcessor.for_config(model.config).save_pretrained(folder)
    return folder


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photo.png and other.jpg of 120 x 80 pixels."""
    monkeypatch.chdir(tmp_path)
    noise = np.random.default_rng(1).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    photo = Image.fromarray(noise).resize((WIDTH, HEIGHT))
    photo.save("photo.png")
    photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("other.jpg")
    return tmp_path
