"""Parts at the ends of graphs, written in ONNX operators because they depend on sizes known only at run time.

Before the encoder: normalise and pad grey levels. Before a decoder: turn boxes into points. After the original's
decoder: resize low-res masks to the image. They are added after any conversion to another precision, and stay in fp32.
"""

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ....ops.preparation import Preparation

MASKS = "masks"


class Nodes:
    """Nodes and constants to add to a graph, with unique names."""

    def __init__(self, prefix: str, **constants: np.ndarray) -> None:
        self.prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants = {f"{prefix}_{name}": value for name, value in constants.items()}

    def __call__(self, operator: str, *inputs: str, to: str, **attributes: Any) -> str:
        """Add a node; inputs that start with "." are constants or outputs of this set, and so is the returned name."""
        names = [f"{self.prefix}_{name[1:]}" if name.startswith(".") else name for name in inputs]
        output = f"{self.prefix}_{to[1:]}" if to.startswith(".") else to
        self.nodes.append(
            helper.make_node(
                operator,
                names,
                [output],
                name=f"{self.prefix}/{output}",
                **{k.rstrip("_"): v for k, v in attributes.items()},
            )
        )
        return to

    def initializers(self) -> list[TensorProto]:
        used = {name for node in self.nodes for name in node.input}
        return [numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in used]


def add_grey_levels(model: ModelProto, preparation: Preparation, kind: int = TensorProto.UINT8) -> ModelProto:
    """Replace the input ``pixel_values`` by ``image`` [height, width, 3] RGB, resized so that it fits the input.

    kind: the type of its grey levels, 0 to 255: ``TensorProto.UINT8`` or ``FLOAT``
    Pads after normalising, as SAM does, so the padding is 0 whatever the mean; the arithmetic is `normalize_and_pad`'s.
    """
    graph = model.graph
    levels = [
        np.asarray(np.asarray(v, np.float64) / preparation.rescale_factor, np.float32).reshape(-1)
        for v in (preparation.mean, preparation.std)
    ]
    add = Nodes(
        "head",
        mean=levels[0],
        std=levels[1],
        tiny=np.array(1e-8, np.float32),
        full=np.array([1, 3, *preparation.padded], np.int64),
        none=np.zeros(4, np.int64),
        axes=np.array([0], np.int64),
    )
    add("Cast", "image", to=".levels", to_=TensorProto.FLOAT)
    if preparation.do_min_max:
        add("ReduceMin", ".levels", to=".low", keepdims=0)
        add("Sub", ".levels", ".low", to=".centred")
        add("ReduceMax", ".centred", to=".spread", keepdims=0)
        add("Max", ".spread", ".tiny", to=".divisor")
    else:
        add("Sub", ".levels", ".mean", to=".centred")
        add("Identity", ".std", to=".divisor")
    add("Div", ".centred", ".divisor", to=".normalised")
    add("Transpose", ".normalised", to=".channels_first", perm=[2, 0, 1])
    add("Unsqueeze", ".channels_first", ".axes", to=".batch")
    add("Shape", ".batch", to=".size")
    add("Sub", ".full", ".size", to=".lacking")
    add("Concat", ".none", ".lacking", to=".pads", axis=0)
    add("Pad", ".batch", ".pads", to="pixel_values")
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*add.nodes, *rest])
    graph.initializer.extend(add.initializers())
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("image", kind, ["height", "width", 3]))
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    return model


