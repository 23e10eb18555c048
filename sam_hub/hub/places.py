"""Resolves the source of a model: the package, a folder, a file, the catalogue or the Hub."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelNotFoundError
from ..zoo import ZOO, Variant, canonical_name, nearest_names, variant_of_file

ASSETS = Path(__file__).parents[1] / "assets"
WHERE = ("revision", "subfolder", "token", "cache_dir", "local_files_only")
"""Arguments of ``from_pretrained`` that select the files of a repository."""

CHECKPOINT_SUFFIXES = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Located:
    """A model's source. Exactly one of the first four is set.

    folder: a local folder in transformers layout
    file: a local checkpoint in its original layout
    repo: a Hub repository in transformers layout
    original: the catalogue name of a model published as an original file, to be downloaded and converted
    variant: its catalogue entry, if the name or the file's name is in the catalogue
    """

    folder: Path | None = None
    file: Path | None = None
    repo: str | None = None
    original: str | None = None
    variant: Variant | None = None

    @property
    def name(self) -> str | None:
        """The catalogue name."""
        return next((name for name, variant in ZOO.items() if variant is self.variant), None)


def locate(name: str | Path, subfolder: str = "") -> Located:
    """Resolve a model's source without network access.

    subfolder: of a local folder, if the model is in it
    raises: ModelNotFoundError, suggesting similar names
    """
    text, path = str(name), Path(name)
    key = canonical_name(text)
    embedded = ASSETS / (key or "")
    if key and (embedded / "config.json").is_file():
        return Located(folder=embedded, variant=ZOO[key])
    if path.is_dir():
        if not (path / subfolder / "config.json").is_file():
            if (path / subfolder / "adapter_config.json").is_file():
                raise ModelNotFoundError(
                    f"{path / subfolder} holds adapters alone; load the model that they belong to, and then them with "
                    f"model.load_adapter({str(path / subfolder)!r})"
                )
            raise ModelNotFoundError(
                f"{path / subfolder} is a folder without config.json; give the folder that holds the model"
            )
        return Located(folder=path)
    if path.is_file():
        if path.suffix not in CHECKPOINT_SUFFIXES:
            raise ModelNotFoundError(
                f"{path} is not a checkpoint; expected a file ending in {', '.join(CHECKPOINT_SUFFIXES)}"
            )
        return Located(file=path, variant=variant_of_file(path.name))
    if path.suffix in CHECKPOINT_SUFFIXES or text.startswith((".", "/", "~")):
        raise ModelNotFoundError(f"{path} does not exist; check the path")
    if key:
        variant = ZOO[key]
        if variant.file:
            return Located(original=key, variant=variant)
        return Located(repo=variant.repo, variant=variant)
    if text.count("/") == 1 and all(text.split("/")):
        return Located(repo=text)
    near = nearest_names(text)
    hint = f"did you mean {' or '.join(near)}?" if near else "`sam-hub zoo` lists the names"
    raise ModelNotFoundError(f"no model is called {text!r}; {hint}")
