"""Fixed prompt slots give the plain decoder's masks, for any number of slots."""

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from sam_hub.exporters.slots import MASKED, SlotDecoder, SlotMaskDecoder, SlotPromptEncoder

from sam_hub.errors import ExportError
from sam_hub.models.modeling_sam import SamModel

from ..models.conftest import TINY_ENCODERS, randomise, tiny_config

PLAIN = sorted(set(TINY_ENCODERS) - {"sam_hub_efficient_sam"})
SIDE = 96

POINTS = [[10.2, 20.7], [70.0, 3.5], [55.1, 90.9], [12.0, 12.0], [88.8, 41.4], [5.0, 80.0], [47.5, 47.5]]
PROMPTS = {
    "one point": ([POINTS[0]], [1], None),
    "seven points": (POINTS, [1, 0, 1, 1, 0, 1, 0], None),
    "a box": (None, None, [8.0, 9.5, 60.25, 77.0]),
    "a box and points": (POINTS[:2], [1, 0], [8.0, 9.5, 60.25, 77.0]),
    "not a point": ([*POINTS[:1], [0.0, 0.0]], [1, -1], None),
    "a token of zeros": (POINTS[:2], [1, -2], None),
    "nothing": (None, None, None),
}


@cache
def build(vision: str) -> SamModel:
    return randomise(SamModel(tiny_config(vision))).eval()


def slotted(points: list | None, labels: list | None, box: list | None, slots: int) -> tuple[torch.Tensor, ...]:
    """Prompts as they are put in slots by hand: (1, N, 2) float32 and (1, N) int32."""
    xy, kinds = list(points or []), list(labels or [])
    if box is not None:
        xy, kinds = [*xy, box[:2], box[2:]], [*kinds, 2, 3]
    left = slots - len(xy)
    xy, kinds = [*xy, *[[37.0, 1e4]] * left], [*kinds, *[-10] * left]  # what lies in an empty slot does not count
    return torch.tensor([xy], dtype=torch.float32), torch.tensor([kinds], dtype=torch.int32)


@torch.no_grad()
def plain(
    model: SamModel, embedding: torch.Tensor, prompt: tuple, mask: torch.Tensor | None, maps: Sequence = ()
) -> list[torch.Tensor]:
    points, labels, box = prompt
    every, iou, _ = model.predict_masks(
        embedding,
        None if points is None else torch.tensor([[points]]),
        None if points is None else torch.tensor([[labels]]),
        None if box is None else torch.tensor([[box]]),
        mask,
        intermediate=maps,
    )
    return [every[:, 0, 1:], iou[:, 0, 1:], every[:, 0, :1], iou[:, 0, :1]]


@pytest.mark.parametrize("kind", PROMPTS)
@pytest.mark.parametrize("with_mask", [False, True], ids=["", "and a mask"])
@pytest.mark.parametrize("vision", PLAIN)
def test_slots_change_nothing(vision, kind, with_mask):
    model = build(vision)
    generator = torch.Generator().manual_seed(5)
    embedding = model.get_image_embeddings(torch.randn(1, 3, SIDE, SIDE, generator=generator))
    grid = embedding.shape[-1]
    mask = 4 * torch.randn(1, 1, 4 * grid, 4 * grid, generator=generator)
    config = model.config.prompt_encoder_config
    config.image_size = grid * config.patch_size  # EfficientViT counts coordinates in a frame of its own
    decoder = SlotDecoder(model).eval()
    expected = plain(model, embedding, PROMPTS[kind], mask if with_mask else None)
    for slots in (9, 24):
        inputs = slotted(*PROMPTS[kind], slots)
        with torch.no_grad():
            outputs = decoder(embedding, *inputs, mask, torch.tensor([float(with_mask)]))
        for ours, theirs in zip(outputs, expected, strict=True):
            assert ours.shape == theirs.shape
            torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=2e-5)


