"""Downloads that resume, are verified, and appear completely or not at all.

``huggingface_hub`` resumes a dropped connection, but discards incomplete blocks of 10 MB, loses everything when its
process ends, and only checks the size. Here, bytes are kept beside the target as ``.incomplete`` until all have arrived
and their sha256 is verified, under a lock that other processes wait for. Repositories still go to the Hub's own cache,
in its client's layout: `Repository.fetch` only puts large files where that client looks first. Files come over plain
HTTP, as the client's faster protocol, Xet, cannot resume.
"""

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock
from huggingface_hub import (
    _CACHED_NO_EXIST,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status, http_stream_backoff, tqdm

from ..errors import CheckpointError, HubError, ModelNotFoundError
from ..zoo import ZOO
from .failures import explained, has_no_host, is_network_failure

SHA256 = re.compile(r"[0-9a-f]{64}")
PATIENCE = 5
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, PROCESSORS = "config.json", ("processor_config.json", "preprocessor_config.json")

logger = logging.getLogger(__name__)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str = "",
    headers: Mapping[str, str] | None = None,
) -> Path:
    """Download ``url`` to ``target``, unless it exists.

    ``target``'s name must identify its content, because ``NAME.incomplete`` of an earlier attempt is continued.
    size: in bytes, None if unknown; sha256: hexadecimal, empty if unknown
    raises: CheckpointError if the bytes differ from the expected ones, which deletes them
    """
    part = target.with_name(f"{target.name}.incomplete")
    target.parent.mkdir(parents=True, exist_ok=True)
    for again in (True, False):
        with open(part, "ab") as f:
            if size is not None and f.tell() > size:
                _empty(f)
            start = f.tell()
            _stream(url, f, size, headers or {})
        found = sha256_of(part) if sha256 else ""
        if found == sha256:
            part.replace(target)
            return target
        part.unlink()
        if not (start and again):  # if an earlier attempt left damaged bytes, start again once
            break
    raise CheckpointError(
        f"{url} arrived with sha256 {found[:12]}... instead of {sha256[:12]}...: it was damaged in transfer, "
        "or replaced; try again"
    )


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _stream(url: str, file: BinaryIO, size: int | None, headers: Mapping[str, str]) -> None:
    """Append the missing bytes of ``url`` to ``file``; give up after `PATIENCE` attempts in a row without progress.

    ``huggingface_hub``'s own ``http_get`` writes blocks of 10 MB and discards an incomplete one.
    """
    name = url.partition("?")[0].rsplit("/", 1)[-1]
    with tqdm(total=size, initial=file.tell(), unit="B", unit_scale=True, desc=name[-40:]) as bar:
        idle = 0
        while size is None or file.tell() < size:
            before = file.tell()
            ranged = {"Range": f"bytes={before}-"} if before else {}
            plain = {**headers, **ranged, "Accept-Encoding": "identity"}
            failure = None
            try:
                # HTTP statuses are retried inside, connection failures out here.
                with http_stream_backoff(
                    "GET", url, headers=plain, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT, retry_on_exceptions=()
                ) as answer:
                    hf_raise_for_status(answer)
                    if before and answer.status_code == 200:  # the whole file, from the start
                        _empty(file)
                        bar.reset(total=size)
                    for block in answer.iter_bytes():
                        file.write(block)
                        bar.update(len(block))
                if size is None:
                    return
            except Exception as e:
                if not is_network_failure(e):
                    raise
                failure = e
            file.flush()
            idle = idle + 1 if file.tell() <= before else 0
            if idle > PATIENCE:
                raise failure or ConnectionError("the answers are empty")
            if failure:
                time.sleep(1)


