"""Optional packages, looked for before work begins."""

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
    """Nothing, where all are installed.

    what: what needs them, as the sentence begins
    packages: names of modules
    extra: of the distribution, that installs them; "" for the distribution itself
    raises: ``error``, which says what is missing and how to install it
    """
    if missing := [name for name in packages if util.find_spec(name) is None]:
        raise error(f"{what} needs {', '.join(missing)}: install it with {how_to_install(extra, distribution)}")
