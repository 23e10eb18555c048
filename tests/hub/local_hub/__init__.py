"""A local Hugging Face Hub for tests and manual use: models only, over HTTP, on 127.0.0.1.

It implements the client's protocol: repositories, branches and tags, preupload, LFS in one part or many, commits,
``resolve`` with redirects and ranges, trees, tokens, gated and private repositories. `Fault` makes it fail.
Not implemented: Xet, datasets and spaces, discussions, web pages.

    python -m tests.hub.local_hub --folder /tmp/hub
    HF_ENDPOINT=http://127.0.0.1:8765 HF_HUB_DISABLE_XET=1 HF_TOKEN=hf_alice sam-hub push pocket alice/pocket
"""

from .faults import Fault
from .server import LocalHub

__all__ = ["Fault", "LocalHub"]