def test_pocket_is_neutral_to_a_millionth():
    model = SamModel.from_pretrained("pocket").eval()
    with torch.no_grad():
        encoded = model.encode(torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(1)))
    embedding, maps = encoded.embedding, [encoded.features[name] for name in model.mask_decoder.feature_maps]
    decoder = SlotDecoder(model).eval()
    no_mask = torch.zeros(1, 1, 128, 128), torch.zeros(1)
    prompt = ([[100.5, 200.25], [400.0, 31.0]], [1, 0], None)
    with torch.no_grad():
        few, many = (decoder(embedding, *slotted(*prompt, slots), *no_mask, *maps) for slots in (2, 16))
        theirs = plain(model, embedding, prompt, None, maps)
    for a, b, c in zip(few, many, theirs, strict=True):
        size = c.abs().max()
        assert (a - b).abs().max() < 2e-6 * size
        assert (b - c).abs().max() < 5e-6 * size


def test_a_padding_label_of_minus_one_is_not_neutral(tiny_config_model):
    """Why the slots are masked: the usual padding moves the logits."""
    model, embedding = tiny_config_model
    prompt = PROMPTS["one point"]
    padded = ([*prompt[0], *[[0.0, 0.0]] * 8], [*prompt[1], *[-1] * 8], None)
    plainly, moved = (plain(model, embedding, p, None)[0] for p in (prompt, padded))
    assert (plainly - moved).abs().max() > 1e-2


@pytest.fixture(scope="module")
def tiny_config_model() -> tuple[SamModel, torch.Tensor]:
    model = build("sam_hub_pocket")
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2))
    return model, model.get_image_embeddings(pixels)


def test_empty_slots_are_masked_and_full_ones_are_not(tiny_config_model):
    model, _ = tiny_config_model
    prompts = SlotPromptEncoder(model)
    mask = torch.zeros(1, 1, 24, 24), torch.zeros(1)

    def token_mask(*prompt: object) -> list[float]:
        return prompts(*slotted(*prompt, 4), *mask)[2][0].tolist()

    assert token_mask([[1.0, 1.0]], [1], None) == [0, MASKED, MASKED, MASKED, 0]
    assert token_mask([[1.0, 1.0]], [0], [0.0, 0.0, 5.0, 5.0]) == [0, 0, 0, MASKED, MASKED]
    assert token_mask(None, None, None) == [MASKED] * 5


def test_the_untrained_single_mask_is_left_out():
    config = tiny_config("sam_hub_pocket")
    config.mask_decoder_config.always_multimask = True
    model = randomise(SamModel(config)).eval()
    grid = config.prompt_encoder_config.image_embedding_size
    outputs = SlotMaskDecoder(model)(
        torch.zeros(1, 64, grid, grid), torch.zeros(1, 3, 64), torch.zeros(1, 64, grid, grid), torch.zeros(1, 3)
    )
    assert [tuple(o.shape) for o in outputs] == [(1, 3, 4 * grid, 4 * grid), (1, 3)]


def test_other_decoders_are_refused():
    model = SamModel(tiny_config("sam_hub_pocket"))
    model.mask_decoder.__class__ = type("OtherDecoder", (type(model.mask_decoder),), {"forward": lambda self: None})
    with pytest.raises(ExportError, match="SAM's own decoder, not OtherDecoder"):
        SlotDecoder(model)


def test_the_graph_has_fixed_shapes_of_four_axes_at_most(tiny_config_model):
    model, embedding = tiny_config_model
    grid = embedding.shape[-1]
    inputs = (*slotted([[1.0, 2.0]], [1], None, 4), torch.zeros(1, 1, 4 * grid, 4 * grid), torch.zeros(1))
    program = torch.export.export(SlotDecoder(model).eval(), (embedding, *inputs)).run_decompositions({})
    calls = [node for node in program.graph.nodes if node.op == "call_function"]
    values = [node.meta["val"] for node in calls if isinstance(node.meta.get("val"), torch.Tensor)]
    assert len(values) > 100
    assert max(value.dim() for value in values) <= 4
    names = {str(node.target) for node in calls}
    assert not [n for n in names for word in ("gather", "index", "nonzero", "repeat_interleave", "einsum") if word in n]
