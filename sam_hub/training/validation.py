"""Scores a model during and after training, by the protocol of `sam-hub eval`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..evaluation.evaluate import Protocol, evaluate_shard
from ..evaluation.report import summarise
from ..inference.predictor import SamPredictor
from ..models.image_processing_sam import SamImageProcessor
from ..models.modeling_sam import SamModel


class Validator:
    """Scores a model on held-out samples; a frozen encoder encodes them only once.

    ``miou`` is the mean of the 1-click and the box mIoU, or the one that the model supports.
    images: at most this many, drawn by the protocol's seed
    """

    def __init__(
        self, samples: Sequence, processor: SamImageProcessor, images: int | None = 32, max_objects: int = 8
    ) -> None:
        self.samples, self.processor = samples, processor
        self.protocol = Protocol(limit=images, max_objects=max_objects, baselines=False)
        self._predictor: SamPredictor | None = None

    def __call__(self, model: SamModel, track: Callable[[Sequence[int]], Iterable[int]] = iter) -> dict[str, Any]:
        """ "miou" and the scores named in `sam_hub.evaluation.report.METRICS`; None if not measured."""
        if self._predictor is None or self._predictor.model is not model:
            kept = min(len(self.samples), self.protocol.limit or len(self.samples))
            self._predictor = SamPredictor(model, self.processor, cache_size=kept)
        scores = evaluate_shard(self._predictor, self.samples, self.protocol, track)
        summary = summarise(scores.objects, self.protocol.clicks)
        headline = [summary[name] for name in ("click_1", "box") if summary[name] is not None]
        return {"miou": float(np.mean(headline)), **summary, "images": scores.images, "objects": len(scores.objects)}
