"""The store is bounded in number, memory and time; ids cannot be guessed."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from sam_hub.demo.limits import Limits, Refusal
from sam_hub.demo.memory import trim_heap
from sam_hub.demo.store import Photo, PhotoStore, held_bytes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def photo(height: int = 10) -> Photo:
    return Photo(SimpleNamespace(), np.zeros((height, 100, 3), np.uint8), "pocket", 3)


def store(clock: Clock | None = None, **limits: float) -> PhotoStore:
    return PhotoStore(replace(Limits(), **limits), clock or Clock())


def alive(s: PhotoStore, key: str) -> bool:
    try:
        s.get(key)
    except Refusal as e:
        assert e.status == 410
        return False
    return True


def test_the_longest_unused_goes_first():
    s = store(photos=3)
    a, b, c = (s.add(photo()) for _ in range(3))
    s.get(a)
    d = s.add(photo())
    assert [alive(s, key) for key in (a, b, c, d)] == [True, False, True, True]


def test_memory_is_bounded():
    s = store(photo_bytes=10_000)
    keys = [s.add(photo(10)) for _ in range(7)]  # 3000 bytes each
    assert s.taken <= 10_000 and [alive(s, k) for k in keys] == [False] * 4 + [True] * 3


def test_what_a_photo_took_is_given_back(monkeypatch):
    """The C library keeps freed memory between blocks in use, so a full server would grow forever."""
    given = []
    monkeypatch.setattr("sam_hub.demo.store.trim_heap", lambda: given.append(len(s)))
    s = store(photos=2)
    for _ in range(4):
        s.add(photo())
    assert given == [2, 2], "once for each photo that had to go"
    trim_heap()  # the real one, as it is on this system


def test_one_that_is_too_large_alone_stays_alone():
    s = store(photo_bytes=10_000)
    small, large = s.add(photo()), s.add(photo(100))
    assert (alive(s, small), alive(s, large)) == (False, True)


def test_what_is_unused_expires():
    clock = Clock()
    s = store(clock, photo_seconds=60)
    a, b = s.add(photo()), s.add(photo())
    clock.now = 50
    s.get(a)
    clock.now = 70
    assert (alive(s, a), alive(s, b), len(s)) == (True, False, 1)


@pytest.mark.parametrize("key", [None, 7, [], {}, "", "a" * 32, "../../etc/passwd"])
def test_unknown_ids(key):
    assert not alive(store(), key)


def test_ids_are_long_and_different():
    s = store(photos=1000)
    keys = {s.add(photo()) for _ in range(200)}
    assert len(keys) == 200 and min(map(len, keys)) >= 32


def test_results_are_remembered_up_to_a_number():
    p = photo()
    keys = [p.remember(np.full((1, 2, 2), i, np.float32)) for i in range(5)]
    assert [p.recall(k) is not None for k in keys] == [False, False, True, True, True]
    assert p.recall(keys[4])[0, 0, 0] == 4 and p.recall("another") is None


def test_the_same_is_done_once_also_by_two_at_once():
    p, begun, go, done = photo(), threading.Event(), threading.Event(), []

    def work() -> int:
        begun.set()
        go.wait(10)
        done.append(1)
        return len(done)

    found = []
    threads = [threading.Thread(target=lambda: found.append(p.once(b"a", work))) for _ in range(3)]
    threads[0].start()
    begun.wait(10)
    [t.start() for t in threads[1:]]
    go.set()
    [t.join() for t in threads]
    assert found == [1, 1, 1] and p.once(b"a", work) == 1 and p.once(b"b", work) == 2


def test_what_fails_is_tried_again():
    p = photo()
    with pytest.raises(ZeroDivisionError):
        p.once(b"a", lambda: 1 // 0)
    assert p.once(b"a", lambda: 5) == 5


def test_memory_grows_with_what_is_remembered_up_to_a_bound():
    p = photo()
    taken = [p.taken]
    for _ in range(5):
        p.remember(np.zeros((3, 8, 8), np.float32))
        taken.append(p.taken)
    assert np.diff(taken).tolist() == [384, 384, 384, 0, 0]  # in half precision


def test_memory_counts_what_the_predictor_holds_and_not_its_model(service, photo):
    held = service.photos.get(photo["id"])
    held.ready.result()
    decoder = held.predictor._image.held._fast  # made with the second prompt
    assert held.taken >= held_bytes([held.pixels, held.predictor.features, decoder]) > held.pixels.nbytes
    pixels, embedding = held.pixels.nbytes, held.predictor.features.nbytes
    weights = sum(p.nbytes for p in held.predictor.backend.model.parameters())
    assert pixels + embedding <= held.taken < weights
