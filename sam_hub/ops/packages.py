"""Optional packages, looked for before work begins."""

from collections.abc import Iterable
from importlib import util

from ..errors import SamHubError


def require(
    what: str,
    packages: Iterable[str],
    extra: str,
    error: type[SamHubError] = SamHubError,
    distribution: str = "sam-hub",
) -> None:
    """Nothing, where all are installed.

    what: what needs them, as the sentence begins
    packages: names of modules
    extra: of the distribution, that installs them; "" for the distribution itself
    raises: ``error``, which says what is missing and how to install it
    """
    wanted = f"{distribution}[{extra}]" if extra else distribution
    if missing := [name for name in packages if util.find_spec(name) is None]:
        raise error(f"{what} needs {', '.join(missing)}: install it with `pip install '{wanted}'`")
