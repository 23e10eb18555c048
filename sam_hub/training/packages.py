"""What training needs beyond the core, looked for before anything is done."""

from importlib.util import find_spec

from ..errors import SamHubError

TRACKERS = {"none": None, "tensorboard": "tensorboardX", "trackio": "trackio"}
"""Where metrics go -> the package that it takes."""


def check_packages(tracker: str = "none", lora: bool = False) -> None:
    """raises: SamHubError that says what to install"""
    needed = ["accelerate", "matplotlib"] + ["peft"] * lora
    if missing := [name for name in needed if not find_spec(name)]:
        raise SamHubError(f"training needs {', '.join(missing)}: install it with `pip install 'sam-hub[train]'`")
    package = TRACKERS[tracker]
    if package and not find_spec(package) and not (tracker == "tensorboard" and find_spec("tensorboard")):
        raise SamHubError(f"tracking with {tracker} needs a package: pip install {package}")
