"""Tiny SAM 3 models of ``transformers``, which need no torchvision when they are imported from their modules."""

import ast
import copy
import importlib.util
import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPTokenizer

from sam_hub.models import modeling_sam  # noqa: F401 first, as programs do

from transformers.models.sam3.configuration_sam3 import Sam3Config  # isort: skip

from .conftest import randomise

modeling_sam3 = import_module("transformers.models.sam3.modeling_sam3")  # by other ways a stand-in, without torchvision

SIDE, PATCH, WIDTH = 112, 14, 32

TRUNK = {
    "model_type": "sam3_vit_model",
    "hidden_size": 128,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": PATCH,
    "window_size": 4,
    "global_attn_indexes": [1],
    "pretrain_image_size": 56,
    "layer_norm_eps": 1e-5,
}
PART = {"hidden_size": WIDTH, "num_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
CONCEPTS = {
    "vision_config": {
        "model_type": "sam3_vision_model",
        "backbone_config": TRUNK,
        "fpn_hidden_size": WIDTH,
        "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
    },
    "text_config": {
        "model_type": "clip_text_model",
        "vocab_size": 49408,
        "hidden_size": 64,
        "intermediate_size": 40,
        "projection_dim": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "max_position_embeddings": 32,
        "hidden_act": "gelu",
    },
    "geometry_encoder_config": PART,
    "detr_encoder_config": PART,
    "detr_decoder_config": {**PART, "num_queries": 12},
    "mask_decoder_config": {"hidden_size": WIDTH, "num_attention_heads": 4},
}
"""What ``sam3.pt``'s shapes can tell of such a model, so that it comes back from one."""


def concept_settings(**trunk: Any) -> dict[str, Any]:
    settings = copy.deepcopy(CONCEPTS)
    settings["vision_config"]["backbone_config"].update(trunk)
    return settings


def reference(**trunk: Any) -> Any:
    """``transformers.Sam3Model`` with random weights, the same for the same sizes."""
    model = randomise(modeling_sam3.Sam3Model(Sam3Config(**concept_settings(**trunk)))).eval()
    with torch.no_grad():  # so that neither the presence nor the scores are at their bounds
        model.detr_decoder.presence_head.layer3.weight.mul_(0.2)
    return model


def tokens(*lengths: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Ids (T, 32) and mask of texts of so many tokens."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 49000, (len(lengths), 32), generator=generator)
    mask = torch.arange(32)[None] < torch.tensor(lengths)[:, None]
    return ids, mask.long()


def save_tokenizer(folder: Path) -> None:
    """A tokenizer that knows the letters."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)


def sampled_roi_align(features: Tensor, boxes: list[Tensor], cells: int) -> Tensor:
    """``torchvision.ops.roi_align`` with its defaults, point by point as its documentation tells."""
    _, channels, height, width = features.shape

    def at(image: Tensor, y: float, x: float) -> Tensor:
        if y < -1 or y > height or x < -1 or x > width:
            return torch.zeros(channels)
        y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
        top, left = min(int(y), height - 1), min(int(x), width - 1)
        below, right = min(top + 1, height - 1), min(left + 1, width - 1)
        dy, dx = y - top, x - left
        upper = image[:, top, left] * (1 - dx) + image[:, top, right] * dx
        lower = image[:, below, left] * (1 - dx) + image[:, below, right] * dx
        return upper * (1 - dy) + lower * dy

    out = []
    for image, own in zip(features, boxes, strict=True):
        for x0, y0, x1, y1 in own.tolist():
            high, wide = max(y1 - y0, 1.0) / cells, max(x1 - x0, 1.0) / cells
            rows, columns = -(-high // 1), -(-wide // 1)
            cell = torch.zeros(channels, cells, cells)
            for i in range(cells):
                for j in range(cells):
                    for a in range(int(rows)):
                        for b in range(int(columns)):
                            y = y0 + (i + (a + 0.5) / rows) * high
                            x = x0 + (j + (b + 0.5) / columns) * wide
                            cell[:, i, j] += at(image, y, x) / (rows * columns)
            out.append(cell)
    return torch.stack(out)


TORCHVISION = SimpleNamespace(ops=SimpleNamespace(roi_align=sampled_roi_align))


def instances_of_transformers(outputs: Any, size: tuple[int, int], threshold: float) -> dict[str, Tensor]:
    """What its processor makes of outputs for one image; its module wants torchvision, so two functions are lifted."""
    package = Path(importlib.util.find_spec("transformers").origin).parent
    tree = ast.parse((package / "models/sam3/image_processing_sam3.py").read_text("utf-8"))
    wanted = {"post_process_instance_segmentation", "_scale_boxes"}
    found = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in wanted]
    space: dict[str, Any] = {"torch": torch}
    exec(compile(ast.Module(found, []), "image_processing_sam3.py", "exec"), space)
    (result,) = space["post_process_instance_segmentation"](None, outputs, threshold=threshold, target_sizes=[size])
    return result


def save_video_folder(folder: Path, detector: Any) -> Any:
    """A folder as SAM 3 is published: detector and tracker of videos. Returns the model."""
    from transformers.models.sam3_video.configuration_sam3_video import Sam3VideoConfig
    from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoModel

    vision = copy.deepcopy(CONCEPTS["vision_config"])
    tracker = {
        "vision_config": vision,
        "image_size": SIDE,
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE, "patch_size": PATCH},
        "mask_decoder_config": {
            "hidden_size": WIDTH, "mlp_dim": 48, "num_attention_heads": 4, "iou_head_hidden_dim": 28,
        },
        "memory_attention_hidden_size": WIDTH,
        "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 16,
        "memory_encoder_hidden_size": WIDTH,
        "memory_encoder_output_channels": 16,
        "mask_downsampler_embed_dim": WIDTH,
        "memory_fuser_embed_dim": WIDTH,
        "memory_fuser_num_layers": 1,
    }  # fmt: skip
    config = Sam3VideoConfig(detector_config=concept_settings() | {"model_type": "sam3"}, tracker_config=tracker)
    model = randomise(Sam3VideoModel(config), seed=1)
    model.detector_model.load_state_dict(detector.state_dict())
    model.save_pretrained(folder)
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    assert settings["model_type"] == "sam3_video"
    return model


def squashed(photo: np.ndarray) -> np.ndarray:
    """A photo (H, W, 3) as the network reads it: (3, 112, 112) float32, squashed by Pillow."""
    resized = np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return ((resized.astype(np.float32) / 255 - 0.5) / 0.5).transpose(2, 0, 1)
