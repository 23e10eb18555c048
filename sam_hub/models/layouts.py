"""Write a model as a folder for `from_pretrained`, or as one file in its authors' own layout."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel

from .. import convert
from ..cards import Subject, model_card
from ..errors import CheckpointError, OutputError
from ..families.registry import part
from ..hub import CHECKPOINT_SUFFIXES
from ..ops.files import whole_folder
from ..results import json_bytes
from ..zoo import ZOO, canonical_name
from .configuration_sam import SamConfig
from .processing_sam import SamProcessor

if TYPE_CHECKING:
    from ..inference.concepts import ConceptFinder


def save_folder(
    model: PreTrainedModel,
    folder: str | Path,
    card: str,
    max_shard_size: int | str = "50GB",
    words: "ConceptFinder | None" = None,
) -> Path:
    """Configuration, safetensors, processor and card, all at once or nothing.

    ``transformers.SamModel`` can read the folder too if it has the architecture.
    card: text of ``README.md``
    max_shard_size: largest size of one weight file, as in ``transformers``
    words: SAM 3's text part, which is saved too, with its tokenizer if it has one
    raises: OutputError if the folder exists and is not empty, or cannot be written
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(f"{folder} already exists; give a new or empty folder")
    with whole_folder(folder) as aside:
        if words is None:
            model.save_pretrained(aside, max_shard_size=max_shard_size)
        else:
            _save_with_words(model, words, aside, max_shard_size)
        SamProcessor.for_config(model.config).save_pretrained(aside)
        (aside / "README.md").write_text(card, "utf-8")
        for file in aside.iterdir():
            file.chmod(0o644)
    return folder


def _save_with_words(model: PreTrainedModel, words: "ConceptFinder", folder: Path, max_shard_size: int | str) -> None:
    """Write clicks and text part in the layout in which SAM 3 is published."""
    config, weights = words.model.beside_clicks(model.config.to_dict(), model.state_dict())
    weights = {name: value.contiguous() for name, value in weights.items()}
    model.save_pretrained(folder, max_shard_size=max_shard_size, state_dict=weights)
    (folder / "config.json").write_bytes(json_bytes(config))
    if words.tokenizer is not None:
        words.tokenizer.save_pretrained(folder)


def card_subject(config: SamConfig, base: str | None, repo: str = "this folder", **measured: Any) -> Subject:
    """Facts from a configuration for a model card.

    base: the catalogue name, repository or file that the weights come from
    measured: ``parameters``, ``reports``, ``latency`` and ``bundles`` of `Subject`, as far as they are known
    """
    base = canonical_name(base or "") or base
    if base and (base.count("/") != 1 or Path(base).suffix in CHECKPOINT_SUFFIXES):  # a file, not a repository
        base = Path(base).name
    variant = ZOO.get(base or "")
    facts = {"parameters": variant.params if variant else None, **measured}
    return Subject(
        repo=repo,
        base=base,
        native=config.is_transformers_native,
        image_size=config.vision_config.image_size,
        prompts=tuple(config.prompt_encoder_config.prompt_kinds),
        one_mask=max(config.capabilities.masks) == 1,
        client=part("mask decoder", config.mask_decoder_config.model_type).client,
        **facts,
    )


def folder_card(config: SamConfig, base: str | None, repo: str = "this folder") -> str:
    """The model card of a folder."""
    return model_card(card_subject(config, base, repo))


def original_family(model: PreTrainedModel) -> str:
    """The family whose original layout can hold this model; CheckpointError if there is none."""
    weights = model.state_dict()
    for family, layout in convert.layouts().items():
        if layout.superseded and getattr(model.config, "original_layout", "") != family:
            continue
        try:
            original = convert.to_original(weights, family) | layout.tables(model.config.vision_config)
            found, settings, back = convert.to_ours(original)
        except CheckpointError:
            continue
        if found == family and back.keys() == weights.keys() and _same_parts(SamConfig(**settings), model.config):
            return family
    raise CheckpointError(
        f"no original project has a layout for this model ({model.config.vision_config.model_type}); "
        "convert it to a folder instead"
    )


def _same_parts(a: SamConfig, b: SamConfig) -> bool:
    parts = ("vision_config", "prompt_encoder_config", "mask_decoder_config")
    return all(getattr(a, part).model_type == getattr(b, part).model_type for part in parts)


def save_original(model: PreTrainedModel, path: str | Path, words: "ConceptFinder | None" = None) -> Path:
    """Write a ``.pth`` that the tools of the model's authors read: bit-equal tensors under their names.

    words: SAM 3's text part, which is saved too
    raises: CheckpointError if no original project has such a model; OutputError if the file exists or cannot be written
    """
    path = Path(path)
    if path.exists():
        raise OutputError(f"{path} already exists; give a new name")
    family = original_family(model)
    weights = {} if words is None else words.model.to_original()
    weights |= convert.to_original(model.state_dict(), family)
    weights |= convert.layouts()[family].tables(model.config.vision_config)
    aside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: value.contiguous() for key, value in weights.items()}, aside)
        aside.replace(path)
    except (OSError, RuntimeError) as e:  # torch reports a full disk as RuntimeError
        raise OutputError(f"{path} cannot be written: {getattr(e, 'strerror', None) or e}") from e
    finally:
        aside.unlink(missing_ok=True)
    return path
