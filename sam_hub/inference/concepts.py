"""Concept prompts: every instance of a text or of example boxes, by a model trained for it (SAM 3)."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import HubError, ModelNotFoundError, PromptError
from ..families import registry
from ..hub.download import check_reachable
from ..models.modeling_sam import SamModel
from ..ops.images import normalize_and_pad, stretch
from ..ops.prompts import as_floats, check_box

THRESHOLD = 0.5
"""The lowest score of an instance, as in the authors' processor; ``transformers`` uses 0.3."""

TOKENS = 32
"""Tokens of a text, including start and end; longer texts are cut."""

VISUAL = "visual"
"""The text used when there are only example boxes."""

TOKENIZER = "openai/clip-vit-base-patch32"
"""The same vocabulary, for files without a tokenizer."""

TOKENIZER_FILES = ("tokenizer.json", "vocab.json")

MEAN = STD = (0.5, 0.5, 0.5)
KEPT_TEXTS = 64


@dataclass(frozen=True)
class Instances:
    """All instances of a concept in one image, best first; there may be none.

    masks: (K, H, W) bool
    scores: (K,) float32, 0..1: the probability that the concept is present, times that of the instance
    boxes: (K, 4) float32, x0, y0, x1, y1 in pixels of the image
    """

    masks: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[tuple[np.ndarray, float, np.ndarray]]:
        """Mask, score and box of each."""
        return iter(zip(self.masks, self.scores.tolist(), self.boxes, strict=True))


