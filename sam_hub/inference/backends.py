"""The protocol that torch, ONNX files and other formats implement for `ImagePredictor`.

Arrays are numpy's on both sides, float32 unless stated otherwise. Sizes are (height, width). A subclass of `Backend`
implements `encode` and `decode` and sets the two attributes.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..families.family import PROMPT_KINDS
from ..ops.masks import stability_score
from ..ops.preparation import Preparation, Prepared
from ..ops.prompts import PAD_LABEL
from .upsample import MaskFrame, enlarge

Select = Callable[[np.ndarray], np.ndarray]
"""Scores (n, M) -> bool (n, M), the masks that are wanted."""


@dataclass(frozen=True)
class Capabilities:
    """What a predictor can do with a model, in any format; for a `SamModel` it follows from `ModelCapabilities`.

    prompt_kinds: those of `PROMPT_KINDS` it was trained on; others are refused
    rank_by: the score that ranks masks: "iou", the predicted one, or "stability" if that was not trained (EdgeSAM)
    multimask_count: masks for an ambiguous prompt; 1 for a model that chooses the mask itself (SAM-HQ)
    text: whether CLIP text embeddings can be prompts
    concepts: whether it finds every instance of a text
    hq_token: whether it can return SAM-HQ's own mask alone
    encoder: ``model_type`` of its image encoder, if known
    generation: its recommended arguments of `SamAutomaticMaskGenerator`, instead of the original's
    tidy: share of a mask's area; the command line and the page remove smaller specks and holes
    zoom: whether `sam-hub segment` looks again at the window around each object
    """

    prompt_kinds: Sequence[str] = PROMPT_KINDS
    rank_by: str = "iou"
    multimask_count: int = 3
    text: bool = False
    concepts: bool = False
    hq_token: bool = False
    encoder: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)
    tidy: float = 0.0
    zoom: bool = False


@dataclass(frozen=True)
class Prompts:
    """Prompts of N objects of one image, in pixels of the resized image (see `Preparation.size_in_frame`).

    points: (N, P, 2), x then y; labels: (N, P) int64, 1 object, 0 background, -1 not a point, -10 padding
    boxes: (N, 4), x0, y0, x1, y1
    masks: (N or 1, 1, h, w) low-res logits
    text: (1, N, D) CLIP embeddings
    """

    points: np.ndarray | None = None
    labels: np.ndarray | None = None
    boxes: np.ndarray | None = None
    masks: np.ndarray | None = None
    text: np.ndarray | None = None

    def __len__(self) -> int:
        """N; 1 if there is no prompt, which SAM accepts too."""
        for prompt in (self.points, self.boxes):
            if prompt is not None:
                return len(prompt)
        if self.text is not None:
            return self.text.shape[1]
        return 1 if self.masks is None else len(self.masks)

    def as_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Boxes as two points labelled 2 and 3, after the others: (N, P, 2) float32 and (N, P) int64.

        Objects without points or boxes get one padding point.
        """
        xy, labels = [], []
        if self.points is not None:
            xy.append(self.points)
            labels.append(self.labels)
        if self.boxes is not None:
            xy.append(self.boxes.reshape(-1, 2, 2))
            labels.append(np.tile([2, 3], (len(self.boxes), 1)))
        if not xy:
            xy, labels = [np.zeros((len(self), 1, 2))], [np.full((len(self), 1), PAD_LABEL)]
        return np.concatenate(xy, 1).astype(np.float32), np.concatenate(labels, 1).astype(np.int64)

    def one(self, index: int) -> "Prompts":
        """The prompt of one object, N = 1."""
        part = slice(index, index + 1)

        def pick(value: np.ndarray | None) -> np.ndarray | None:
            return value if value is None or len(value) == 1 else value[part]

        text = None if self.text is None else self.text[:, part]
        return Prompts(pick(self.points), pick(self.labels), pick(self.boxes), pick(self.masks), text)


