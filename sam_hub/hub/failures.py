"""Explains failures of the Hub's client in one sentence that says what to do."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ..errors import HubError, ModelNotFoundError, SamHubError
from ..zoo import ZOO


@contextmanager
def explained(repo: str, revision: str | None = None, *, writing: bool = False) -> Iterator[None]:
    """Turn failures of ``huggingface_hub`` and the network into our errors.

    raises: ModelNotFoundError for a missing repository, revision or file; HubError for other failures
    """
    try:
        yield
    except SamHubError:
        raise
    except Exception as e:
        told = explanation(e, repo, revision, writing)
        if told is None:
            raise
        raise told from e


def explanation(error: BaseException, repo: str, revision: str | None, writing: bool = False) -> SamHubError | None:
    """The explanation of an error or of its causes; None for errors unrelated to the Hub."""
    chain = list(_chain(error))
    for e in chain:
        if told := _known(e, repo, revision, writing):
            return told
    for e in chain:
        if isinstance(e, LocalEntryNotFoundError):
            if constants.HF_HUB_OFFLINE or "outgoing traffic" in str(e):
                return _offline(repo)
            return _unreachable(repo, next((c for c in reversed(chain) if c is not e), e))
    for e in chain:
        if is_network_failure(e):
            return _unreachable(repo, e)
    return None


def is_network_failure(e: BaseException) -> bool:
    """Whether a connection failed or was lost, as opposed to a refusing response."""
    if isinstance(e, HfHubHTTPError):
        return False
    # httpx or httpx2, depending on the client; the builtin ones come from sockets
    return isinstance(e, ConnectionError | TimeoutError) or type(e).__module__.split(".")[0] in ("httpx", "httpx2")


def has_no_host(error: BaseException) -> bool:
    """Whether the host does not exist or refuses connections, so that retrying does not help."""
    return any(isinstance(e, socket.gaierror | ConnectionRefusedError) for e in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _known(e: BaseException, repo: str, revision: str | None, writing: bool) -> SamHubError | None:
    page = f"{constants.ENDPOINT}/{repo}"
    if isinstance(e, OfflineModeIsEnabled):
        return _offline(repo)
    if isinstance(e, LocalTokenNotFoundError):
        return HubError("you are not logged in to the Hub: run `hf auth login`, or set HF_TOKEN")
    if isinstance(e, HFValidationError):
        return ModelNotFoundError(f"{repo!r} is no name of a repository; give it as user/name")
    if isinstance(e, GatedRepoError):
        return HubError(f"{repo} is gated: log in with `hf auth login` and accept its terms at {page}, then try again")
    if isinstance(e, RevisionNotFoundError):
        return ModelNotFoundError(
            f"{repo} has no revision {revision or 'main'!r}; its branches and tags are at {page}/tree/main"
        )
    if isinstance(e, RepositoryNotFoundError):
        return ModelNotFoundError(
            f"there is no repository {repo} on {constants.ENDPOINT} that you may see: check the name, "
            "and log in with `hf auth login` if it is private"
        )
    if isinstance(e, EntryNotFoundError) and not isinstance(e, LocalEntryNotFoundError):
        return ModelNotFoundError(f"{repo} lacks a file that was asked for; what it holds is at {page}/tree/main")
    if isinstance(e, HfHubHTTPError):
        return _of_status(e, repo, writing)
    if isinstance(e, OSError) and e.errno in (errno.ENOSPC, errno.EDQUOT):
        return HubError(f"no space is left for {repo}: free some, or set HF_HOME to a folder on another disk")
    if isinstance(e, OSError) and e.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and not writing:
        return HubError(f"the cache takes no files of {repo} ({e.strerror}): set HF_HOME to a folder of yours")
    if isinstance(e, OSError) and "Consistency check failed" in str(e):
        return HubError(f"the download from {repo} ended early: try again, it goes on where it stopped")
    return None


def _of_status(e: HfHubHTTPError, repo: str, writing: bool) -> HubError | None:
    status = e.response.status_code
    if status == 401:
        return HubError("the Hub does not accept your token: log in again with `hf auth login`, or mend HF_TOKEN")
    if status == 403:
        if writing:
            return HubError(
                f"your token may not write to {repo}: use one with write access (`hf auth login`), or another name"
            )
        return HubError(f"your token gives no access to {repo}: ask its owner, or use another (`hf auth login`)")
    if status == 404:
        return HubError(f"the Hub finds no {repo} to work on: check the name")
    if status == 412:
        return HubError(f"{repo} has changed meanwhile: try again")
    if status == 429:
        wait = e.response.headers.get("Retry-After")
        when = f"in {wait} seconds" if wait else "in a few minutes"
        return HubError(
            f"the Hub has had too many requests from here: try again {when}, or log in with `hf auth login`"
        )
    if status >= 500:
        return HubError(f"the Hub is out of order just now (status {status}): try again later")
    reason = e.server_message or f"status {status}"
    return HubError(f"the Hub refuses the request for {repo} ({' '.join(str(reason).split())})")


def _offline(repo: str) -> HubError:
    return HubError(
        f"{repo} is not in the cache and the Hub may not be asked: "
        f"run `sam-hub pull {catalogue_name(repo) or repo}` with a network, without HF_HUB_OFFLINE"
    )


def _unreachable(repo: str, e: BaseException) -> HubError:
    reason = " ".join(str(e).split())[:120] or type(e).__name__
    return HubError(
        f"{constants.ENDPOINT} cannot be reached and {repo} is not in the cache ({reason}): check the connection"
    )


def catalogue_name(repo: str) -> str | None:
    """The catalogue name of a repository, or of its only file."""
    names = [name for name, variant in ZOO.items() if repo in (variant.repo, name)]
    return names[0] if len(names) == 1 else None