@dataclass
class ConceptFinder:
    """Finds instances of concepts in images.

    model: of a family's ``concepts``, in evaluation mode; tokenizer: CLIP's
    threshold: the lowest score of an instance

    The feature maps of the last image and the embeddings of recent texts are cached.
    """

    model: Any
    tokenizer: Any
    threshold: float = THRESHOLD
    _texts: OrderedDict = field(default_factory=OrderedDict, init=False, repr=False)
    _last: tuple[Any, list[Tensor]] | None = field(default=None, init=False, repr=False)

    @classmethod
    def from_pretrained(
        cls,
        name: str,
        device: str | torch.device = "cpu",
        tokenizer: str | None = None,
        backbone: nn.Module | None = None,
        threshold: float = THRESHOLD,
        **options: Any,
    ) -> "ConceptFinder":
        """Load a model that takes text: a catalogue name, a folder, ``sam3.pt`` or a Hub repository.

        tokenizer: a folder or Hub repository with CLIP's; default: the model's, or `TOKENIZER` if it has none
        backbone: the ViT of a click predictor with the same weights, to share its memory and its embeddings
        threshold: the lowest score of an instance
        other arguments: as in ``transformers`` (revision, subfolder, token, cache_dir, dtype, ...)
        raises: ModelNotFoundError for a model that takes no text; HubError; CheckpointError
        """
        dtype = options.pop("dtype", None)
        model = load_concepts(name, **options)
        if backbone is not None:
            model.vision_encoder.backbone = backbone
            dtype = next(backbone.parameters()).dtype
        words = load_tokenizer(tokenizer) if tokenizer else own_tokenizer(model)
        return cls(model.to(device, dtype).eval(), words, threshold)

    def find(
        self,
        image: np.ndarray,
        text: str | None = None,
        boxes: Any = None,
        labels: Any = None,
        threshold: float | None = None,
    ) -> Instances:
        """Every instance of a concept in an image, (H, W, 3) uint8 RGB; see `find_in`.

        If it is the last image again, it is not encoded again.
        """
        pixels = hashlib.sha256(np.ascontiguousarray(image)).digest()
        key = (pixels, image.shape, *self._place())
        maps = self._maps(key, lambda: self._encode(image))
        return self.find_in(maps, image.shape[:2], text, boxes, labels, threshold)

    def maps_of(self, trunk: Tensor) -> list[Tensor]:
        """The feature maps that `find_in` needs, from the ViT's output (1, D, h, w)."""
        if self._place() != (trunk.device, trunk.dtype):  # a click predictor was moved or cast
            self.model.to(trunk.device, trunk.dtype)
        return self._maps(trunk, lambda: self.model.maps(trunk=trunk))

    @torch.no_grad()
    def find_in(
        self,
        maps: Sequence[Tensor],
        size: tuple[int, int],
        text: str | None = None,
        boxes: Any = None,
        labels: Any = None,
        threshold: float | None = None,
    ) -> Instances:
        """Every instance of a concept.

        maps: of `maps_of`; size: (H, W) of the image
        text: a noun phrase, such as "cat with black ears"
        boxes: (K, 4) examples, x0, y0, x1, y1 in pixels of the image; labels: (K,), 1 (default) or 0, a counterexample
        threshold: the lowest score, instead of the finder's
        raises: PromptError without a text or an example box
        """
        examples, kinds = self._read_boxes(boxes, labels, size)
        words, mask = self.embed(self._read_text(text, kinds))
        output = self.model(
            vision_embeds=maps,
            text_embeds=words,
            attention_mask=mask,
            input_boxes=examples,
            input_boxes_labels=kinds,
        )
        scores = (output.pred_logits.float().sigmoid() * output.presence_logits.float().sigmoid())[0]  # (Q,)
        order = scores.argsort(descending=True, stable=True)
        order = order[scores[order] > (self.threshold if threshold is None else threshold)]
        height, width = size
        limits = torch.tensor([width, height, width, height], device=order.device)
        found = (output.pred_boxes[0, order].float().clamp(0, 1) * limits).cpu().numpy()
        return Instances(enlarged(output.pred_masks[0, order].float(), size), scores[order].cpu().numpy(), found)

    @torch.no_grad()
    def embed(self, text: str) -> tuple[Tensor, Tensor]:
        """(1, 32, C), and (1, 32) int64, 0 at padding."""
        state = (text, *self._place())
        if state not in self._texts:
            inputs = self.tokenizer(
                [text], padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt"
            ).to(self.model.device)
            self._texts[state] = self.model.embed_text(**inputs), inputs["attention_mask"]
            if len(self._texts) > KEPT_TEXTS:
                self._texts.popitem(last=False)
        return self._texts[state]

    def _place(self) -> tuple[torch.device, torch.dtype]:
        """Device and type of the parts that only the finder uses; the ViT may be shared."""
        own = next(self.model.vision_encoder.neck.parameters())
        return own.device, own.dtype

    def _maps(self, key: Any, make: Any) -> list[Tensor]:
        last = self._last
        if last is None or not (last[0] is key if isinstance(key, Tensor) else last[0] == key):
            with torch.no_grad():
                last = self._last = (key, make())
        return last[1]

    def _encode(self, image: np.ndarray) -> list[Tensor]:
        side = self.model.config.vision_config.image_size
        values = normalize_and_pad(stretch(image, side), MEAN, STD, None)
        return self.model.maps(torch.from_numpy(values[None]).to(self.model.device))

    def _read_text(self, text: str | None, kinds: Tensor | None) -> str:
        if text is None:
            if kinds is None:
                raise PromptError('no prompt given; give a text, such as "a cat", or example boxes')
            if not bool((kinds == 1).any()):
                raise PromptError("every example box has label 0; give a text, or a box with label 1")
            return VISUAL
        words = " ".join(text.split())
        if not words:
            raise PromptError('the text is empty; name what to find, for example "a cat"')
        return words

    def _read_boxes(self, boxes: Any, labels: Any, size: tuple[int, int]) -> tuple[Tensor | None, Tensor | None]:
        """Boxes as centre and size in 0..1, (1, K, 4) float32, and labels (1, K) int64; or None twice."""
        if boxes is None:
            if labels is not None:
                raise PromptError("labels were given without boxes; give the boxes that they belong to")
            return None, None
        corners = as_floats(boxes, "boxes", (1, 2))
        if corners.size % 4 or corners.shape[-1] != 4:
            raise PromptError(f"boxes must be (K, 4), x0, y0, x1, y1; got {corners.shape}")
        corners = np.stack([check_box(box, size) for box in corners.reshape(-1, 4)])
        kinds = np.ones(len(corners)) if labels is None else as_floats(labels, "labels", (1,))
        if kinds.shape != (len(corners),) or not np.isin(kinds, (0, 1)).all():
            raise PromptError("labels must be 1 (an example) or 0 (a counterexample) for each box")
        height, width = size
        corners = corners / (width, height, width, height)
        centred = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
        device = self.model.device
        return (
            torch.from_numpy(centred[None]).to(*self._place()),
            torch.from_numpy(kinds[None].astype(np.int64)).to(device),
        )


