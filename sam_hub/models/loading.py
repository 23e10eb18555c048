"""Loading and saving of a `SamModel`: folders, original files, the catalogue, the Hub."""

import tempfile
import warnings
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .. import convert
from ..errors import CheckpointError, HubError, ModelNotFoundError, OutputError
from ..families import registry
from ..hub import ASSETS, locate
from ..hub.download import Repository
from ..hub.failures import explained
from ..hub.originals import converted_folder
from ..hub.places import WHERE
from ..hub.upload import push_files
from ..ops.bounds import building
from ..zoo import ZOO, Variant
from .configuration_sam import SamConfig
from .layouts import folder_card, save_folder


class LoadingMixin:
    """Loading, saving and pushing, on top of the methods of ``transformers.PreTrainedModel``."""

    original_file = ""  # the file in its authors' layout that it was loaded from
    original_layout = ""  # its layout
    original_names: tuple[str, ...] = ()  # its tensors
    loaded_from: Mapping[str, Any] = {}  # the repository's commit, token, ..., to load its other files later
    is_fused = False  # whether `SamModel.fuse` has replaced weights of the checkpoint

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path, *args, strict: bool = True, trust_size: bool = False, **kwargs
    ):
        """Load "pocket", a catalogue name, a folder, an original checkpoint file or a Hub repository.

        If the weights of a catalogue name are an original file, it is downloaded and converted on first use.
        pretrained_model_name_or_path: see `sam_hub.hub.locate`
        trust_size: lift the limits on numbers in a configuration
        strict: refuse weights that do not fit; False initialises missing ones at random, for fine-tuning
        other arguments: as in ``transformers`` (dtype, device_map, revision, subfolder, token, cache_dir,
            local_files_only, force_download, ...)
        raises: ModelNotFoundError, HubError, CheckpointError
        """
        if pretrained_model_name_or_path is None:
            return super().from_pretrained(None, *args, **kwargs)
        place = locate(pretrained_model_name_or_path, kwargs.get("subfolder") or "")
        if place.file:
            return cls.from_original(place.file, place.variant, *args, **kwargs)
        if place.folder and place.folder.parent == ASSETS:
            in_full_precision(kwargs)
        source = str(place.folder)
        if place.original:
            source = str(fetch_original(cls, place.original, kwargs))
        elif place.repo:
            source = place.repo
            repository = Repository.of(source, kwargs, place.variant.revision if place.variant else "")
            usual = kwargs.get("use_safetensors") is not False and not kwargs.get("variant")
            kwargs["revision"] = repository.fetch_model(weights=usual)
            kwargs.pop("force_download", None)  # done above
        wants_info = kwargs.pop("output_loading_info", False)
        given = kwargs.get("key_mapping")
        kwargs["key_mapping"] = {**registry.renamed(), **(given or {})}
        try:
            with explained(source, kwargs.get("revision")), building(trust_size, place.folder if strict else None):
                model, info = super().from_pretrained(source, *args, output_loading_info=True, **kwargs)
        except SafetensorError as e:
            raise CheckpointError(f"the weights of {source} are damaged or cut short ({e}); download them again") from e
        except (HubError, ModelNotFoundError):
            raise
        except RuntimeError as e:
            if "ignore_mismatched_sizes" not in str(e):
                raise
            raise CheckpointError(f"the weights of {source} have other shapes than its config.json says") from e
        except OSError as e:
            if place.folder and (place.folder / "export.json").is_file():
                raise ModelNotFoundError(
                    f"{source} holds exported files and no weights for PyTorch; give the model they came from"
                ) from e
            raise ModelNotFoundError(f"{source} could not be loaded: {str(e).splitlines()[0]}") from e
        model.loaded_from = {name: kwargs[name] for name in WHERE if kwargs.get(name)}
        if not given:  # else transformers saves the names as read
            model._weight_conversions = []
        if place.variant:  # settings that the repository's configuration lacks
            model.config.take_from(place.variant)
            tell_licence(place.variant)
        faults = {kind: info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys") if info[kind]}
        if strict and faults:
            named = "; ".join(
                f"{kind.split('_')[0]}: {convert.some(sorted(map(str, k)))}" for kind, k in faults.items()
            )
            raise CheckpointError(f"the weights of {source} do not fit its config.json ({named})")
        align_small_weights(model)
        return (model, info) if wants_info else model

    @classmethod
    def from_original(cls, file: Path, variant: Variant | None, *args: Any, **kwargs: Any) -> Any:
        """Load a file in its authors' layout; ``variant`` has what the weights do not say.

        A state dict of a `SamModel`, as a training loop saves it, needs ``config``, unless it is of a model inside this
        package.
        raises: CheckpointError
        """
        weights, family = convert.read_checkpoint(file), ""
        names = tuple(weights)
        config, is_own = kwargs.pop("config", None), convert.is_own(weights)
        if is_own and config is None:
            config = embedded_config(cls, weights)
            in_full_precision(kwargs)
        if config is None or not is_own:
            family, settings, weights = convert.to_ours(weights)
        if config is None:
            config = SamConfig(**settings)
            if variant and variant.family == family:
                config.take_from(variant)
        convert.check_complete(shapes_of(cls, config), weights)
        tell_licence(variant or next((v for v in ZOO.values() if v.family == family), None))
        loaded = super().from_pretrained(None, *args, config=config, state_dict=weights, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.original_file = str(file)
        model.original_layout, model.original_names = family, names
        align_small_weights(model)
        return loaded

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        max_shard_size: int | str = "5GB",
        card: str | None = None,
        base: str | None = None,
    ) -> str:
        """Upload weights, configuration, processor and model card in one commit.

        private: visibility of the repository, if it does not exist yet
        revision: a branch, created if missing
        card: text of the model card; default: `sam_hub.cards.model_card` of the known facts
        base: catalogue name or repository of the base model, for the card
        returns: the address of the commit
        raises: HubError, ModelNotFoundError, OutputError
        """
        with tempfile.TemporaryDirectory() as place:
            folder = save_folder(
                self, Path(place) / "model", card or folder_card(self.config, base, repo_id), max_shard_size
            )
            files = sorted(path for path in folder.iterdir())
            return push_files({path.name: path for path in files}, repo_id, commit_message, private, token, revision)

    def save_pretrained(self, *args, **kwargs):
        """As in ``transformers``, without SAM 3's text part, which `save_folder` keeps.

        raises: OutputError for a model after `fuse`
        """
        if self.is_fused:
            raise OutputError("a fused model cannot be saved: load it again, and save it before fuse()")
        if self.config.capabilities.concepts and kwargs.get("state_dict") is None:
            warnings.warn(
                "the text part is not saved, because this model holds only the part for clicks; `sam-hub convert` "
                "keeps it, and so does sam_hub.models.layouts.save_folder with "
                "words=sam_hub.inference.concepts.words_to_write(model)",
                stacklevel=2,
            )
        if getattr(self.prompt_encoder, "holds_positions", False):
            weights = kwargs.get("state_dict") or self.state_dict()
            name = next(key for key in weights if key.endswith("shared_image_embedding.positional_embedding"))
            twin = name.replace("shared_image_embedding", "prompt_encoder.shared_embedding")
            kwargs["state_dict"] = {**weights, twin: weights[name].clone()}
        return super().save_pretrained(*args, **kwargs)


def shapes_of(cls: type[nn.Module], config: SamConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a model, which is not built."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in cls(config).state_dict().items()}


def embedded_config(cls: type[nn.Module], weights: Mapping[str, torch.Tensor]) -> SamConfig | None:
    """The configuration of the model inside this package whose weights have these names and shapes."""
    found = {key: tuple(value.shape) for key, value in weights.items()}
    configs = (SamConfig.from_pretrained(path.parent) for path in sorted(ASSETS.glob("*/config.json")))
    return next((config for config in configs if shapes_of(cls, config) == found), None)


def stored_dtype(path: Path | None) -> torch.dtype | str:
    """The one floating type of the weights in a folder or file; "auto" if there are several, or no safetensors."""
    file = path / "model.safetensors" if path and path.is_dir() else path
    if file is None or not file.is_file():
        return "auto"
    try:
        with safe_open(file, "pt") as weights:
            kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118, it is no mapping
    except SafetensorError:  # loading the model says it in a sentence
        return "auto"
    types = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
    found = [types[kind] for kind in kinds if kind in types]
    return found[0] if len(found) == 1 else "auto"


def in_full_precision(arguments: dict[str, Any]) -> None:
    """Unless a type is named, float32: half precision only keeps the package small, and CPUs are slow at it.

    "auto", the type of the file, names none; ``pipeline`` asks for it by default.
    """
    names = [name for name in ("torch_dtype", "dtype") if arguments.get(name) is not None]
    if all(isinstance(arguments[name], str) and arguments[name] == "auto" for name in names):
        arguments.pop("torch_dtype", None)
        arguments["dtype"] = torch.float32


def tell_licence(variant: Variant | None) -> None:
    """Warn once per process about a licence that forbids commercial use or must be accepted."""
    if variant and variant.gated:
        _warn_once(f"these weights are under {variant.license}, whose terms you accepted at {variant.repo} on the Hub")
    if variant and not variant.commercial_use:
        _warn_once(f"these weights are under {variant.license}: not for commercial use")


@lru_cache
def _warn_once(text: str) -> None:
    warnings.warn(text, stacklevel=4)


def fetch_original(cls: type[LoadingMixin], name: str, arguments: dict[str, Any]) -> Path:
    """The folder of a catalogue name that is published as an original file, converted on first use.

    cls: the class of the model; arguments: of ``from_pretrained``
    raises: ModelNotFoundError, HubError, CheckpointError, OutputError
    """

    def convert_file(file: Path, folder: Path) -> None:
        model = cls.from_original(file, ZOO[name], dtype="auto")
        save_folder(model, folder, folder_card(model.config, name))

    return converted_folder(name, convert_file, arguments)


@torch.no_grad()
def align_small_weights(model: nn.Module) -> None:
    """Copy small weights, in place, out of a memory-mapped file, where their alignment is arbitrary.

    At unaligned addresses, matrix-vector products are summed in another order, with twice the error in RepViT's gates;
    large weights are computed by other kernels and stay mapped.
    """
    for parameter in model.parameters():
        if parameter.device.type == "cpu" and parameter.data_ptr() % 64 and parameter.nbytes < 2**20:
            parameter.data = parameter.data.clone()
