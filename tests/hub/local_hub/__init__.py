"""A Hugging Face Hub on this machine, for tests and for people: models only, over HTTP, on 127.0.0.1.

It speaks what the real client says: repositories, branches and tags, preupload, LFS in one piece or many, commits,
``resolve`` with redirects and ranges, trees, tokens, gated and private repositories. `Fault` makes it fail.
What it does not have: Xet, datasets and spaces, discussions, a web page.

    python -m tests.hub.local_hub --folder /tmp/hub
    HF_ENDPOINT=http://127.0.0.1:8765 HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_alice sam-hub push pocket alice/pocket
"""

from .faults import Fault
from .server import LocalHub

__all__ = ["Fault", "LocalHub"]
