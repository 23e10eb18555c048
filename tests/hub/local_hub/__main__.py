"""``python -m tests.hub.local_hub``: run it until Ctrl-C."""

import argparse
import tempfile
from contextlib import suppress
from pathlib import Path

from . import Fault, LocalHub


def main() -> None:
    parser = argparse.ArgumentParser(description="A Hugging Face Hub on this machine.")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--folder", type=Path, help="Keep repositories here; a temporary folder by default.")
    parser.add_argument("--fault", action="append", default=[], help="path=resolve,status=503,times=2, or the like.")
    parser.add_argument("--chunk", type=int, default=0, help="Large files are uploaded in parts of so many bytes.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        hub = LocalHub(given.folder or Path(place), port=given.port, chunk=given.chunk, verbose=True)
        hub.faults += [Fault.parse(text) for text in given.fault]
        tokens = ", ".join(f"{token} ({user})" for token, user in hub.tokens.items())
        print(f"export HF_ENDPOINT={hub.endpoint} HF_HUB_DISABLE_XET=1\ntokens: {tokens}; Ctrl-C stops", flush=True)
        with suppress(KeyboardInterrupt):
            hub.serve()


if __name__ == "__main__":
    main()
