"""The role of this process in a launch."""

import os


def is_first_process() -> bool:
    """Whether this process writes results: the only one, or the first of a launch."""
    return os.environ.get("RANK", "0") == "0"
