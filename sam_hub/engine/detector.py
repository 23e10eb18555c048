"""Confident masks from a detector (paper, section 4, "Semi-automatic stage"): it is trained on the accepted masks as
one class, "object", and the current round's model turns its boxes into masks.

Any detector of ``transformers`` (``AutoModelForObjectDetection``) works: DETR, RT-DETR, YOLOS, ...
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoModelForObjectDetection

from ..data.sa1b import Sample
from ..errors import ModelNotFoundError, TrainingError
from ..evaluation.clicks import tight_box
from ..evaluation.metrics import mask_iou
from ..evaluation.prompting import ask
from ..inference.devices import pick_device
from ..inference.image_predictor import ImagePredictor
from ..ops.boxes import nms
from ..ops.masks import mask_to_rle
from ..ops.run_lengths import rle_to_mask
from .proposals import RIGHT

NMS = 0.7
MOST = 300
"""Maximum number of boxes for one photo."""

SCORES = tuple(np.round(np.arange(0.05, 1.0, 0.05), 2).tolist())


@dataclass(frozen=True)
class DetectorTraining:
    """rate: learning rate of AdamW for all weights (DETR's fine-tuning rate); batch: photos per step"""

    steps: int = 300
    rate: float = 1e-4
    batch: int = 2
    seed: int = 0


class Detector:
    """A detector with one class, "object".

    name: Hub id or folder
    raises: ModelNotFoundError if it cannot be loaded as a detector
    """

    def __init__(self, name: str, device: str | None = None) -> None:
        self.device = pick_device(device)
        torch.manual_seed(0)  # of the new head
        try:
            self.processor = AutoImageProcessor.from_pretrained(name)
            self.model = AutoModelForObjectDetection.from_pretrained(
                name, num_labels=1, id2label={0: "object"}, label2id={"object": 0}, ignore_mismatched_sizes=True
            ).to(self.device)
        except (OSError, ValueError, KeyError) as e:
            first = (str(e).strip().splitlines() or [type(e).__name__])[0]
            raise ModelNotFoundError(
                f"{name} cannot be loaded as a detector ({first}); choose another from transformers"
            ) from e

    def fit(
        self,
        samples: Sequence[Sample],
        training: DetectorTraining = DetectorTraining(),
        say: Callable[[str], None] = lambda text: None,
    ) -> list[float]:
        """Train on the boxes of annotated photos; returns: the loss of each step. raises: TrainingError"""
        torch.manual_seed(training.seed)
        rng = np.random.default_rng(training.seed)
        optimizer = torch.optim.AdamW(self.model.parameters(), training.rate, weight_decay=1e-4)
        self.model.train()
        losses = []
        for step in range(1, training.steps + 1):
            chosen = [samples[int(i)] for i in rng.integers(len(samples), size=training.batch)]
            batch = self.processor(
                images=[s.image for s in chosen],
                annotations=[_coco(s, number) for number, s in enumerate(chosen)],
                return_tensors="pt",
            ).to(self.device)
            loss = self.model(**batch).loss
            if not torch.isfinite(loss):
                raise TrainingError("the detector's loss is not finite; use another detector or a lower learning rate")
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 0.1)
            optimizer.step()
            losses.append(float(loss.detach()))
            if step % 50 == 0 or step == training.steps:
                say(f"detector: step {step}/{training.steps}  loss {np.mean(losses[-50:]):.3f}")
        self.model.eval()
        return losses

    @torch.no_grad()
    def boxes(self, image: np.ndarray, least: float = SCORES[0]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (N, 4) XYXY in pixels and scores (N,), by descending score, after NMS."""
        height, width = image.shape[:2]
        batch = self.processor(images=image, return_tensors="pt").to(self.device)
        sizes = torch.tensor([[height, width]])
        (found,) = self.processor.post_process_object_detection(self.model(**batch), least, sizes)
        boxes = found["boxes"].float().cpu().numpy().clip(0, [width, height, width, height])
        scores = found["scores"].float().cpu().numpy()
        wide = (boxes[:, 2:] - boxes[:, :2] >= 2).all(1)
        boxes, scores = boxes[wide], scores[wide]
        kept = nms(boxes, scores, NMS)[:MOST]
        return boxes[kept], scores[kept]


def masks_of(detector: Detector, predictor: ImagePredictor, image: np.ndarray, least: float) -> list[dict[str, Any]]:
    """Records: ``segmentation`` (compressed RLE), ``score`` of the box, ``predicted_iou`` of the mask, ``box`` XYXY."""
    boxes, scores = detector.boxes(image, least)
    if not len(boxes):
        return []
    predictor.set_image(image)
    records = []
    for at in range(0, len(boxes), 16):
        answer = ask(predictor, boxes=boxes[at : at + 16])
        for mask, iou, box, score in zip(
            answer.masks[:, 0], answer.scores[:, 0], boxes[at : at + 16], scores[at : at + 16], strict=True
        ):
            if mask.any():
                records.append(
                    {
                        "segmentation": mask_to_rle(mask),
                        "score": float(score),
                        "predicted_iou": float(iou),
                        "box": [round(float(v), 1) for v in box],
                    }
                )
    return records


@dataclass(frozen=True)
class BoxConfidence:
    """The score threshold for boxes and the precision it reaches; see `proposals.Confidence`."""

    score: float
    precision: float
    kept: int
    held_precision: float | None
    held_kept: int

    def words(self) -> str:
        held = "none are annotated" if self.held_precision is None else f"{self.held_precision:.2f} of {self.held_kept}"
        return (
            f"boxes with a score >= {self.score:.2f}: {self.precision:.2f} of {self.kept} masks are right on annotated "
            f"photos; on photos held out, {held}"
        )


def score_for(
    detector: Detector,
    predictor: ImagePredictor,
    learnt: Sequence[Sample],
    held: Sequence[Sample],
    precision: float = 0.8,
    most: int = 16,
) -> BoxConfidence:
    """The score threshold with most correct masks at ``precision``, or else the most precise one.

    most: number of photos used of each set
    """
    table, held_table = (_judged(detector, predictor, samples, most) for samples in (learnt, held))
    best, best_rank = SCORES[-1], (-1.0, -1.0)
    for score in SCORES:
        kept = table[table[:, 0] >= score, 1]
        if len(kept) < 3:
            continue
        rank = (1.0, float(kept.sum())) if kept.mean() >= precision else (0.0, float(kept.mean()))
        if rank > best_rank:
            best, best_rank = score, rank
    mine, theirs = (t[t[:, 0] >= best, 1] for t in (table, held_table))
    return BoxConfidence(
        best,
        float(mine.mean()) if len(mine) else 0.0,
        len(mine),
        float(theirs.mean()) if len(theirs) else None,
        len(theirs),
    )


def _judged(detector: Detector, predictor: ImagePredictor, samples: Sequence[Sample], most: int) -> np.ndarray:
    """(N, 2): score, and whether the mask is correct."""
    rows = []
    for index in range(min(most, len(samples))):
        sample = samples[index]
        truths = [sample.mask(i) for i in range(len(sample.annotations))]
        for record in masks_of(detector, predictor, sample.image, SCORES[0]) if truths else ():
            mask = rle_to_mask(record["segmentation"])
            rows.append((record["score"], max(float(mask_iou(mask, truth)) for truth in truths) >= RIGHT))
    return np.array(rows, float).reshape(-1, 2)


def _coco(sample: Sample, number: int) -> dict[str, Any]:
    """The boxes of a sample in the COCO format that detector processors expect."""
    annotations = []
    for i in range(len(sample.annotations)):
        mask = sample.mask(i)
        if mask.any():
            x0, y0, x1, y1 = tight_box(mask)
            box = [x0, y0, x1 - x0, y1 - y0]
            annotations.append(
                {"id": i, "image_id": number, "category_id": 0, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            )
    return {"image_id": number, "annotations": annotations}
