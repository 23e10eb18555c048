"""Layouts for the loaders of two annotation tools; both are the original's contract with other ends.

anylabeling: the encoder takes grey levels, float32 [H, W, 3]; of the decoder's three outputs the first mask is used
    (``anylabeling/services/auto_labeling/sam_onnx.py`` of AnyLabeling 0.4.43). A settings file is added.
cvat: the same encoder; the decoder's mask is cropped to its bounds, which are outputs too
    (``cvat-ui/plugins/sam/src/ts/inference.worker.ts`` of CVAT).

Both tools hard-code the original's sizes, so other models are refused.
"""

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto, TensorProto, helper

from ....errors import ExportError
from ....models.modeling_sam import SamModel
from ....ops.preparation import Preparation
from .ends import MASKS, Nodes

BOUNDS = ("xtl", "ytl", "xbr", "ybr")


@dataclass(frozen=True)
class Tool:
    """A tool and its hard-coded sizes.

    frame: side of the padded frame of points; embedding: (width, side) of the image embedding
    resizes: it resizes images to ``frame`` itself, so the encoder's input must be that large, too
    """

    title: str
    frame: int = 1024
    embedding: tuple[int, int] = (256, 64)
    resizes: bool = False


TOOLS = {"anylabeling": Tool("AnyLabeling", resizes=True), "cvat": Tool("CVAT")}
"""Layout -> the tool."""


def check_fit(model: SamModel, preparation: Preparation, layout: str) -> None:
    """raises: ExportError for a model that does not fit a tool"""
    tool, prompts = TOOLS[layout], model.config.prompt_encoder_config
    width, side = tool.embedding
    found = (prompts.hidden_size, prompts.image_embedding_size)
    faults = {
        "feeds the decoder one embedding and no further maps": bool(model.mask_decoder.feature_maps),
        "always feeds a mask prompt": "masks" not in prompts.prompt_kinds,
        "keeps the proportions of an image": preparation.resize_mode != "longest_side",
        f"counts points in a frame of {tool.frame} pixels": preparation.padded_frame != (tool.frame, tool.frame),
        f"takes embeddings of {width} x {side} x {side}": found != tool.embedding,
        f"resizes images to {tool.frame} pixels": tool.resizes and preparation.longest != tool.frame,
    }
    if fault := next((what for what, wrong in faults.items() if wrong), ""):
        raise ExportError(
            f"--layout {layout}: {tool.title} {fault}, which this model does not fit; "
            "take one that does, such as mobile-sam or sam-vit-b, or --layout meta"
        )


def add_bounds(model: ModelProto) -> ModelProto:
    """Replace the output ``masks`` [1, 1, H, W], logits, by the mask cropped to its bounds, uint8, 1 on the object.

    Adds ``xtl``, ``ytl``, ``xbr`` and ``ybr`` [1] int64: the first and last columns and rows of the object, inclusive.
    An empty mask gives the single pixel at 0, 0.
    """
    graph = model.graph
    add = Nodes(
        "bounds",
        zero=np.array(0, np.float32),
        one=np.array([1], np.int64),
        across=np.array([0, 1, 2], np.int64),
        down=np.array([0, 1, 3], np.int64),
        axes=np.array([2, 3], np.int64),
    )
    last = next(node for node in graph.node if MASKS in node.output)
    last.output[:] = ["bounds_logits" if name == MASKS else name for name in last.output]
    on = add("Greater", ".logits", ".zero", to=".on")
    for (start, stop), reduced in (((".left", ".right"), ".across"), ((".top", ".bottom"), ".down")):
        levels = add("Cast", on, to=f"{reduced}_levels", to_=TensorProto.FLOAT)
        line = add("ReduceMax", levels, reduced, to=f"{reduced}_line", keepdims=0)
        add("ArgMax", line, to=start, axis=0, keepdims=1)
        end = add("ArgMax", line, to=f"{stop}_end", axis=0, keepdims=1, select_last_index=1)
        some = add("ReduceMax", line, to=f"{stop}_some", keepdims=1)
        add("Mul", end, add("Cast", some, to=f"{stop}_any", to_=TensorProto.INT64), to=stop)
    add("Concat", ".top", ".left", to=".starts", axis=0)
    add("Concat", ".bottom", ".right", to=".ends_inside", axis=0)
    add("Add", ".ends_inside", ".one", to=".ends")
    whole = add("Cast", on, to=".whole", to_=TensorProto.UINT8)
    add("Slice", whole, ".starts", ".ends", ".axes", to=MASKS)
    for name, edge in zip(BOUNDS, (".left", ".top", ".right", ".bottom"), strict=True):
        add("Identity", edge, to=name)
    graph.node.extend(add.nodes)
    graph.initializer.extend(add.initializers())
    part = helper.make_tensor_value_info(MASKS, TensorProto.UINT8, [1, 1, "rows", "columns"])
    rest = [output for output in graph.output if output.name != MASKS]
    del graph.output[:]
    bounds = [helper.make_tensor_value_info(name, TensorProto.INT64, [1]) for name in BOUNDS]
    graph.output.extend([part, *rest, *bounds])
    return model
