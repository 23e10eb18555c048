"""What training needs beyond the core, looked for before anything is done."""

from importlib import util

from ..errors import SamHubError
from ..ops.packages import require

TRACKERS = {"none": None, "tensorboard": "tensorboardX", "trackio": "trackio"}
"""Where metrics go -> the package that it takes."""


def check_packages(tracker: str = "none", lora: bool = False) -> None:
    """raises: SamHubError that says what to install"""
    require("training", ["accelerate", "matplotlib"] + ["peft"] * lora, "train")
    package = TRACKERS[tracker]
    if package and not util.find_spec(package) and not (tracker == "tensorboard" and util.find_spec("tensorboard")):
        raise SamHubError(f"tracking with {tracker} needs a package: pip install {package}")
