"""The data that a model family declares about itself. Only uses the standard library.

Classes are given as lazy strings, ``"package.module:Name"``, so that the catalogue does not import torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROMPT_KINDS = ("points", "background points", "boxes", "masks")
"""Prompts supported by SAM; models that support fewer declare them in ``prompt_kinds``."""


@dataclass(frozen=True)
class Variant:
    """One checkpoint of the catalogue.

    family: the layout of its original file, see `Family.originals`
    params: number of parameters, counted by building the model
    repo, file, revision: location on the Hub; ``file`` is empty for the transformers layout
    url: the authors' download, if not (only) on the Hub
    sha256: of the original file, if known
    config: settings that differ from `SamConfig`'s defaults
    published: figures stated by the authors, each with its source
    gated: whether the repository requires accepting terms first
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
    """What a model supports, derived from its configuration by `SamConfig.capabilities`.

    prompts: the `PROMPT_KINDS` that it was trained on
    masks: possible numbers of masks per prompt: (1, 3), or (1,) if there is never a choice
    single_mask: whether the single-mask token was trained; if not, the single mask is the best of the others
    rank_by: score that selects the best of several masks: "iou" (predicted) or "stability"
    extra_tokens: mask tokens besides SAM's, whose masks `MaskDecoder.select_masks` combines with SAM's
    prompt_slots: maximum number of points and box corners per object, if fixed
    object_score: whether it predicts if there is an object
    feature_maps: names of the `EncoderOutput.features` that its decoder reads
    text: whether it accepts text prompts
    concepts: whether it finds every instance of a named concept
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
    preparation: settings of `SamImageProcessor`, if images are not prepared as in SAM (image encoders)
    generation: arguments of `SamAutomaticMaskGenerator` tuned for its models, replacing the original's (image encoders)
    tidy: share of a mask's area; the command line and the demo remove smaller specks and fill smaller holes
    (image encoders)
    bfloat16: whether ``precision="fast"`` computes it in bfloat16 (image encoders that spend their time in products)
    zoom: whether `sam-hub segment` looks again at the window around each object (image encoders)
    tiny: settings of a small instance that reaches every branch, for the shared tests
    tiny_states: number of hidden states that the tiny image encoder returns
    softmax_attention: whether the image encoder returns attention weights
    rank_four: lazy string of a dict: layers of an image encoder -> their replacements in files for phones
    (`sam_hub.exporters.rank_four`)
    arrays: lazy string of an equivalent image encoder in NumPy (`sam_hub.inference.numpy_model`)
    prompts: the `PROMPT_KINDS` of models with this prompt encoder, unless their settings differ
    client: ``model_type`` by which transformers.js runs exported files of a mask decoder
    wide_operations: operations of an image encoder that exceed float16's range, by Core ML's names
    """

    config: str
    network: str
    preparation: Mapping[str, Any] = field(default_factory=dict)
    generation: Mapping[str, Any] = field(default_factory=dict)
    tidy: float = 0.0
    bfloat16: bool = False
    zoom: bool = False
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
    """Everything that the rest of the package needs to know about a family; no other module names it.

    position: sort key of its models in lists
    encoders, prompt_encoders, mask_decoders: by ``model_type``
    originals: layouts of its authors' checkpoints by name, each a lazy string of an `OriginalLayout`
    concepts: lazy string of a model that finds every instance of a concept; see `inference.concepts`
    transformers: by ``model_type`` of ``transformers``, a lazy string of a function: its configuration, as a dict ->
        settings of `SamConfig`
    native: models also in ``transformers``: by the types of encoder, prompt encoder and mask decoder, a lazy string of
        a function: settings of `SamConfig` -> settings that differ in its configuration
    renamed: keys in ``transformers`` folders, as regular expressions -> our keys, if they differ
    unread: regular expressions of keys in ``transformers`` folders that images do not need
    catalogue: name -> checkpoint
    aliases: alternative catalogue names
    files: names of original files published besides those the catalogue loads -> catalogue name
    papers: citations, by layout or by prefix of catalogue names
    tiny: settings of a small `SamConfig` for the shared tests; default: the first image encoder's, with SAM's decoder
    goldens: name of a file in ``tests/golden`` -> (layout, catalogue names with these keys and shapes)
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
