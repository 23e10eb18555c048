"""Checks for optional packages before work begins."""

from collections.abc import Iterable
from importlib import util

from ..errors import SamHubError
from ..installing import OURS, how_to_install


def require(
    what: str,
    packages: Iterable[str],
    extra: str,
    error: type[SamHubError] = SamHubError,
    distribution: str = OURS,
) -> None:
    """Raise an error unless all packages are installed.

    what: the feature that needs them, as the start of the message
    packages: names of modules
    extra: the extra of the distribution that installs them; "" for the distribution itself
    raises: ``error``, naming the missing packages and how to install them
    """
    if missing := [name for name in packages if util.find_spec(name) is None]:
        raise error(f"{what} needs {', '.join(missing)}: install it with {how_to_install(extra, distribution)}")
