"""How to install sam-hub; the only module to change when it is published on PyPI."""

PUBLISHED = False
"""Whether ``pip install sam-hub`` works. Until then it is installed from a checkout."""

OURS = "sam-hub"


def install_command(extra: str = "", distribution: str = OURS) -> str:
    """The command that installs sam-hub or another distribution, with one of its extras."""
    name = "." if distribution == OURS and not PUBLISHED else distribution
    return f"pip install '{name}[{extra}]'" if extra else f"pip install {name}"


def how_to_install(extra: str = "", distribution: str = OURS) -> str:
    """The command and where to run it, as part of a sentence."""
    where = " in a checkout of sam-hub" if distribution == OURS and not PUBLISHED else ""
    return f"`{install_command(extra, distribution)}`{where}"
