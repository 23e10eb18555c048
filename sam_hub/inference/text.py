"""Text prompts: an open-vocabulary detector whose boxes prompt SAM, or a CLIP embedding of the text.

The detector (OWLv2 or Grounding DINO from ``transformers``) is the practical way, as no published SAM takes CLIP text
prompts. CLIP is the paper's way, for models trained with `sam_hub.training.text`.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelNotFoundError, PromptError
from ..hub.download import check_reachable
from ..ops.boxes import nms

DETECTOR = "google/owlv2-base-patch16-ensemble"
"""Apache-2.0; 155 M parameters."""

THRESHOLD = 0.25
OVERLAP = 0.7
"""Boxes whose IoU with a better one is higher count as the same object."""


@dataclass
class TextDetector:
    """Boxes of the objects that a text names, by an OWL or Grounding DINO model.

    model, processor: of ``transformers`` (AutoModelForZeroShotObjectDetection, AutoProcessor)
    threshold: the lowest score of a box
    """

    model: Any
    processor: Any
    threshold: float = THRESHOLD

    @classmethod
    def from_pretrained(
        cls, name: str = DETECTOR, device: str | torch.device = "cpu", **options: Any
    ) -> "TextDetector":
        """name: a folder or a Hub repository; raises ModelNotFoundError when it cannot be loaded"""
        from transformers import AutoModelForZeroShotObjectDetection, AutoProcessor

        kind = "text detector (OWLv2 or Grounding DINO)"
        model = _loaded(AutoModelForZeroShotObjectDetection, name, kind)
        return cls(model.to(device).eval(), _loaded(AutoProcessor, name, kind), **options)

    @torch.no_grad()
    def find(self, image: np.ndarray, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (K, 4), x0, y0, x1, y1 in pixels, and scores (K,) of what ``text`` names; best first, maybe none.

        image: (H, W, 3) uint8 RGB; text: one noun phrase, such as "a cat"
        raises: PromptError for empty text
        """
        words = " ".join(text.split())
        if not words:
            raise PromptError('the text is empty; name what to find, for example "a cat"')
        height, width = image.shape[:2]
        grounding = "grounding" in self.model.config.model_type
        asked = words.lower().rstrip(".") + "." if grounding else [[words]]
        inputs = self.processor(images=image, text=asked, return_tensors="pt").to(self.model.device)
        outputs = self.model(**inputs)
        more = {"input_ids": inputs["input_ids"], "text_threshold": 0.0} if grounding else {}
        (found,) = self.processor.post_process_grounded_object_detection(
            outputs, threshold=self.threshold, target_sizes=[(height, width)], **more
        )
        boxes = found["boxes"].float().cpu().numpy().reshape(-1, 4).clip(0, [width, height, width, height])
        scores = found["scores"].float().cpu().numpy().reshape(-1)
        real = (boxes[:, 2] - boxes[:, 0] >= 1) & (boxes[:, 3] - boxes[:, 1] >= 1)
        boxes, scores = boxes[real], scores[real]
        keep = nms(boxes, scores, OVERLAP) if len(boxes) else []
        order = sorted(keep, key=lambda i: -scores[i])
        return boxes[order], scores[order]

    def best(self, image: np.ndarray, text: str) -> np.ndarray:
        """The best box, (4,). raises: PromptError if no box reaches the threshold"""
        boxes, _ = self.find(image, text)
        if not len(boxes):
            raise PromptError(
                f"the detector finds nothing in the image for {text!r}; use other words or a lower threshold"
            )
        return boxes[0]


@dataclass
class ClipText:
    """A CLIP embedding of a text, as the prompt of a model with a text projection.

    model: ``transformers.CLIPModel``; tokenizer: its own
    """

    model: Any
    tokenizer: Any

    @classmethod
    def from_pretrained(cls, name: str, device: str | torch.device = "cpu") -> "ClipText":
        """name: a folder or a Hub repository; raises ModelNotFoundError when it cannot be loaded"""
        from transformers import CLIPTokenizer

        return cls(load_clip(name).to(device).eval(), _loaded(CLIPTokenizer, name, "CLIP"))

    @torch.no_grad()
    def embed(self, text: str) -> Tensor:
        """(1, 1, D)

        raises: PromptError for empty text
        """
        if not text.strip():
            raise PromptError('the text is empty; name what to find, for example "a cat"')
        inputs = self.tokenizer([text], return_tensors="pt", truncation=True).to(self.model.device)
        hidden = self.model.text_model(**inputs).pooler_output
        return self.model.text_projection(hidden)[None]


def load_clip(name: str) -> Any:
    """A CLIP of ``transformers``, by folder or Hub repository; ModelNotFoundError when it cannot be loaded."""
    from transformers import CLIPModel

    return _loaded(CLIPModel, name, "CLIP")


def _loaded(of: Any, name: str, kind: str) -> Any:
    check_reachable(name)
    try:
        return of.from_pretrained(name)
    except (OSError, ValueError) as e:
        why = str(e).splitlines()[0]
        raise ModelNotFoundError(
            f"the {kind} {name} could not be loaded ({why}); give the folder or Hub id of one, or connect to the Hub"
        ) from e
