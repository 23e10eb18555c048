"""`SamPredictor` caches an image's features only as long as the model would compute the same."""

import copy
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from sam_hub.inference.predictor import SamPredictor
from sam_hub.inference.weights_watch import checksum, checksums

from .small_model import LABELS, POINTS, TALL, WIDE, Counted, tiny_model


def test_an_image_is_encoded_once(model, monkeypatch):
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    for image in (WIDE, WIDE.copy(), Image.fromarray(WIDE), WIDE):
        predictor.set_image(image)
        predictor.predict(POINTS, LABELS)
    assert counted.calls == 1
    for image in (TALL, TALL, WIDE, TALL):
        predictor.set_image(image)
    assert counted.calls == 2
    assert predictor.original_size == (90, 31) and predictor.input_size == (64, 22)
    changed = WIDE.copy()
    changed[0, 0, 0] ^= 1
    predictor.set_image(changed)
    predictor.set_image(WIDE.reshape(20, 120, 3))  # the same bytes in another shape
    assert counted.calls == 4


@pytest.mark.parametrize("size", [0, 1, 3])
def test_the_cache_is_bounded_and_forgets_the_oldest_use(model, monkeypatch, size):
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model, cache_size=size)
    images = [np.full((8, 8, 3), i, np.uint8) for i in range(4)]
    for i in (0, 1, 2, 0, 3):  # with room for three, 1 is the one to go
        predictor.set_image(images[i])
        assert len(predictor._cache) <= size
    kept = {0: [], 1: [3], 3: [2, 0, 3]}[size]
    before = counted.calls
    for i in kept:
        predictor.set_image(images[i])
    assert counted.calls == before
    predictor.set_image(images[1])
    assert counted.calls == before + 1


def test_what_the_cache_holds(model, monkeypatch):
    """Only what a decoder may read, not each layer's states, even if the configuration requests them."""
    for config in (model.config, model.config.vision_config):
        monkeypatch.setattr(config, "output_hidden_states", True)
    features = torch.ones(1, 2)
    encode = model.encode
    monkeypatch.setattr(model, "encode", lambda *a, **k: replace(encode(*a, **k), features={"early": features}))
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.set_image(TALL)
    predictor.set_image(WIDE)
    held = predictor.encoded
    assert held.hidden_states is None and held.attentions is None and held.features["early"] is features


def test_a_change_of_weights_type_or_settings_makes_it_void(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)

    def encodes(change) -> bool:
        change()
        before = counted.calls
        predictor.set_image(WIDE)
        return counted.calls > before

    weight = model.vision_encoder.neck.conv1.weight
    optimizer = torch.optim.SGD([weight], lr=0.1)
    weight.grad = torch.ones_like(weight)
    assert encodes(lambda: None)
    assert encodes(optimizer.step)
    assert not encodes(lambda: None)
    assert encodes(lambda: model.load_state_dict(model.state_dict()))
    assert encodes(lambda: model.to(torch.bfloat16))
    assert encodes(lambda: setattr(predictor.processor, "image_mean", (0.5, 0.5, 0.5)))
    assert not encodes(lambda: None)


def raise_unseen(tensor: torch.Tensor) -> None:
    tensor.data.add_(1)


def one_number_unseen(tensor: torch.Tensor) -> None:
    tensor.data.view(-1)[0] += 1


@pytest.mark.parametrize("change", [raise_unseen, one_number_unseen])
def test_writes_that_torch_does_not_count_make_the_cache_void(monkeypatch, change):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    for tensor in (*model.vision_encoder.parameters(), *model.vision_encoder.buffers()):
        if tensor.is_floating_point():
            predictor.set_image(WIDE)
            before = counted.calls
            predictor.set_image(WIDE)
            assert counted.calls == before
            change(tensor)
            predictor.set_image(WIDE)
            assert counted.calls == before + 1


