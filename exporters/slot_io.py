"""Inputs and outputs of files with fixed prompt slots: names, descriptions, filling and reading."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ExportError, PromptError
from ..models.configuration_sam import PAD_LABEL
from .proof import Answer, Prompt

SLOTS = 16
"""Default number of slots; a box takes two."""

FEWEST_SLOTS = 8

PROMPTS = ("points", "labels", "mask_input", "has_mask_input")
EMBEDDED = ("sparse_embeddings", "dense_embeddings", "token_mask")
RESULTS = ("low_res_masks", "scores", "single_mask", "single_score")
"""The last two are absent if the token of the single mask was not trained."""

MEANINGS = {
    "image": "RGB photo at the top left, its long side resized to the input's; the rest filled with the mean colour",
    "pixel_values": "photo, its long side resized to the input's, normalised, then padded with zeros",
    "image_embedding": "what the mask decoder reads; the same for every prompt on the image",
    "points": "x then y, in pixels of the padded frame; clicks, then the two corners of a box",
    "labels": "1 object, 0 background, 2 and 3 top-left and bottom-right corner of a box, -10 empty slot",
    "mask_input": "low_res_masks of a step before; zeros where there is none",
    "has_mask_input": "1 where mask_input counts, else 0",
    "sparse_embeddings": "a token for each slot, and one for 'not a point'",
    "dense_embeddings": "the mask prompt",
    "token_mask": "0 where a token counts; it is added to the logits of attention",
    "low_res_masks": "logits of three masks, for a prompt that is ambiguous, such as one click; above 0 is object",
    "scores": "predicted IoU of each of low_res_masks",
    "single_mask": "logits of one mask, for a prompt that is not ambiguous, such as a box",
    "single_score": "predicted IoU of single_mask",
}
"""Descriptions of inputs and outputs, for the files and the manifest."""


def meaning(name: str) -> str:
    """Description of an input or output; any name without an entry is a feature map of the encoder."""
    return MEANINGS.get(name, "a finer map of the image, for the mask decoder; the same for every prompt")


def slot_count(options: Mapping[str, Any]) -> int:
    """``slots`` from an export's options. raises: ExportError for too few"""
    slots = int(options.get("slots") or SLOTS)
    if slots < FEWEST_SLOTS:
        raise ExportError(f"--slots must be {FEWEST_SLOTS} at least, as many as the proof needs; got {slots}")
    return slots


def in_slots(prompt: Prompt, slots: int, mask_shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """A prompt as the inputs of a file, by the names of `PROMPTS`.

    raises: PromptError if there are more points than slots
    """
    count = len(prompt.points)
    if count > slots:
        raise PromptError(f"{count} points do not fit the {slots} slots of this file; export it with more --slots")
    points = np.zeros((1, slots, 2), np.float32)
    labels = np.full((1, slots), PAD_LABEL, np.int32)
    points[0, :count], labels[0, :count] = prompt.points, prompt.labels
    mask = np.zeros(mask_shape, np.float32) if prompt.mask_input is None else prompt.mask_input
    has_mask = np.array([prompt.mask_input is not None], np.float32)
    return dict(zip(PROMPTS, (points, labels, mask, has_mask), strict=True))


def answer_of(outputs: Mapping[str, np.ndarray]) -> Answer:
    """The outputs of a mask decoder, by the names of `RESULTS`; the single mask first, if there is one."""
    order = [(m, s) for m, s in (RESULTS[2:], RESULTS[:2]) if m in outputs]
    low_res, scores = (np.concatenate([np.float32(outputs[pair[i]][0]) for pair in order]) for i in (0, 1))
    return Answer(low_res, scores)