def download_url(url: str, folder: Path, sha256: str = "") -> Path:
    """Download a file that is not on the Hub to ``folder``, without sending a token.

    A partial download is only continued if the server confirms that the file is unchanged.
    raises: ModelNotFoundError, HubError, CheckpointError
    """
    if constants.HF_HUB_OFFLINE:
        raise HubError(f"{url} is not in the cache and HF_HUB_OFFLINE is set: download it first with `sam-hub pull`")
    with explained(url):
        plain = {"Accept-Encoding": "identity"}
        head = get_session().head(url, headers=plain, timeout=constants.HF_HUB_ETAG_TIMEOUT, follow_redirects=True)
        if head.status_code in (404, 410):
            raise ModelNotFoundError(f"{url} is gone; look for it on its authors' page, and give the path of the file")
        facts = head.headers if head.status_code < 400 else {}
        mark = facts.get("ETag") or facts.get("Last-Modified") or ""
        size = int(facts["Content-Length"]) if facts.get("Content-Length", "").isdigit() else None
        key = sha256 or hashlib.sha256(f"{url} {mark} {size}".encode()).hexdigest()
        target = folder / key[:16] / url.rsplit("/", 1)[-1]
        if not (sha256 or mark):
            target.with_name(f"{target.name}.incomplete").unlink(missing_ok=True)
        return download(url, target, size=size, sha256=sha256, headers=plain)


