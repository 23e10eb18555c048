"""Models published as original files: downloaded, verified and converted once, then kept as folders.

They are stored in the Hub's assets cache (``HF_ASSETS_CACHE``, or the given ``cache_dir``), under
``sam_hub/NAME/REVISION``. A second process waits for the first, and the original file is deleted after conversion.
"""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from filelock import FileLock
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.utils import build_hf_headers

from ..errors import CheckpointError, HubError, ModelNotFoundError, OutputError
from ..zoo import ZOO, Variant
from .download import SHA256, Repository, download, download_url, sha256_of
from .failures import explained

LAYOUT = "1"
"""Incremented when conversion writes different folders, so that old ones are no longer used."""


def converted_home(name: str, revision: str | None = None, cache_dir: str | Path | None = None) -> Path:
    """Path of the converted folder of a catalogue name, whether or not it exists."""
    cache = _cache_folder(cache_dir)
    return cache / name / f"{quote(revision or ZOO[name].revision or 'main', safe='')}-{LAYOUT}"


def is_converted(name: str) -> bool:
    """Whether the catalogue's revision has already been converted."""
    return (converted_home(name) / "config.json").is_file()


def converted_folder(name: str, convert: Callable[[Path, Path], object], arguments: dict[str, Any]) -> Path:
    """The converted folder of a catalogue name whose weights are an original file.

    convert: (file, folder) -> writes the folder completely or not at all
    arguments: of ``from_pretrained``: revision, token, cache_dir, local_files_only, force_download
    raises: ModelNotFoundError, HubError, CheckpointError, OutputError
    """
    source = Repository.of(ZOO[name].repo or name, arguments, ZOO[name].revision)
    folder = converted_home(name, arguments.get("revision"), source.cache_dir)
    if (folder / "config.json").is_file() and not source.force_download:
        return folder
    if source.offline:
        raise HubError(
            f"{name} has not been downloaded and sam-hub is offline: "
            f"run `sam-hub pull {name}` with a network, without HF_HUB_OFFLINE"
        )
    cache = _cache_folder(source.cache_dir)
    try:
        (cache / ".locks").mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / ".locks" / f"{name}-{folder.name}.lock")
        with lock:
            if (folder / "config.json").is_file() and not source.force_download:
                return folder
            downloads = cache / ".downloads" / name / folder.name
            file = _fetch(name, source, downloads)
            try:
                for old in (folder, *folder.parent.glob(f".{folder.name}-*")):  # the latter from a killed process
                    shutil.rmtree(old, ignore_errors=True)
                convert(file, folder)
            except CheckpointError:
                shutil.rmtree(downloads, ignore_errors=True)  # it would fail again
                raise
            shutil.rmtree(downloads, ignore_errors=True)
            return folder
    except PermissionError as e:
        raise OutputError(f"{e.filename or cache} cannot be written: set HF_HOME to a folder you can write to") from e


def _cache_folder(cache_dir: str | Path | None) -> Path:
    return Path(cache_dir or constants.HF_ASSETS_CACHE).expanduser() / "sam_hub"


def _fetch(name: str, source: Repository, downloads: Path) -> Path:
    """Fetch the original file, verified against the catalogue's and the Hub's data."""
    variant = ZOO[name]
    certain = variant.sha256 if source.revision in (None, variant.revision or None) else ""
    if variant.repo:
        try:
            return _from_hub(variant, source, downloads, certain)
        except ModelNotFoundError:
            if not variant.url:
                raise
    packed = variant.url.endswith(".zip")
    file = _unzipped(download_url(variant.url, downloads, "" if packed else certain))
    if packed and certain and (found := sha256_of(file)) != certain:
        raise CheckpointError(f"{file.name} in {variant.url} has sha256 {found[:12]}... instead of {certain[:12]}...")
    return file


def _from_hub(variant: Variant, source: Repository, downloads: Path, certain: str) -> Path:
    cached = try_to_load_from_cache(source.name, variant.file, cache_dir=source.cache_dir, revision=source.revision)
    if isinstance(cached, str) and (not certain or sha256_of(Path(cached)) == certain):
        return Path(cached)
    with explained(source.name, source.revision):
        url = hf_hub_url(source.name, variant.file, revision=source.revision)
        metadata = get_hf_file_metadata(url, token=source.token, retry_on_errors=True)
        announced = metadata.etag if SHA256.fullmatch(metadata.etag or "") else ""
        if certain and announced and announced != certain:
            raise CheckpointError(
                f"{variant.file} of {source.name} has sha256 {announced[:12]}... instead of the catalogue's "
                f"{certain[:12]}...: it was replaced; load it by its path if you trust it"
            )
        target = downloads / (announced or certain or "file")[:16] / variant.file
        headers = build_hf_headers(token=source.token)
        return download(url, target, size=metadata.size, sha256=certain or announced, headers=headers)


def _unzipped(file: Path) -> Path:
    """Extract the only file of an archive beside it; other files are returned unchanged."""
    if not zipfile.is_zipfile(file) or file.suffix != ".zip":
        return file
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith((".pt", ".pth"))]
        if len(names) != 1:
            raise CheckpointError(
                f"{file.name} holds {len(names)} checkpoints; unpack it, and give the path of one of them"
            )
        target = file.parent / Path(names[0]).name
        with archive.open(names[0]) as source, open(target, "wb") as out:
            shutil.copyfileobj(source, out)
    return target
