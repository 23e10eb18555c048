"""Download models into the cache without loading them."""

from dataclasses import replace
from pathlib import Path

from ..hub import locate
from ..hub.download import PROCESSORS, Repository
from .loading import fetch_original
from .modeling_sam import SamModel


def prefetch(name: str | Path, revision: str | None = None, force: bool = False) -> Path:
    """Fetch all files that `SamModel` and `SamProcessor` load, so that ``from_pretrained`` needs no network.

    name: see `sam_hub.hub.locate`
    force: download and convert again even if present
    returns: the folder of the model, or the checkpoint file if ``name`` is one
    raises: ModelNotFoundError, HubError, CheckpointError, OutputError
    """
    place = locate(name)
    if place.original:
        return fetch_original(SamModel, place.original, {"revision": revision, "force_download": force})
    if place.repo:
        arguments = {"revision": revision, "force_download": force}
        repository = Repository.of(place.repo, arguments, place.variant.revision if place.variant else "")
        repository = replace(repository, verify=True)
        commit = repository.fetch_model()
        repository.fetch_first(PROCESSORS)
        return Repository(place.repo, commit).fetch("config.json").parent
    return place.folder or place.file
