"""Runs exported ONNX files for the gate: either layout, on the CPU."""

from pathlib import Path
from typing import Any

import numpy as np

from ....inference.runtime import OnnxModel, open_session
from ....ops.preparation import Prepared
from ...manifest import Artefact
from ...proof import Answer, Prompt


def open_runner(folder: Path, artefact: Artefact) -> "TransformersJsRunner | MetaRunner":
    """The runner of an artefact in a bundle. raises: BundleError, CheckpointError"""
    encoder, decoder = (folder / artefact.file(role).path for role in ("encoder", "decoder"))
    if artefact.layout != "transformersjs":
        return MetaRunner(encoder, decoder, artefact.file("decoder").facts["masks"])
    return TransformersJsRunner(encoder, decoder, artefact.file("encoder").facts.get("points_scale", 1.0))


class TransformersJsRunner:
    """points_scale: prompts' frame / size of the input, as this contract uses pixels of the input"""

    masks = "all"

    def __init__(self, encoder: Path, decoder: Path, points_scale: float = 1.0) -> None:
        self.model = OnnxModel(encoder, decoder)
        self.points_scale = points_scale
        self.runtime = self.model.runtime

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        return self.model.encode(image)

    def decode(self, embedded: dict[str, np.ndarray], prompt: Prompt) -> Answer:
        points = (prompt.points / self.points_scale).astype(np.float32)
        found = self.model.decode(embedded, points[None], prompt.labels[None], prompt.mask_input)
        masks, scores = (
            np.concatenate([found[single][0, 0], found[many][0, 0]])
            for single, many in (("single_pred_mask", "pred_masks"), ("single_iou_score", "iou_scores"))
        )
        return Answer(masks, scores)


class MetaRunner:
    """Calls the decoder as the original's notebook does, and adds its (0, 0, -1) if there is no box."""

    def __init__(self, encoder: Path, decoder: Path, masks: str) -> None:
        self.encoder, self.decoder = open_session(encoder), open_session(decoder)
        self.masks = {"single": "chosen"}.get(masks, masks)
        self.inputs = {i.name: i for i in self.decoder.get_inputs()}
        import onnxruntime

        self.runtime = f"onnxruntime {onnxruntime.__version__}, CPUExecution"

    def encode(self, image: Prepared) -> dict[str, Any]:
        fed = self.encoder.get_inputs()[0]
        levels = image.resized.astype(np.float32) if "float" in fed.type else image.resized
        found = self.encoder.run(None, {fed.name: levels if fed.name == "image" else image.pixel_values})
        named = dict(zip((o.name for o in self.encoder.get_outputs()), found, strict=True))
        return {**named, "orig_im_size": np.array(image.original_size, np.float32)}

    def decode(self, embedded: dict[str, Any], prompt: Prompt) -> Answer:
        points, labels = prompt.points, prompt.labels.astype(np.float32)
        if not (prompt.labels >= 2).any():
            points = np.concatenate([points, np.zeros((1, 2), np.float32)])
            labels = np.append(labels, np.float32(-1))
        fed = {**embedded, "point_coords": points[None], "point_labels": labels[None]}
        if "mask_input" in self.inputs:
            blank = np.zeros([int(d) for d in self.inputs["mask_input"].shape], np.float32)
            fed["mask_input"] = blank if prompt.mask_input is None else prompt.mask_input
            fed["has_mask_input"] = np.array([prompt.mask_input is not None], np.float32)
        if "orig_im_size" in self.inputs and "int32" in self.inputs["orig_im_size"].type:
            fed["orig_im_size"] = fed["orig_im_size"].astype(np.int32)
        fed = {name: value for name, value in fed.items() if name in self.inputs}
        scores, low_res = self.decoder.run(["iou_predictions", "low_res_masks"], fed)
        return Answer(low_res[0], scores[0])
