"""Work spread over threads gives the sequential result."""

import threading
from collections.abc import Iterator

import pytest
import torch

from sam_hub.inference import fast_decoder
from sam_hub.inference.fast_decoder import FastDecoder
from sam_hub.inference.spreading import spread

from .test_fast_decoder import inputs, random_decoder

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_in_order_on_threads_of_one_thread_each():
    meeting = threading.Barrier(2, timeout=20)  # passed only by two at once

    def work(i: int) -> tuple[int, int, bool]:
        meeting.wait()
        return i, torch.get_num_threads(), torch.is_grad_enabled()

    assert spread(work, range(6), CPU) == [(i, 1, False) for i in range(6)]
    assert torch.get_num_threads() == 2 and torch.is_grad_enabled()


def test_a_failure_comes_through_and_nothing_stays_changed():
    def work(i: int) -> int:
        if i == 3:
            raise ValueError("the third")
        return i

    with pytest.raises(ValueError, match="the third"):
        spread(work, range(6), CPU)
    assert torch.get_num_threads() == 2 and spread(work, range(3), CPU) == [0, 1, 2]


@pytest.mark.parametrize("why", ["another device", "one item", "autocast", "one thread"])
def test_sometimes_in_turn(why: str):
    here = threading.get_ident()
    device = torch.device("meta") if why == "another device" else CPU
    torch.set_num_threads(1 if why == "one thread" else 2)
    with torch.autocast("cpu", enabled=why == "autocast"):
        assert set(spread(lambda _: threading.get_ident(), range(1 if why == "one item" else 4), device)) == {here}


def test_the_decoder_gives_the_same_masks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(fast_decoder.PIXELS_TOGETHER, "cpu", 2 * 12 * 9)  # two prompts
    decoder = random_decoder({})
    embedding, pe, _, sparse = inputs(decoder, prompts=11)
    decode = FastDecoder(decoder, embedding, pe)
    callers = []

    def select(iou: torch.Tensor) -> torch.Tensor:
        callers.append(threading.get_ident())
        return iou > 0

    apart = decode(sparse, select)
    assert len(callers) == 6 and threading.get_ident() not in callers
    torch.set_num_threads(1)
    in_turn = decode(sparse, select)
    assert 0 < len(in_turn[2]) < 44 and all(torch.equal(a, b) for a, b in zip(apart, in_turn, strict=True))
