"""Core ML among the backends of ``transformers.exporters``."""

import pytest
import torch
from sam_hub.exporters.formats.coreml.transformers_backend import CoreMlConfig, CoreMlExporter, register
from transformers.exporters import AutoHfExporter, ExportedModel

from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import randomise, tiny_config


@pytest.fixture(scope="module")
def model() -> SamModel:
    return randomise(SamModel(tiny_config("sam_hub_pocket"))).eval()


@torch.no_grad()
def test_export_save_load_and_run(model, tmp_path):
    register()
    generator = torch.Generator().manual_seed(4)
    inputs = {
        "pixel_values": torch.randn(1, 3, 96, 96, generator=generator),
        "input_boxes": torch.tensor([[[8.0, 9.5, 60.25, 77.0]]]),
    }
    config = CoreMlConfig(precision="fp32")
    exporter = AutoHfExporter.from_config(config)
    assert isinstance(exporter, CoreMlExporter)
    exporter.export(model, inputs, config).save_pretrained(tmp_path / "exported")
    loaded = ExportedModel.from_pretrained(tmp_path / "exported")
    expected, found = model(**inputs), loaded(**inputs)
    torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.iou_scores, expected.iou_scores, atol=1e-4, rtol=1e-4)
    other = {**inputs, "input_boxes": inputs["input_boxes"] + 5}
    torch.testing.assert_close(loaded(**other).pred_masks, model(**other).pred_masks, atol=1e-4, rtol=1e-4)


def test_another_precision_is_refused(model):
    with pytest.raises(ValueError, match="fp16 or fp32; got 'int3'"):
        CoreMlExporter().export(model, {"pixel_values": torch.zeros(1, 3, 96, 96)}, CoreMlConfig(precision="int3"))
