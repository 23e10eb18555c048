"""The two modules of formats with fixed prompt slots, with examples of their inputs."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .format import ExportJob
from .image_side import ImageSide, example_maps
from .rank_four import restated
from .slot_io import RESULTS
from .slots import SlotDecoder


class Part(NamedTuple):
    """A module, examples of its inputs by name, in order, and the names of its outputs."""

    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]


def slot_parts(job: ExportJob, decoder: SlotDecoder, slots: int, labels: torch.dtype = torch.int32) -> dict[str, Part]:
    """Role -> part: the image encoder, and the decoder of one prompt. labels: type of their labels"""
    encoder, maps = ImageSide(job.model, restated(job.model)).eval(), example_maps(job.model)
    width, side = job.model.config.prompt_encoder_config.hidden_size, decoder.prompts.side
    prompts = {
        "image_embedding": torch.zeros(1, width, side, side),
        "points": torch.zeros(1, slots, 2),
        "labels": torch.ones(1, slots, dtype=labels),
        "mask_input": torch.zeros(1, 1, 4 * side, 4 * side),
        "has_mask_input": torch.zeros(1),
        **maps,
    }
    pixels = {"pixel_values": torch.zeros(1, 3, *job.preparation.padded)}
    return {
        "encoder": Part(encoder, pixels, ("image_embedding", *maps)),
        "decoder": Part(decoder, prompts, RESULTS if decoder.masks.has_single else RESULTS[:2]),
    }
