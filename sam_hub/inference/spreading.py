"""Independent pieces of tensor work on the cores of a CPU: a thread for each, instead of threads within each product.

The decoder's products are small, so that threads within them mostly wait for each other.
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
    """``list(map(work, items))``, on as many threads as torch has (`torch.set_num_threads`); in turn off the CPU.

    work: needs no gradients; called in several threads at once, each with one thread of torch
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
    """One for each process, as threads do not survive a fork."""
    return ThreadPoolExecutor(threads, thread_name_prefix="sam-hub")
