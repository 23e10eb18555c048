"""Independent pieces of tensor work on a CPU: one core for each piece, instead of all cores for each product.

The decoder's products are so small that threads within a product mostly wait for each other.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(work: Callable[[Item], Result], items: Iterable[Item], device: torch.device) -> list[Result]:
    """``list(map(work, items))`` on as many threads as torch has (`torch.set_num_threads`); off the CPU, on one.

    work: called without gradients, in several threads at once, each with a single torch thread
    """
    items = list(items)
    threads = torch.get_num_threads()
    if device.type != "cpu" or min(threads, len(items)) < 2 or torch.is_autocast_enabled("cpu"):
        return [work(item) for item in items]
    torch.set_num_threads(1)
    try:
        return list(_pool(os.getpid(), threads).map(torch.no_grad()(work), items))
    finally:
        torch.set_num_threads(threads)


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """One pool for each process, as threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="sam-hub")
