"""How many threads to compute with."""

import os


def asked_threads() -> int:
    """What ``OMP_NUM_THREADS`` says, of its list the first; 0 where it says nothing that is a number."""
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if first.isdecimal() else 0


def thread_count() -> int:
    """What is asked for, else one for each core that this process may use."""
    if asked := asked_threads():
        return asked
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
