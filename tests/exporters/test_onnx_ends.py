"""Graphs that take grey levels and return full-size masks, against PyTorch and the processor."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from sam_hub.exporters.formats.onnx.ends import add_grey_levels, add_upscaling

from sam_hub.models.mask_resizing import resize_masks
from sam_hub.ops.geometry import resized_size
from sam_hub.ops.preparation import Preparation

SIDE = 64


def passing_on(name: str, shape: list, output: str) -> onnx.ModelProto:
    """A graph that does nothing."""
    node = helper.make_node("Identity", [name], [output])
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in (name, output)]
    graph = helper.make_graph([node], "nothing", value[:1], value[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, **inputs: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)


@pytest.mark.parametrize("how", ["crop", "bicubic", "probability"])
@pytest.mark.parametrize("size", [(48, 100), (300, 451), (64, 64), (9, 700)])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_masks_are_those_of_the_processor(how, size, dtype):
    low_res = np.random.default_rng(0).normal(scale=4, size=(2, 3, SIDE // 4, SIDE // 4)).astype(np.float32)
    model = add_upscaling(passing_on("x", ["p", 3, SIDE // 4, SIDE // 4], "low_res_masks"), SIDE, how, dtype)
    masks, found = run(model, x=low_res, orig_im_size=np.array(size, dtype))
    np.testing.assert_array_equal(found, low_res)
    frame = resized_size(size, SIDE) if how == "crop" else (SIDE, SIDE)
    expected = resize_masks(torch.from_numpy(low_res), (SIDE, SIDE), frame, size, None, how).numpy()
    assert masks.shape == expected.shape == (2, 3, *size)
    if how == "probability":  # a logit near its end is a difference of two nearly equal numbers
        masks, expected = (1 / (1 + np.exp(-x)) for x in (masks, expected))
    np.testing.assert_allclose(masks, expected, atol=1e-5 if how == "probability" else 2e-3)


@pytest.mark.parametrize("size", [(48, 100), (300, 451), (64, 64)])
@pytest.mark.parametrize("min_max", [False, True])
def test_grey_levels_become_the_pixel_values_of_the_processor(size, min_max):
    prepare = Preparation(SIDE, (SIDE, SIDE), SIDE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), do_min_max=min_max)
    image = np.random.default_rng(1).integers(5, 200, (*size, 3), dtype=np.uint8)
    prepared = prepare(image)
    model = add_grey_levels(passing_on("pixel_values", ["b", 3, SIDE, SIDE], "image_embeddings"), prepare)
    (found,) = run(model, image=prepared.resized)
    assert [i.name for i in model.graph.input] == ["image"]
    np.testing.assert_allclose(found, prepared.pixel_values, atol=1e-6)