class Backend(Protocol):
    """A model that encodes images and decodes prompts, in any format.

    preparation: how images are prepared for it
    capabilities: what it can do
    """

    preparation: Preparation
    capabilities: Capabilities
    photos_at_once: int = 1  # images in parallel, one per thread, that keep the cores busy; 1 if a single image does

    def encode(self, image: Prepared) -> Any:
        """Run the image encoder on ``image.pixel_values`` (1, 3, H, W), or on ``image.resized`` (h, w, 3) uint8 where
        normalising and padding are part of the model. The result is cached and must not be modified."""
        ...

    def decode(
        self, held: Any, prompts: Prompts, multimask_output: bool = True, hq_token_only: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Masks of N > 0 objects.

        held: the result of `hold` for an encoded image
        multimask_output: all masks of an ambiguous prompt, or one
        hq_token_only: only if `Capabilities.hq_token`
        returns: low-res logits (N, M, h, w), predicted IoU (N, M)
        """
        ...

    def hold(self, encoded: Any) -> Any:
        """Tensors that all prompts of an image share; computed when the image is set, and dropped with it."""
        return encoded

    def click_each(
        self, held: Any, points: np.ndarray, select: Select, frame: MaskFrame
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One click for each of N > 0 objects. Override it in a backend that need not compute every mask.

        points: (N, 2), x then y, in pixels of the resized image
        select: which masks are wanted
        frame: how masks map to the image; pixels outside it need not be computed
        returns: scores (N, M); the masks wanted, (K, 2) int object and mask, in that order; their low-res logits
            (K, h, w)
        """
        xy = points[:, None].astype(np.float32)
        low_res, scores = self.decode(held, Prompts(xy, np.ones(xy.shape[:2], np.int64)))
        scores = self.rank(low_res, scores)
        which = np.argwhere(select(scores))
        return scores, which, low_res[which[:, 0], which[:, 1]]

    def find(
        self, encoded: Any, size: tuple[int, int], text: str | None, boxes: Any, labels: Any, threshold: float | None
    ) -> Any:
        """Instances of a concept, as in `ImagePredictor.find`; only if `Capabilities.concepts`.

        encoded: what `encode` returned; size: (H, W) of the image
        """
        raise NotImplementedError

    @property
    def rank_by(self) -> str:
        """See `Capabilities.rank_by`."""
        return self.capabilities.rank_by

    def rank(self, low_res: np.ndarray, iou: np.ndarray) -> np.ndarray:
        """The scores that rank masks, (N, M): see `Capabilities.rank_by`."""
        return stability_score(low_res, 0.0, 1.0).astype(np.float32) if self.rank_by != "iou" else iou

    def enlarge(self, low_res: np.ndarray, frame: MaskFrame, return_logits: bool = False) -> np.ndarray:
        """Low-res logits (..., h, w) -> masks of the image (..., H, W) bool, or float32 logits."""
        return enlarge(low_res, frame, return_logits)

    def state(self) -> Hashable:
        """What embeddings depend on besides the image: another value invalidates cached ones; None forbids caching."""
        return ()

    def placement(self) -> Hashable:
        """Device and type of the weights; if they have changed since an image was encoded, it is encoded again."""
        return ()

    def identity(self) -> str:
        """A name that identifies these weights and this preparation; "" if there is none."""
        return ""

    def to_features(self, encoded: Any) -> Any:
        """What `encode` returned as one array (1, C, h, w), or the image embedding alone."""
        return self.to_arrays(encoded)["image_embeddings"]

    def from_features(self, features: Any) -> Any:
        """The inverse of `to_features`; PromptError if the decoder needs more than the embedding."""
        return self.from_arrays({"image_embeddings": features})

    def to_arrays(self, encoded: Any) -> dict[str, np.ndarray]:
        """What `encode` returned as named arrays, for a file."""
        raise NotImplementedError

    def from_arrays(self, arrays: Mapping[str, Any]) -> Any:
        """The inverse of `to_arrays`."""
        raise NotImplementedError

    @property
    def device(self) -> Any:
        """Where it runs, for messages and for other models on the same device."""
        return "cpu"
