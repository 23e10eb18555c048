"""Threads are what OMP_NUM_THREADS says, in every form that OpenMP takes, else the cores of this process."""

import os

import pytest

from sam_hub.ops.threads import asked_threads, thread_count


@pytest.mark.parametrize("said, asked", [("3", 3), ("4,2", 4), (" 5 ", 5), ("", 0), ("many", 0), ("-1", 0), ("0", 0)])
def test_what_the_environment_says(monkeypatch, said, asked):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert asked_threads() == asked
    assert thread_count() == (asked or len(os.sched_getaffinity(0)))


def test_unset_is_one_for_each_core_of_this_process(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {1, 4, 6}, raising=False)
    assert asked_threads() == 0 and thread_count() == 3