def enlarged(logits: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Low-res logits (K, h, w) -> masks (K, H, W) bool; one mask is resized at a time, as logits."""
    masks = np.empty((len(logits), *size), bool)
    for mask, low in zip(masks, logits, strict=True):
        mask[...] = (F.interpolate(low[None, None], size, mode="bilinear")[0, 0] > 0).cpu().numpy()
    return masks


def words_of(model: SamModel) -> ConceptFinder:
    """The text part of the model that a click predictor was loaded from; they share one ViT.

    raises: PromptError for a model that was not loaded; ModelNotFoundError if the text part or its tokenizer is missing
    """
    source = model.original_file or model.name_or_path
    if not source:
        raise PromptError("this model was not loaded from weights, so it has no text part; give a ConceptFinder")
    return ConceptFinder.from_pretrained(
        source, model.device, backbone=model.vision_encoder.backbone, **model.loaded_from
    )


def words_to_write(model: SamModel) -> ConceptFinder:
    """`words_of` a loaded model, for saving; its tokenizer is None if none can be loaded.

    raises: CheckpointError, HubError
    """
    concepts = load_concepts(model.original_file or model.name_or_path, **model.loaded_from)
    concepts.vision_encoder.backbone = model.vision_encoder.backbone
    try:
        tokenizer = own_tokenizer(concepts)
    except (HubError, ModelNotFoundError):
        tokenizer = None
    return ConceptFinder(concepts.to(model.device, model.dtype).eval(), tokenizer)


def load_concepts(name: str, **options: Any) -> Any:
    """The concept model of a family that has one; raises as `ConceptFinder.from_pretrained` does."""
    kinds = [family.concepts for family in registry.families() if family.concepts]
    return registry.load(kinds[0]).from_pretrained(name, **options)


def own_tokenizer(model: Any) -> Any:
    """The tokenizer of a concept model, or `TOKENIZER` for a file or a folder without one.

    raises: ModelNotFoundError if there is none
    """
    folder = Path(model.tokenizer_place)
    lacks_it = folder.is_dir() and not any((folder / name).is_file() for name in TOKENIZER_FILES)
    if not model.tokenizer_place or lacks_it:
        return load_tokenizer(TOKENIZER)
    return load_tokenizer(model.tokenizer_place, **model.tokenizer_options)


def load_tokenizer(name: str, **where: Any) -> Any:
    """where: its revision, token, ...; raises: ModelNotFoundError if there is none"""
    from transformers import CLIPTokenizer

    advice = "give the folder or Hub id of one that has CLIP's"
    check_reachable(str(name), **where)
    try:
        tokenizer = CLIPTokenizer.from_pretrained(name, **where)
    except (OSError, ValueError, TypeError) as e:
        why = str(e).splitlines()[0] if str(e) else type(e).__name__
        raise ModelNotFoundError(f"the tokenizer in {name} could not be loaded ({why}); {advice}") from e
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # without a file, transformers returns an empty tokenizer
        raise ModelNotFoundError(f"there is no tokenizer in {name}; {advice}")
    return tokenizer
