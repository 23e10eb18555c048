"""The web page's server in its own process, for the other benchmarks."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = [ROOT / "examples" / name for name in ("cat.jpg", "coffee.jpg", "astronaut.jpg")]


@contextmanager
def serving(*arguments: str, code: str | None = None) -> Iterator[tuple[str, int]]:
    """Yields the URL, without a trailing slash, and the process id.

    arguments: of ``sam-hub demo``; code: Python that serves at ``port`` instead
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [sys.executable, "-m", "sam_hub", "demo", "--model", "pocket", "--port", str(port), *arguments]
    if code is not None:
        command = [sys.executable, "-c", f"port = {port}\n{code}"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            try:
                httpx.get(f"{url}/sam/about").raise_for_status()
                break
            except httpx.HTTPError:
                if process.poll() is not None:
                    raise RuntimeError("the server did not start; try `sam-hub demo`") from None
                time.sleep(0.5)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def memory(pid: int) -> float:
    """Resident megabytes of a process, on Linux."""
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
