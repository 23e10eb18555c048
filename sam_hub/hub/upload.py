"""Uploads all files of a model in one commit, or none."""

import re
from collections.abc import Mapping
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError

from ..errors import HubError
from .failures import explained

WEIGHTS = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
"""File names that loading looks for; stale ones from an earlier push would be read instead of the new ones."""


def push_files(
    files: Mapping[str, Path],
    repo: str,
    message: str | None = None,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
) -> str:
    """Upload files in one commit; repository and branch are created if missing.

    Large files are uploaded first, and the Hub keeps them if the commit fails, so an interrupted push resumes; readers
    only see the commit. Weights of an earlier push that are not part of this one are removed.
    files: path in the repository -> file
    private: visibility of a new repository; None: the Hub's default. An existing repository must match.
    revision: a branch; default: ``main``
    returns: URL of the commit
    raises: HubError, ModelNotFoundError
    """
    if constants.HF_HUB_OFFLINE:
        raise HubError("HF_HUB_OFFLINE is set; unset it to upload")
    api = HfApi(token=token)
    with explained(repo, revision, writing=True):
        user = api.whoami()["name"]
        repo = repo if "/" in repo else f"{user}/{repo}"
        try:
            there = api.model_info(repo)
        except RepositoryNotFoundError:
            there = None
        if there and private is not None and bool(there.private) != private:
            found, wanted = ("private", "public") if there.private else ("public", "private")
            raise HubError(f"{repo} exists and is {found}, not {wanted}: change it in its settings on the Hub first")
        if there is None:
            api.create_repo(repo, private=private, exist_ok=True)
        if revision:
            api.create_branch(repo, branch=revision, exist_ok=True)
        old = [path for path in api.list_repo_files(repo, revision=revision) if WEIGHTS.fullmatch(path)]
        operations = [
            *(CommitOperationAdd(path_in_repo=path, path_or_fileobj=file) for path, file in sorted(files.items())),
            *(CommitOperationDelete(path_in_repo=path) for path in old if path not in files),
        ]
        try:
            done = api.create_commit(
                repo, operations, commit_message=message or "Upload with sam-hub", revision=revision
            )
        except ValueError as e:
            raise HubError(f"the Hub rejects the model card: {' '.join(str(e).split())}") from e
        return done.commit_url
