"""``torch.compile`` takes the model as one graph, padded prompts included."""

import pytest
import torch


@torch.no_grad()
@pytest.mark.parametrize("name", ["tiny_vit", "tiny_pocket"])
def test_one_graph(request, name):
    model = request.getfixturevalue(name)
    pixels = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    prompts = {
        "input_points": torch.tensor([[[[20.0, 30.0]], [[50.0, 50.0]]]]),
        "input_labels": torch.tensor([[[1], [0]]]),
        "input_boxes": torch.tensor([[[5.0, 5, 60, 60], [-10, -10, -10, -10]]]),
    }
    compiled = torch.compile(model, fullgraph=True, backend="eager")  # a graph break is an error
    expected = model(pixels, **prompts)
    found = compiled(pixels, **prompts)
    torch.testing.assert_close(found.pred_masks, expected.pred_masks, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.iou_scores, expected.iou_scores, atol=1e-5, rtol=1e-5)
