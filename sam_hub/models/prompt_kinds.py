"""Refuses tensor prompts of kinds that a model was not trained on."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..ops.prompts import foreground_only, refusal, refuse_prompts


def check_prompt_kinds(
    kinds: Sequence[str], points: Tensor | None, labels: Tensor | None, boxes: Tensor | None, masks: Tensor | None
) -> None:
    """Refuse prompts that a model was not trained on.

    kinds: ``prompt_kinds`` of the model's configuration
    raises: PromptError; in a compiled model, whose graph cannot inspect labels, RuntimeError for background points
    """
    compiling = torch.compiler.is_compiling()
    refuse_prompts(kinds, points, None if compiling else labels, boxes, masks)
    if compiling and not torch.compiler.is_exporting() and labels is not None and foreground_only(kinds):
        torch._assert_async((labels != 0).all(), refusal(kinds, ["background points"]))
