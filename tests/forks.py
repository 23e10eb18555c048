"""Programs in forks of a process that has imported the large libraries, which is most of the time that a start takes.

Each program has its own arguments, folder, environment and output, and imports `sam_hub` itself. ``sam-hub`` in
`Forks.bin` is the command, run in this way.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

LIBRARIES = (
    *("transformers.modeling_utils", "transformers.image_processing_utils", "transformers.processing_utils"),
    *("torch._dynamo", "torch.distributed.tensor", "torch.distributed.checkpoint"),
    *("cv2", "pycocotools.mask", "scipy.optimize", "torchao", "matplotlib.figure", "rich.table", "typer"),
)
COMMAND = "import sys; sys.argv[0] = 'sam-hub'; from sam_hub.cli import main; sys.exit(main())"
SCRIPT = """#!{python} -IS
import sys
sys.path.insert(0, {here!r})
from forks import COMMAND, ask
sys.exit(ask({address!r}, COMMAND, sys.argv[1:]))
"""


class Forks:
    """A running process that forks; ``environment`` is that of its libraries and the default one of programs."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.environment, self.address, self.bin = environment, str(folder / "s"), folder / "bin"
        self.bin.mkdir()
        here = str(Path(__file__).parent)
        (self.bin / "sam-hub").write_text(SCRIPT.format(python=sys.executable, here=here, address=self.address))
        (self.bin / "sam-hub").chmod(0o755)
        command = [sys.executable, __file__, self.address]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout.readline() == b"ready\n", "the process that forks did not start"

    def run(self, code: str, *arguments: str, cwd: Path, env: dict[str, str] | None = None, check: bool = False):
        """As ``subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, ...)``."""
        asking = (
            f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from forks import ask; "
            f"sys.exit(ask({self.address!r}, sys.argv[1], sys.argv[2:]))"
        )
        command = [sys.executable, "-IS", "-c", asking, code, *arguments]
        return subprocess.run(
            command, cwd=cwd, env=env or self.environment, capture_output=True, text=True, check=check
        )

    def command(self, *arguments: str, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """``sam-hub`` with these arguments."""
        return self.run(COMMAND, *arguments, cwd=cwd, env=env)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def ask(address: str, code: str, arguments: list[str]) -> int:
    """Run a program with the streams, folder and environment of this process; returns its exit status."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"x"], [0, 1, 2])
        wanted = {"code": code, "arguments": arguments, "cwd": os.getcwd(), "environment": dict(os.environ)}
        connection.sendall(json.dumps(wanted).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.recv(16) or 1)


def serve(address: str) -> None:
    """Import the libraries, then answer until killed."""
    import contextlib
    import importlib
    import signal
    import warnings

    warnings.simplefilter("ignore")
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    warnings.resetwarnings()
    assert "sam_hub" not in sys.modules
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while True:
        connection, _ = listener.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Run the program in a fork and tell its exit status; does not return."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    wanted = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    if child := os.fork():
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        connection.sendall(str(status if status >= 0 else 128 - status).encode())
        os._exit(0)
    connection.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(wanted["cwd"])
    paths = wanted["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["", *(path for path in paths if path and path not in sys.path)]
    os.environ.clear()
    os.environ.update(wanted["environment"])
    sys.argv = ["-c", *wanted["arguments"]]
    os._exit(_run(wanted["code"]))


def _run(code: str) -> int:
    """As the interpreter does for ``-c``, to the exit handlers; returns the exit status."""
    import atexit
    import threading
    import traceback

    status: object = 0
    try:
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    except SystemExit as e:
        status = e.code
    except BaseException:
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    if isinstance(status, str):
        print(status, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    return status if isinstance(status, int) else int(status is not None)


if __name__ == "__main__":
    serve(sys.argv[1])