def add_boxes(model: ModelProto) -> ModelProto:
    """Add the input ``input_boxes`` [batch, boxes, 4], XYXY; corners are appended to the points with labels 2 and 3.

    As transformers.js feeds SAM 2: points and no boxes, or boxes and one prompt of no points, or as many of both.
    """
    graph = model.graph
    corners = np.array([2, 3], np.int64)
    numbers = {name: np.array([value], np.int64) for name, value in (("zero", 0), ("one", 1), ("two", 2), ("three", 3))}
    add = Nodes("boxes", corners=corners, **numbers)

    def size(of: str, axis: str, to: str) -> str:
        return add("Gather", add("Shape", of, to=f"{to}_shape"), axis, to=to, axis=0)

    batch, labelled = size("input_labels", ".zero", ".batch"), size("input_labels", ".one", ".labelled")
    points, boxes = size("input_labels", ".two", ".points"), size("input_boxes", ".one", ".count")
    prompts = add("Max", labelled, boxes, to=".prompts")
    add("Mul", boxes, ".two", to=".all_corners")
    each = add("Div", ".all_corners", prompts, to=".each")  # 2, or 0 where there are no boxes
    add("Concat", batch, prompts, points, ".two", to=".points_size", axis=0)
    add("Reshape", "input_points", ".points_size", to=".own_points", allowzero=1)
    add("Concat", batch, prompts, points, to=".labels_size", axis=0)
    add("Reshape", "input_labels", ".labels_size", to=".own_labels", allowzero=1)
    add("Concat", batch, prompts, each, ".two", to=".corners_size", axis=0)
    add("Reshape", "input_boxes", ".corners_size", to=".corner_points", allowzero=1)
    add("Slice", ".corners", ".zero", each, ".zero", to=".kinds")
    add("Concat", batch, prompts, each, to=".kinds_size", axis=0)
    add("Expand", ".kinds", ".kinds_size", to=".corner_labels")
    add("Concat", ".own_points", ".corner_points", to=".all_points", axis=2)
    add("Concat", ".own_labels", ".corner_labels", to=".all_labels", axis=2)

    renamed = {"input_points": "boxes_all_points", "input_labels": "boxes_all_labels"}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*add.nodes, *rest])
    graph.initializer.extend(add.initializers())
    for given in graph.input:
        if given.name == "input_points":
            given.type.tensor_type.shape.dim[1].dim_param = "point_prompts"
    graph.input.append(helper.make_tensor_value_info("input_boxes", TensorProto.FLOAT, ["batch", "boxes", 4]))
    return model


def add_upscaling(model: ModelProto, longest: int, how: str, size_dtype: str = "float32") -> ModelProto:
    """Add the input ``orig_im_size`` [2], height and width, and the first output ``masks`` [P, M, H, W] logits.

    longest: side of the padded frame; how: ``mask_resize`` of the processor, see `resize_masks`: "crop" enlarges, cuts
        off the padding (with the original's rounding) and resizes; the others resize in one step
    size_dtype: "float32", as in the contract, or "int32", as TensorRT requires
    """
    graph = model.graph
    add = Nodes(
        "tail",
        zeros=np.zeros(2, np.int64),
        axes=np.array([2, 3], np.int64),
        square=np.array([longest, longest], np.int64),
        longest=np.array(longest, np.float32),
        half=np.array(0.5, np.float32),
        one=np.array(1, np.int64),
        low=np.array(1e-6, np.float32),
        high=np.array(1 - 1e-6, np.float32),
        unit=np.array(1, np.float32),
    )

    def resize(x: str, sizes: str, to: str) -> str:
        how_exactly = {"mode": "cubic", "cubic_coeff_a": -0.75} if how == "bicubic" else {"mode": "linear"}
        half_pixel = {"coordinate_transformation_mode": "half_pixel", "axes": [2, 3]}
        return add("Resize", x, "", "", sizes, to=to, **half_pixel, **how_exactly)

    size = add("Cast", "orig_im_size", to=".size", to_=TensorProto.INT64)
    x = "low_res_masks"
    if how == "crop":
        add("Cast", "orig_im_size", to=".real_size", to_=TensorProto.FLOAT)
        add("ReduceMax", ".real_size", to=".side", keepdims=0)
        add("Div", ".longest", ".side", to=".scale")
        add("Mul", ".real_size", ".scale", to=".scaled")
        add("Add", ".scaled", ".half", to=".raised")
        add("Floor", ".raised", to=".rounded")
        add("Cast", ".rounded", to=".whole", to_=TensorProto.INT64)
        add("Max", ".whole", ".one", to=".cut")
        resize(x, ".square", ".padded")
        x = add("Slice", ".padded", ".zeros", ".cut", ".axes", to=".cropped")
    if how == "probability":
        add("Sigmoid", x, to=".probability")
        resize(".probability", size, ".large")
        add("Clip", ".large", ".low", ".high", to=".clipped")
        add("Sub", ".unit", ".clipped", to=".rest")
        add("Div", ".clipped", ".rest", to=".odds")
        add("Log", ".odds", to=MASKS)
    else:
        resize(x, size, MASKS)
    graph.initializer.extend(add.initializers())
    graph.node.extend(add.nodes)
    kind = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32}[size_dtype]
    graph.input.append(helper.make_tensor_value_info("orig_im_size", kind, [2]))
    low_res = next(o for o in graph.output if o.name == "low_res_masks")
    count = low_res.type.tensor_type.shape.dim[1].dim_value
    masks = helper.make_tensor_value_info(MASKS, TensorProto.FLOAT, ["prompts", count, "height", "width"])
    rest = [o for o in graph.output if o.name != "low_res_masks"]
    ordered = [masks, *rest[:1], low_res, *rest[1:]]  # masks, iou_predictions, low_res_masks, ...
    del graph.output[:]
    graph.output.extend(ordered)
    return model
