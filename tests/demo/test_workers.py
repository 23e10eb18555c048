"""Jobs take turns, wait in a bounded queue, and can be cancelled."""

import asyncio
import gc
import threading
import weakref

import numpy as np
import pytest
from sam_hub.demo import streams
from sam_hub.demo.limits import Refusal
from sam_hub.demo.streams import WorkLimit, in_turns
from sam_hub.demo.workers import Workers


def test_jobs_take_turns():
    workers, inside, most = Workers("test", 2, 10), [], []

    def job(stopped: threading.Event) -> None:
        inside.append(1)
        most.append(len(inside))
        threading.Event().wait(0.01)
        inside.pop()

    jobs = [workers.submit(job) for _ in range(8)]
    for each in jobs:
        each.future.result(10)
    assert max(most) == 2 and len(most) == 8 and workers.ahead == 0


def test_too_many_are_turned_away_and_a_job_that_is_given_up_leaves_its_place():
    workers, go, held = Workers("test", 1, 2), threading.Event(), np.zeros(10)
    first = workers.submit(lambda stopped: go.wait(10))
    while workers.ahead == 0:
        pass
    waiting = [workers.submit(lambda stopped, held=held: held) for _ in range(2)]
    with pytest.raises(Refusal) as refused:
        workers.submit(print)
    assert refused.value.status == 429
    inside = workers.submit(lambda stopped: 7, refuse=False)  # belongs to work that was let in
    memory = weakref.ref(held)
    del held
    for each in waiting:
        each.cancel()
    assert workers.ahead == 2
    del waiting, each
    gc.collect()
    assert memory() is None, "what a job holds goes with it"
    go.set()
    assert first.future.result(10) is True and inside.future.result(10) == 7


def test_a_cancelled_task_gives_its_job_up():
    workers, begun, seen = Workers("test", 1, 5), threading.Event(), []

    def long(emit: object, stopped: threading.Event) -> None:
        begun.set()
        seen.append(stopped.wait(10))

    async def visit() -> None:
        async for _ in workers.events(long):
            pass

    async def leave() -> int:
        tasks = [asyncio.create_task(visit()), asyncio.create_task(workers.run(lambda: seen.append("never")))]
        await asyncio.to_thread(begun.wait)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await workers.run(lambda: 5)

    assert asyncio.run(leave()) == 5 and seen == [True]


def test_a_failure_keeps_no_arrays():
    """Futures and logs hold failures, whose frames would hold photos."""
    workers, memory = Workers("test", 1, 5), []

    def fail(stopped: threading.Event) -> None:
        photo = np.zeros(1000)
        memory.append(weakref.ref(photo))
        raise ValueError(len(photo))

    job = workers.submit(fail)
    error = job.future.exception(10)
    assert str(error) == "1000" and error.__traceback__.tb_next is not None
    assert memory[0]() is None


def test_long_work_is_done_in_turns_and_ends_in_time(monkeypatch):
    """A clock that the work itself moves: 0.06 s a step, 0.1 s a turn."""
    workers, others, now = Workers("test", 1, 0), [], [0.0]
    monkeypatch.setattr(streams, "perf_counter", lambda: now[0])

    def steps(limit: WorkLimit):
        for i in range(6):
            now[0] += 0.06
            limit.check()
            yield i if i % 3 == 2 else None

    async def work(seconds: float) -> list:
        limit, found = WorkLimit(seconds), []
        async for item in in_turns(workers, steps(limit), limit):
            found.append(item)
            while workers.ahead:  # the thread counts itself out just after it has handed over
                await asyncio.sleep(0.01)
            others.append(workers.ahead)
        return found

    assert asyncio.run(work(10)) == [2, 5] and others == [0, 0], "between turns the thread is free"
    with pytest.raises(Refusal, match="too long"):
        asyncio.run(work(0.2))
