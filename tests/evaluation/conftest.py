"""A scripted predictor, a real one with random weights, and shards of drawn shapes."""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hub.inference.backends import Capabilities
from sam_hub.inference.predictor import SamPredictor
from sam_hub.models.configuration_sam import PROMPT_KINDS, PocketVisionConfig, SamConfig
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.masks import mask_to_rle

HEIGHT, WIDTH = 40, 60


@dataclass
class Question:
    """One object's prompt as it reached the model, in pixels of the original image."""

    points: list[tuple[int, int]]
    labels: list[int]
    box: list[int] | None
    fed_back: float | None
    multimask: bool


@dataclass
class Scripted:
    """Stands for an `ImagePredictor`.

    answer: question -> masks (M, H, W) bool and predicted IoU (M,)
    asked: every question, in order

    The low-res logits of candidate j of question k are 10 k + j everywhere, which identifies the mask that is fed back.
    """

    answer: Callable[[Question], tuple[Sequence[np.ndarray], Sequence[float]]]
    kinds: Sequence[str] = PROMPT_KINDS
    asked: list[Question] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.capabilities = Capabilities(prompt_kinds=self.kinds)

    def set_image(self, image: np.ndarray) -> None:
        self.original_size = image.shape[:2]

    def predict_each(self, points, labels, boxes, mask_input, multimask_output):
        masks, scores, low_res = [], [], []
        for i in range(len(boxes if points is None else points)):
            question = Question(
                points=[] if points is None else [tuple(p) for p in points[i].tolist()],
                labels=[] if labels is None else labels[i].tolist(),
                box=None if boxes is None else boxes[i].tolist(),
                fed_back=None if mask_input is None else np.unique(mask_input[i]).item(),
                multimask=multimask_output,
            )
            found, predicted = self.answer(question)
            masks.append(np.stack(found))
            scores.append(predicted)
            low_res.append([np.full((8, 8), 10.0 * len(self.asked) + j) for j in range(len(found))])
            self.asked.append(question)
        return np.stack(masks), np.array(scores, np.float32), np.array(low_res)


@pytest.fixture
def scripted() -> type[Scripted]:
    return Scripted


def blank() -> np.ndarray:
    return np.zeros((HEIGHT, WIDTH), bool)


@pytest.fixture
def shapes() -> np.ndarray:
    """Three masks that do not touch, (3, 40, 60) bool: a square, a flat bar, a disk at the image's border."""
    masks = np.stack([blank(), blank(), blank()])
    masks[0, 4:14, 5:15] = True
    masks[1, 20:23, 2:40] = True
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    masks[2] = (x - 57) ** 2 + (y - 30) ** 2 <= 64
    return masks


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture
def knows(shapes) -> Callable[[Question], np.ndarray]:
    """Question -> the shape that it asks for."""

    def which(question: Question) -> np.ndarray:
        for mask in shapes:
            rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
            if question.box == [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]:
                return mask
            if question.points and mask[question.points[0][::-1]]:
                return mask
        raise AssertionError(f"{question} is about nothing")

    return which


@pytest.fixture(scope="session")
def tiny_predictor() -> SamPredictor:
    """A real model of random weights, whose masks are neither empty nor full."""
    torch.manual_seed(11)
    config = SamConfig(
        vision_config=PocketVisionConfig(
            stages=[[1, 3, 1, 8, 1], [2, 3, 2, 8, 1], [2, 5, 2, 12, 1], [2, 3, 2, 16, 1], [2, 5, 2, 20, 1]],
            stem_channels=8,
            output_channels=32,
            image_size=64,
        ),
        prompt_encoder_config={"hidden_size": 32, "image_size": 64},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32},
    )
    return SamPredictor(SamModel(config).eval())


class Shard:
    """Writes samples into a tar."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files: dict[str, bytes] = {}

    def add(self, name: str, image: np.ndarray, masks: Sequence[np.ndarray]) -> None:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        self.files[f"{name}.png"] = buffer.getvalue()
        annotations = [{"id": i, "segmentation": mask_to_rle(mask)} for i, mask in enumerate(masks)]
        self.files[f"{name}.json"] = json.dumps({"image": {}, "annotations": annotations}).encode()

    def write(self) -> Path:
        with tarfile.open(self.path, "w") as tar:
            for name, data in self.files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return self.path


@pytest.fixture
def new_shard(tmp_path: Path) -> Callable[[str], Shard]:
    return lambda name="some": Shard(tmp_path / f"{name}.tar")