def test_other_tensors_in_place_of_the_weights_make_the_cache_void(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    predictor.set_image(WIDE)
    assert counted.calls == 2
    model.vision_encoder.train()
    predictor.set_image(WIDE)
    assert counted.calls == 3


def test_fusing_makes_the_cache_void(pocket_shaped, monkeypatch):
    model = copy.deepcopy(pocket_shaped)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.predict(POINTS, LABELS)
    model.fuse()
    counted = Counted(monkeypatch, model)
    predictor.set_image(WIDE)
    fresh = SamPredictor(model)
    fresh.set_image(WIDE)
    assert counted.calls == 2
    for a, b in zip(predictor.predict(POINTS, LABELS), fresh.predict(POINTS, LABELS), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_is_kept_where_something_is_hooked_in(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    handle = model.vision_encoder.neck.conv1.register_forward_hook(lambda *a: None)
    for _ in range(2):
        predictor.set_image(WIDE)
    assert counted.calls == 2
    handle.remove()
    for _ in range(2):
        predictor.set_image(WIDE)
    assert counted.calls == 3


def test_nothing_is_kept_while_every_module_is_hooked_or_where_layers_are_quantised(monkeypatch):
    model = tiny_model()
    counted = Counted(monkeypatch, model)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    before = predictor.features
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda m, given, out: out * 1.5 if isinstance(m, torch.nn.LayerNorm) else None
    )
    try:
        predictor.set_image(WIDE)
    finally:
        handle.remove()
    assert counted.calls == 2 and not torch.allclose(predictor.features, before)
    predictor.set_image(WIDE)
    assert counted.calls == 2 and torch.equal(predictor.features, before)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model.vision_encoder = torch.ao.quantization.quantize_dynamic(model.vision_encoder, {torch.nn.Linear})
    counted = Counted(monkeypatch, model)
    for _ in range(2):
        predictor.set_image(WIDE)
    assert counted.calls == 2


def test_a_patched_class_is_another_encoder(monkeypatch):
    model = tiny_model()
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    before, forward = predictor.features, torch.nn.LayerNorm.forward
    monkeypatch.setattr(torch.nn.LayerNorm, "forward", lambda self, x: forward(self, x) * 1.5)
    predictor.set_image(WIDE)
    assert not torch.allclose(predictor.features, before)


def test_a_model_that_is_cast_or_moved_encodes_the_image_anew():
    model = tiny_model()
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    predictor.predict(POINTS, LABELS)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float64):  # wider ones keep each value
        model.to(dtype)
        fresh = SamPredictor(model)
        fresh.set_image(WIDE)
        expected = fresh.predict(POINTS, LABELS)
        for _ in range(2):
            for a, b in zip(predictor.predict(POINTS, LABELS), expected, strict=True):
                np.testing.assert_array_equal(a, b)
        assert predictor.features.dtype == dtype


def test_without_the_photo_a_cast_model_says_so():
    model = tiny_model()
    predictor = SamPredictor(model)
    image = torch.zeros(1, 3, 64, 64)
    predictor.set_torch_image(image, (64, 64))
    model.to(torch.bfloat16)
    with pytest.raises(RuntimeError, match=r"now on cpu in torch\.bfloat16, and the embedding was"):
        predictor.predict(POINTS, LABELS)


def swap_rows(t: torch.Tensor) -> None:
    t.data[:] = t.data.flip(0).clone()


def swap_two_values(t: torch.Tensor) -> None:
    flat = t.data.view(-1)
    flat[0], flat[5] = flat[5].item(), flat[0].item()


def nudge_one_value(t: torch.Tensor) -> None:
    flat = t.data.view(-1)
    flat[-1] = torch.nextafter(flat[-1], torch.tensor(9.0))


@pytest.mark.parametrize("write", [swap_rows, swap_two_values, nudge_one_value])
def test_a_write_that_keeps_the_sum_is_seen_too(model, write):
    """Writes through ``.data`` raise no counter."""
    model = copy.deepcopy(model)
    predictor = SamPredictor(model)
    predictor.set_image(WIDE)
    weight = model.vision_encoder.patch_embed.projection.weight
    write(weight)
    predictor.set_image(WIDE)
    fresh = SamPredictor(model)
    fresh.set_image(WIDE)
    assert torch.equal(predictor.features, fresh.features)
    state = predictor.backend.state()
    assert state == predictor.backend.state()
    write(weight)
    assert state != predictor.backend.state()


@pytest.mark.parametrize("length", [1, 3, 8, (1 << 17) + 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_a_checksum_tells_bits_apart(length, dtype):
    t = torch.arange(length).to(dtype)
    whole = torch.cat([t[:1], t])
    same = whole[1:]  # at another place in memory, no multiple of 8 bytes from the start
    assert checksum(t) == checksum(same)
    for at in {0, length // 2, length - 1}:
        other = t.clone()
        other.view(torch.uint8)[at * t.element_size()] ^= 1
        assert checksum(other) != checksum(t)
        assert [*map(int, checksums([t, other]))] != [*map(int, checksums([t, t]))]
    if length > 1:
        assert checksum(t.flip(0)) != checksum(t)
