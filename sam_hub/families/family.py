"""What a family of models declares about itself, as data. Standard library only.

Classes are named by lazy strings, ``"package.module:Name"``, so that the catalogue loads no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROMPT_KINDS = ("points", "background points", "boxes", "masks")
"""What SAM understands; a model that understands less says so in its ``prompt_kinds``."""


@dataclass(frozen=True)
class Variant:
    """One checkpoint of the catalogue.

    family: the layout of its original file, see `Family.originals`
    params: parameters, counted by building it
    repo, file, revision: where it is published on the Hub; ``file`` is empty for the transformers layout
    url: where its authors publish the file, if not (only) on the Hub
    sha256: of the original file, where certain
    config: the settings of `SamConfig` that differ from its defaults
    published: figures of its authors, each with its source
    gated: whether its repository asks to accept terms first
    """

    family: str
    params: int
    license: str
    good_for: str
    repo: str = ""
    file: str = ""
    revision: str = ""
    url: str = ""
    sha256: str = ""
    image_size: int = 1024
    config: dict = field(default_factory=dict)
    published: dict[str, str] = field(default_factory=dict)
    commercial_use: bool = True
    gated: bool = False


@dataclass(frozen=True)
class ModelCapabilities:
    """What a model can do, by its configuration: see `SamConfig.capabilities`.

    prompts: of `PROMPT_KINDS`, those that it was trained on
    masks: how many masks it may answer a prompt with: (1, 3), or (1,) where there is never a choice
    single_mask: whether the token of the single mask was trained; if not, the single mask is the best of the others
    rank_by: what the best of several masks is chosen by: "iou", the predicted one, or "stability"
    extra_tokens: mask tokens beside SAM's, whose masks `MaskDecoder.select_masks` combines with SAM's
    prompt_slots: how many points and box corners an object may have at most, where their number is fixed
    object_score: whether it tells if there is an object at all
    feature_maps: names of the `EncoderOutput.features` that its decoder reads
    text: whether it takes text
    concepts: whether it finds every instance of what words name
    """

    prompts: tuple[str, ...] = PROMPT_KINDS
    masks: tuple[int, ...] = (1, 3)
    single_mask: bool = True
    rank_by: str = "iou"
    extra_tokens: tuple[str, ...] = ()
    prompt_slots: int | None = None
    object_score: bool = False
    feature_maps: tuple[str, ...] = ()
    text: bool = False
    concepts: bool = False


@dataclass(frozen=True)
class Part:
    """An image encoder, a prompt encoder or a mask decoder.

    config, network: lazy strings; the network is built from the configuration, whose ``model_type`` is its name
    preparation: settings of `SamImageProcessor` where images are not prepared in SAM's way (image encoders)
    generation: arguments of `SamAutomaticMaskGenerator` that suit its models, in place of the original's (image
        encoders)
    tidy: share of a mask's area; shell and page drop specks and fill holes that are smaller (image encoders)
    tiny: settings of a small one that reaches every branch: what the shared tests build
    tiny_states: how many hidden states that image encoder returns
    softmax_attention: whether that image encoder returns attention weights
    rank_four: lazy string of a dict: layers of an image encoder -> those that take their place in files for phones
        (`sam_hub.exporters.rank_four`)
    arrays: lazy string of an image encoder that computes the same in NumPy (`sam_hub.inference.numpy_model`)
    prompts: of `PROMPT_KINDS`, what models with a prompt encoder take unless their settings say otherwise
    client: ``model_type`` by which transformers.js runs the exported files of a mask decoder
    wide_operations: operations of an image encoder that float16 has no range for, by Core ML's names
    """

    config: str
    network: str
    preparation: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    tidy: float = 0.0
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_states: int = 0
    softmax_attention: bool = True
    rank_four: str = ""
    arrays: str = ""
    prompts: tuple[str, ...] = PROMPT_KINDS
    client: str = "sam"
    wide_operations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """Everything the rest of the package needs to know of a family; no other module names it.

    position: place of its models in lists
    encoders, prompt_encoders, mask_decoders: by ``model_type``
    originals: layouts of its authors' checkpoints by name, each a lazy string of an `OriginalLayout`
    concepts: lazy string of a model that finds every instance of what words name; see `inference.concepts`
    transformers: by ``model_type`` of ``transformers``, a lazy string of a function: its configuration, as a dict ->
        settings of `SamConfig`
    native: models that ``transformers`` has too: by the types of encoder, prompt encoder and mask decoder, a lazy
        string of a function: settings of `SamConfig` -> what its configuration says differently
    renamed: keys in folders of ``transformers``, as regular expressions -> ours, where they differ
    unread: regular expressions of keys that folders of ``transformers`` hold and images do not need
    catalogue: name -> checkpoint
    aliases: other names of the catalogue's
    files: names of original files that are published beside what the catalogue loads -> name in the catalogue
    papers: what to cite, by layout, or by the beginning of names in the catalogue
    tiny: settings of a small `SamConfig` for the shared tests; by default the first image encoder's, with SAM's decoder
    goldens: name of a file in ``tests/golden`` -> (layout, names of the catalogue with these keys and shapes)
    """

    name: str
    position: int = 1000
    encoders: Mapping[str, Part] = field(default_factory=dict)
    prompt_encoders: Mapping[str, Part] = field(default_factory=dict)
    mask_decoders: Mapping[str, Part] = field(default_factory=dict)
    originals: Mapping[str, str] = field(default_factory=dict)
    concepts: str = ""
    transformers: Mapping[str, str] = field(default_factory=dict)
    native: Mapping[tuple[str, str, str], str] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()
    catalogue: Mapping[str, Variant] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    papers: Mapping[str, str] = field(default_factory=dict)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    goldens: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
