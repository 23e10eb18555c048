"""The gate: every exported file is run and compared with PyTorch in fp32 before it is kept.

A `Runner` runs the files. `prove` compares its results with those of a `Proof`; above the tolerance of format and
variant, or for numbers that are not finite, it raises, and the export leaves nothing behind.
"""

from dataclasses import asdict, dataclass
from typing import Any, Protocol

import cv2
import numpy as np

from ..errors import SamHubError
from ..ops.preparation import Prepared
from .format import Tolerance
from .proof import Answer, Prompt, Proof

NOT_ON_DEVICE = "evaluated, not run on device"
"""Marks, in `Runner.runtime`, a runner that emulates a device: its times mean nothing."""


class ExportMismatch(SamHubError, ValueError):
    """An exported file's results differ from the model's."""


class Runner(Protocol):
    """Runs the files of one artefact.

    masks: which of the model's masks `decode` returns: "single", "multi", "all" (single first, then multi), or
        "chosen", the one of all that the original's ONNX decoder returns with ``return_single_mask``
    runtime: what runs it, for the manifest: "onnxruntime 1.23.0, CPU"
    """

    masks: str
    runtime: str

    def encode(self, image: Prepared) -> Any:
        """Run the image encoder on ``image.pixel_values`` (1, 3, H, W) float32, or on ``image.resized`` (h, w, 3) uint8
        if the file normalises and pads. Returns the input of `decode`.
        """
        ...

    def decode(self, embedded: Any, prompt: Prompt) -> Answer:
        """Run prompt encoder and mask decoder; see `Prompt` for the frame of points and for "not a point"."""
        ...


@dataclass(frozen=True)
class Report:
    """Measured differences; the names are those of `Tolerance`.

    worst: photo and kind of prompt of the lowest IoU
    """

    prompts: int
    masks: int
    difference: float
    cosine: float
    iou_mean: float
    iou_worst: float
    score: float
    worst: str

    def facts(self, tolerance: Tolerance) -> dict[str, Any]:
        """For the manifest."""
        return {"passed": not self.faults(tolerance), **asdict(self), "tolerance": asdict(tolerance)}

    def faults(self, tolerance: Tolerance) -> list[str]:
        """The numbers out of tolerance, in words; NaN always is."""
        checks = {
            "logits differ by": (self.difference, self.difference <= tolerance.difference, tolerance.difference),
            "cosine is": (self.cosine, self.cosine >= tolerance.cosine, tolerance.cosine),
            "mean mask IoU is": (self.iou_mean, self.iou_mean >= tolerance.iou_mean, tolerance.iou_mean),
            "worst mask IoU is": (self.iou_worst, self.iou_worst >= tolerance.iou_worst, tolerance.iou_worst),
            "scores differ by": (self.score, self.score <= tolerance.score, tolerance.score),
        }
        return [f"{what} {seen:.6g}, accepted is {limit:g}" for what, (seen, fine, limit) in checks.items() if not fine]


def prove(runner: Runner, proof: Proof, tolerance: Tolerance, name: str) -> Report:
    """Compare a runner with a proof.

    name: of the artefact, for the message
    raises: ExportMismatch
    """
    report = compare(runner, proof, tolerance.score)
    if faults := report.faults(tolerance):
        raise ExportMismatch(
            f"{name} does not compute what the model does: {'; '.join(faults)} (worst: {report.worst}); "
            "nothing was kept: choose another --variant, or report this"
        )
    return report


def compare(runner: Runner, proof: Proof, tie: float = 0.0) -> Report:
    """Measure the differences, without judging them.

    tie: a file that chooses a mask itself may choose one whose predicted IoU is below the best by this much
    """
    differences, cosines, scores, ious, names, masks = [], [], [], [], [], 0
    for case in proof.cases:
        embedded = runner.encode(case.image)
        for prompt, reference in zip(case.prompts, case.answers, strict=True):
            found = runner.decode(embedded, prompt)
            expected = selected(reference, runner.masks, prompt, found, tie)
            if found.low_res.shape != expected.low_res.shape or found.scores.shape != expected.scores.shape:
                raise ExportMismatch(
                    f"masks and scores have the shapes {found.low_res.shape} and {found.scores.shape}, "
                    f"expected were {expected.low_res.shape} and {expected.scores.shape}"
                )
            a, b = (np.asarray(x.low_res, np.float64).reshape(len(x.low_res), -1) for x in (found, expected))
            with np.errstate(invalid="ignore", over="ignore"):
                differences.append((np.abs(a - b).max(-1) / np.abs(b).max(-1).clip(min=1e-12)).max())
                cosines.append(((a * b).sum(-1) / (np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1))).min())
                scores.append(np.abs(found.scores.astype(np.float64) - expected.scores).max())
            frame, which = case.image.frame_size, wanted(expected, runner.masks, prompt)
            ious.append(mask_ious(found.low_res[which], expected.low_res[which], proof.padded_frame, frame))
            masks += len(expected.scores)
            names.append(f"{case.name}, {prompt.kind}")
    lowest = [iou.min() for iou in ious]
    return Report(
        prompts=len(ious),
        masks=masks,
        difference=float(np.max(differences)),  # NaN propagates in these
        cosine=float(np.min(cosines)),
        iou_mean=float(np.mean(np.concatenate(ious))),
        iou_worst=float(np.min(lowest)),
        score=float(np.max(scores)),
        worst=names[int(np.argmin(lowest))],
    )


def selected(answer: Answer, masks: str, prompt: Prompt, found: Answer, tie: float) -> Answer:
    """The reference masks to compare a runner with: see `Runner.masks`; of tied masks, the one that it chose."""
    if masks == "chosen" and len(answer.scores) > 2:
        tokens = len(prompt.labels) + (not (prompt.labels >= 2).any())
        first = np.arange(len(answer.scores)) == 0
        ranking = answer.scores + (tokens - 2.5) * 1000 * first
        best = int(np.argmax(ranking))
        if found.low_res.shape[1:] == answer.low_res.shape[1:]:
            tied = np.flatnonzero(ranking >= ranking[best] - tie)
            best = int(min(tied, key=lambda i: np.abs(found.low_res - answer.low_res[i]).max()))
        part = slice(best, best + 1)
    else:
        part = {"multi": slice(1, None), "all": slice(None)}.get(masks, slice(0, 1))
    return Answer(answer.low_res[part], answer.scores[part])


def wanted(expected: Answer, masks: str, prompt: Prompt) -> slice:
    """The mask that users get: for a single click the best of three by predicted IoU, else the single mask."""
    lone = len(prompt.labels) == 1 and prompt.mask_input is None
    if masks == "all" and len(expected.scores) == 4 and not lone:
        return slice(0, 1)
    first = 1 if masks == "all" else 0
    best = first + int(np.argmax(expected.scores[first:]))
    return slice(best, best + 1)


def mask_ious(a: np.ndarray, b: np.ndarray, padded: tuple[int, int], frame: tuple[int, int]) -> np.ndarray:
    """IoU of two stacks of low-res logits (M, h, w), resized to the model's input and cropped to the image: (M,).

    The IoU is 1 for two empty masks and 0 for logits that are not finite.
    """
    out = []
    for one, other in zip(a, b, strict=True):
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            out.append(0.0)
            continue
        large = [
            cv2.resize(np.ascontiguousarray(x, np.float32), padded[::-1], interpolation=cv2.INTER_LINEAR)
            for x in (one, other)
        ]
        p, q = (x[: frame[0], : frame[1]] > 0 for x in large)
        union = np.count_nonzero(p | q)
        out.append(np.count_nonzero(p & q) / union if union else 1.0)
    return np.array(out)