@dataclass(frozen=True)
class Repository:
    """A Hub repository, described by arguments of ``from_pretrained``."""

    name: str
    revision: str | None = None
    subfolder: str = ""
    token: str | bool | None = None
    cache_dir: str | Path | None = None
    local_files_only: bool = False
    force_download: bool = False
    verify: bool = False
    """Verify the hash of large cached files, which takes as long as reading them."""

    @classmethod
    def of(cls, name: str, arguments: Mapping[str, Any], revision: str = "") -> "Repository":
        """From keyword arguments, ignoring those not about the repository.

        revision: used if the arguments have none
        """
        return cls(
            name,
            arguments.get("revision") or revision or None,
            arguments.get("subfolder") or "",
            arguments.get("token"),
            arguments.get("cache_dir"),
            bool(arguments.get("local_files_only")),
            bool(arguments.get("force_download")),
        )

    @property
    def offline(self) -> bool:
        """Whether only the cache may be used."""
        return self.local_files_only or constants.HF_HUB_OFFLINE

    def fetch(self, file: str) -> Path | None:
        """Fetch a file into the Hub's cache; None if the repository has no such file.

        raises: ModelNotFoundError, HubError, CheckpointError
        """
        with explained(self.name, self.revision):
            try:
                if not self.offline:
                    self._fetch_large(file)
                found = Path(
                    hf_hub_download(
                        self.name,
                        file,
                        subfolder=self.subfolder or None,
                        revision=self.revision,
                        token=self.token,
                        cache_dir=self.cache_dir,
                        local_files_only=self.local_files_only,
                        force_download=self.force_download and not self.offline,
                    )
                )
                self._check(found)
                return found
            except LocalEntryNotFoundError:
                if self._is_known_to_lack(file):
                    return None
                raise
            except EntryNotFoundError:
                return None

    def _check(self, file: Path) -> None:
        """If `verify` is set, check a cached file. raises: CheckpointError if it is damaged"""
        blob = Path(os.path.realpath(file))
        if self.verify and SHA256.fullmatch(blob.name) and sha256_of(blob) != blob.name:
            raise CheckpointError(f"{file} is damaged in the cache; download it again with `sam-hub pull`")

    def _is_known_to_lack(self, file: str) -> bool:
        """Whether the cache records that there is no such file."""
        return self._remembered(file) is _CACHED_NO_EXIST

    def _is_cached(self, file: str) -> bool:
        """Whether the cache has the file, or records that there is none."""
        return self._remembered(file) is not None

    def _remembered(self, file: str) -> Any:
        path = f"{self.subfolder}/{file}" if self.subfolder else file
        return try_to_load_from_cache(self.name, path, cache_dir=self.cache_dir, revision=self.revision)

    def _fetch_large(self, file: str) -> None:
        """Download the blob of a large file to where `hf_hub_download` finds it.

        Files stored in git are small and left to that function; so are failures to get the file's metadata, because it
        knows whether the cache suffices. But it retries for half a minute without a network, so files missing from the
        cache then fail here at once.
        """
        where = {"repo_id": self.name, "filename": file, "subfolder": self.subfolder or None}
        try:
            metadata = get_hf_file_metadata(hf_hub_url(**where, revision=self.revision), token=self.token)
        except Exception as e:
            logger.debug("no metadata of %s in %s: %s", file, self.name, e)
            if has_no_host(e) and not self._is_cached(file):
                raise
            return
        if metadata.etag is None or not SHA256.fullmatch(metadata.etag) or metadata.commit_hash is None:
            return
        cache = Path(self.cache_dir or constants.HF_HUB_CACHE).expanduser().resolve()
        home = repo_folder_name(repo_id=self.name, repo_type="model")
        blob = cache / home / "blobs" / metadata.etag
        lock = cache / ".locks" / home / f"{metadata.etag}.sam-hub.lock"
        if self._is_there(blob, metadata.size):
            return
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if self._is_there(blob, metadata.size):
                return
            # The commit's URL redirects anew each time; a signed URL would expire.
            url = hf_hub_url(**where, revision=metadata.commit_hash)
            headers = build_hf_headers(token=self.token)
            download(url, blob, size=metadata.size, sha256=metadata.etag, headers=headers)

    def _is_there(self, blob: Path, size: int | None) -> bool:
        """Whether a blob is cached and complete; a damaged one is fetched again."""
        if self.force_download or not blob.exists() or size not in (None, blob.stat().st_size):
            return False
        return not self.verify or sha256_of(blob) == blob.name

    def fetch_model(self, weights: bool = True) -> str:
        """Fetch all files needed to load a model: configuration, and weights in one file or in shards.

        returns: the commit of the files, to load exactly those
        raises: ModelNotFoundError, HubError, CheckpointError
        """
        config = self.fetch(CONFIG)
        if config is None:
            raise ModelNotFoundError(self._without_config())
        commit = self.commit_of(config)
        if weights:
            pinned = Repository(**{**vars(self), "revision": commit})
            if pinned.fetch(WEIGHTS) is None and (index := pinned.fetch(INDEX)):
                for shard in _shards(index):
                    if pinned.fetch(shard) is None:
                        raise ModelNotFoundError(
                            f"{self.name} lacks {shard}, a part of its weights; report it to its authors"
                        )
        return commit

    def fetch_first(self, files: Iterable[str]) -> str | None:
        """Fetch those of some files that exist. Returns their commit, or None if none exists."""
        found, failure = [], None
        for file in files:
            try:
                found += filter(None, [self.fetch(file)])
            except HubError as e:  # offline, another one may be in the cache
                failure = failure or e
        if failure and not found:
            raise failure
        return self.commit_of(found[0]) if found else None

    def commit_of(self, path: Path) -> str:
        """The commit of a file in the cache, whose path is ``.../snapshots/COMMIT/...``."""
        return path.parts[len(path.parts) - 1 - path.parts[::-1].index("snapshots") + 1]

    def _without_config(self) -> str:
        place = f"{self.name}/{self.subfolder}" if self.subfolder else self.name
        names = [name for name, variant in ZOO.items() if variant.repo == self.name and variant.file]
        if names:
            return f"{place} holds files of the original authors; load them by name: {', '.join(names)}"
        return f"{place} holds no {CONFIG}: it is no model in transformers layout; check the name and --revision"


def check_reachable(name: str, **where: Any) -> None:
    """Fail early if a repository is neither cached nor reachable; folders always pass.

    For models that ``transformers`` loads itself, as it retries for long; where: revision, token, ...
    raises: ModelNotFoundError, HubError
    """
    if not Path(name).is_dir() and name.count("/") == 1:
        Repository.of(name, where).fetch(CONFIG)


def _shards(index: Path) -> list[str]:
    """The files that an index names, all in its folder. raises: CheckpointError"""
    try:
        names = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
        odd = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise CheckpointError(
            f"{index} is not an index of weights ({type(e).__name__}: {e}); report it to its authors"
        ) from e
    if odd or not names:
        named = repr(min(odd)) if odd else "nothing"
        raise CheckpointError(f"{index} names {named} as a part of the weights; report it to its authors")
    return sorted(names)
