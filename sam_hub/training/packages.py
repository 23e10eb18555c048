"""Checks, before training starts, for the packages that it needs beyond the core."""

from importlib import util

from ..errors import SamHubError
from ..ops.packages import require

TRACKERS = {"none": None, "tensorboard": "tensorboardX", "trackio": "trackio"}
"""Tracker -> the package that it needs."""


def check_packages(tracker: str = "none", lora: bool = False) -> None:
    """raises: SamHubError that says what to install"""
    require("training", ["accelerate", "matplotlib"] + ["peft"] * lora, "train")
    package = TRACKERS[tracker]
    if package and not util.find_spec(package) and not (tracker == "tensorboard" and util.find_spec("tensorboard")):
        raise SamHubError(f"tracking with {tracker} needs a package: pip install {package}")
