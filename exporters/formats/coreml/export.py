"""Core ML packages: ImageEncoder, PromptEncoder and MaskDecoder, as Apple's packages of SAM 2 are split.

The image input takes an image, which the graph normalises channel by channel. SAM pads after normalising, so the caller
fills the rest of the square with the mean colour (``fill`` in the metadata), which normalises to zero. Prompts have
fixed slots (see `slots`), so that shapes never change after the first run.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ....errors import ExportError
from ....families import registry
from ....models.modeling_sam import SamModel
from ....ops.files import make_folder
from ....ops.preparation import Preparation
from ...format import ExportJob
from ...gate import ExportMismatch
from ...image_side import ImageSide, example_maps
from ...manifest import Artefact, FileRecord
from ...manifest import Tensor as Described
from ...mixed.choice import MEAN_BITS
from ...mixed.compress import Compressed, calibration_of
from ...mixed.levels import Levels
from ...quiet import hushed
from ...rank_four import restated
from ...slot_io import EMBEDDED, RESULTS, SLOTS, meaning, slot_count
from ...slots import SlotMaskDecoder, SlotPromptEncoder
from . import FORMAT, packed
from .mil.package import read_package

TARGET = "iOS17"
"""Minimum deployment target: iOS 17, macOS 14."""

DEBUGGING = "executorch_debug_handle_mapping.json"
"""coremltools 9 adds it to packages of exported programs, of which it is no listed part; a quarter of a megabyte."""

Find = Callable[[np.ndarray], Levels | None]
"""A weight -> its levels, or None."""

WEIGHT_BITS = {"int8": 8, "p6": 6, "p4": 4}
"""Bits per weight in compressed variants: 8 bits are linear, per channel; 6 and 4 bits are palettes of 64 and 16 values
for large matrix products, with 8 bits for the rest.
"""

LEAST_WEIGHTS = 32768
"""Smaller tensors stay in half precision: they are a tenth of the bytes, and the first layers lose the most.
"""

LEAST_OF_PALETTE = 65536
"""Matrix products with fewer weights get no palette, nor do convolutions: they lose the most accuracy."""

FEW_WEIGHTS = 4096
"""In ``fp16``, convolutions with fewer weights stay in float32: they are the first ones, whose rounding errors affect
all later layers. Compressed variants lose more elsewhere, and run them on the Neural Engine, which only has float16.
"""

STATISTICS = frozenset({"layer_norm", "batch_norm", "reduce_mean"})
"""Operations computed in float32 in every variant, as they sum many values."""

ROLES = {"ImageEncoder": "encoder", "PromptEncoder": "prompt_encoder", "MaskDecoder": "decoder"}
PURPOSES = {
    "ImageEncoder": "photo to embedding, once for each photo",
    "PromptEncoder": "clicks, a box and a mask to embeddings",
    "MaskDecoder": "embeddings to masks and their predicted IoU",
}
AUTHORS = "Segment Anything (Kirillov et al. 2023, arXiv 2304.02643) and its family; exported by sam-hub"


@dataclass(frozen=True)
class Part:
    """One package before it is converted.

    inputs: name -> example, in the order of the module's arguments; the example of "image" is before scaling
    outputs: names
    half: whether weights and activations may be float16
    keep: the operations that stay in float32 in that case
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    outputs: tuple[str, ...]
    half: bool
    keep: frozenset[str]


class NormalisedEncoder(nn.Module):
    """Grey levels (1, 3, H, W), 0 to 255, RGB -> image embedding and the maps of `ImageSide`.

    A pixel becomes (level - mean) / std; the integer part is subtracted first, exactly in float16. Pixels of the fill
    colour become exactly 0, like SAM's padding; as the mean is no whole level, they would be off by up to 0.01.
    """

    def __init__(self, encoder: nn.Module, preparation: Preparation) -> None:
        super().__init__()
        self.encoder = encoder
        self.min_max = preparation.do_min_max
        mean, std = (torch.tensor(v, dtype=torch.float64) for v in (preparation.mean, preparation.std))
        grey = torch.tensor(fill_colour(preparation), dtype=torch.float64)
        rest = (grey * preparation.rescale_factor - mean) / std
        values = {"grey": grey, "gain": preparation.rescale_factor / std, "rest": rest}
        for name, value in values.items():
            self.register_buffer(name, value.float().reshape(1, 3, 1, 1))
        self.is_whole = not rest.any()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        if self.min_max:
            low, high = (f(image.flatten(1), 1, keepdim=True)[..., None, None] for f in (torch.amin, torch.amax))
            return self.encoder((image - low) / (high - low).clamp(min=1e-8))
        levels = image - self.grey
        values = levels * self.gain
        if not self.is_whole:
            values = values + self.rest * levels.abs().amax(1, keepdim=True).clamp(max=1)  # 0 where it is filled
        return self.encoder(values)


def export(job: ExportJob) -> Iterator[Artefact]:
    """Convert and save one artefact for each variant; see `format.ExportJob`.

    options: ``slots``, the number of prompt slots
    raises: ExportError, ExportMismatch
    """
    slots = slot_count(job.options)
    if job.preparation.resize_mode in ("stretch_float", "stretch_smooth"):
        raise ExportError("this model reads images that were resized without rounding, which an image input cannot be")
    for variant in [v for v in job.variants if v in MEAN_BITS]:
        job.tell(f"Core ML: converting {job.name} for {variant}")
        small = calibration_of(job).compress(MEAN_BITS[variant], packed.WIDTHS)
        parts = parts_of(small.model, job.preparation, slots)
        packages = [convert(part, half=True, find=small.find) for part in parts]
        yield _export_variant(job, variant, parts, packages, slots, small)
    parts = parts_of(job.model, job.preparation, slots)
    for variants in (("fp32",), ("fp16",), tuple(WEIGHT_BITS)):
        wanted = [v for v in job.variants if v in variants]
        if not wanted:
            continue
        job.tell(f"Core ML: converting {job.name} for {', '.join(wanted)}")
        few = FEW_WEIGHTS if variants == ("fp16",) else 0
        packages = [convert(part, half=variants != ("fp32",), few=few) for part in parts]
        for variant in wanted:
            yield _export_variant(job, variant, parts, packages, slots)


def parts_of(model: SamModel, preparation: Preparation, slots: int = SLOTS) -> list[Part]:
    """The three packages of a model, as modules with examples of their inputs.

    raises: ExportError for a family whose decoder differs from SAM's
    """
    prompts, decoder = SlotPromptEncoder(model).eval(), SlotMaskDecoder(model).eval()
    width, side = model.config.prompt_encoder_config.hidden_size, prompts.side
    image = torch.zeros(1, 3, *preparation.padded)
    declared = registry.part("encoder", model.config.vision_config.model_type)
    keep = STATISTICS | frozenset(declared.wide_operations)
    encoder = NormalisedEncoder(ImageSide(model, restated(model)), preparation).eval()
    maps = example_maps(model)
    prompt_inputs = {
        "points": torch.zeros(1, slots, 2),
        "labels": torch.ones(1, slots, dtype=torch.int32),
        "mask_input": torch.zeros(1, 1, 4 * side, 4 * side),
        "has_mask_input": torch.zeros(1),
    }
    embedded = {
        "image_embedding": torch.zeros(1, width, side, side),
        "sparse_embeddings": torch.zeros(1, slots + 1, width),
        "dense_embeddings": torch.zeros(1, width, side, side),
        "token_mask": torch.zeros(1, slots + 1),
        **maps,
    }
    return [
        Part("ImageEncoder", encoder, {"image": image}, ("image_embedding", *maps), True, keep),
        # Small, and computes coordinates: float32 throughout.
        Part("PromptEncoder", prompts, prompt_inputs, EMBEDDED, False, STATISTICS),
        Part("MaskDecoder", decoder, embedded, RESULTS if decoder.has_single else RESULTS[:2], True, STATISTICS),
    ]


def traced(module: nn.Module, inputs: Sequence[Tensor]) -> torch.export.ExportedProgram:
    """The graph of a module, with fixed shapes."""
    with torch.no_grad():
        return without_aliases(torch.export.export(module, tuple(inputs)).run_decompositions({}))


def without_aliases(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """Change the program, in place, to avoid bugs of coremltools 9.

    coremltools lacks aliases, and "not" for tensors that it has converted to float, such as a padded mask.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
        elif node.target is torch.ops.aten.bitwise_not.default and node.meta["val"].dtype == torch.bool:
            node.target = torch.ops.aten.logical_not.default
    return program


@hushed("coremltools")
def convert(part: Part, half: bool, few: int = 0, find: Find | None = None) -> Any:
    """Convert a part to a coremltools ``MLModel``, without saving it.

    few: convolutions with fewer weights stay in float32
    find: weight -> its levels, to store; for iOS 18
    """
    import coremltools as ct

    inputs = []
    for name, example in part.inputs.items():
        if name == "image":
            layout = ct.colorlayout.RGB
            inputs.append(ct.ImageType(name=name, shape=tuple(example.shape), scale=1.0, color_layout=layout))
        else:
            handed = half and part.name == "MaskDecoder"  # float16 from the other two
            dtype = np.int32 if example.dtype == torch.int32 else np.float16 if handed else np.float32
            inputs.append(ct.TensorType(name=name, shape=tuple(example.shape), dtype=dtype))
    outputs = [  # results in float32, which any language can read
        ct.TensorType(name=name, dtype=np.float16 if half and name not in RESULTS else np.float32)
        for name in part.outputs
    ]
    precision = ct.precision.FLOAT32
    if half and part.half:
        precision = ct.transform.FP16ComputePrecision(op_selector=may_be_half(part.keep, few))
    return ct.convert(
        traced(part.module, part.inputs.values()),
        inputs=inputs,
        outputs=outputs,
        convert_to="mlprogram",
        minimum_deployment_target=getattr(ct.target, TARGET if find is None else packed.TARGET),
        pass_pipeline=None if find is None else packed.pipeline(find),
        compute_precision=precision,
        skip_model_load=True,
    )


def may_be_half(keep: frozenset[str], few: int = 0) -> Callable[[Any], bool]:
    """Whether an operation of the program may be float16."""

    def selected(op: Any) -> bool:
        if op.op_type == "conv" and op.weight.val is not None and op.weight.val.size < few:
            return False
        if op.op_type == "add" and "real_div" in keep:  # the denominator of linear attention
            return not any(child.op_type == "real_div" for child in op.outputs[0].child_ops)
        return op.op_type not in keep

    return selected


@hushed("coremltools")
def compressed(package: Any, variant: str, least: int | None = None) -> Any:
    """Compress a converted part's weights to 8, 6 or 4 bits; arithmetic stays float16.

    least: tensors with no more numbers are unchanged; default: `LEAST_WEIGHTS`
    """
    from coremltools.optimize import coreml as optimize

    if variant not in WEIGHT_BITS:
        return package
    palette_least, least = (LEAST_OF_PALETTE - 1, LEAST_WEIGHTS) if least is None else (least, least)

    def only(kinds: tuple[str, ...], settings: Any) -> Any:  # positions are unchanged
        return optimize.OptimizationConfig(global_config=None, op_type_configs=dict.fromkeys(kinds, settings))

    if variant != "int8":
        palette = optimize.OpPalettizerConfig("kmeans", nbits=WEIGHT_BITS[variant], weight_threshold=palette_least)
        package = optimize.palettize_weights(package, config=only(("linear", "matmul"), palette))
    linear = optimize.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=least)
    kinds = ("conv", "conv_transpose", "linear", "matmul")
    return optimize.linear_quantize_weights(package, config=only(kinds, linear))


def _export_variant(
    job: ExportJob, variant: str, parts: list[Part], packages: list[Any], slots: int, small: Compressed | None = None
) -> Artefact:
    folder = f"coreml/{variant}"
    make_folder(job.out / folder)
    files = []
    for part, package in zip(parts, packages, strict=True):
        if part.name != "PromptEncoder":  # a hundredth of the size
            job.tell(f"Core ML {variant}: {part.name}")
            package = compressed(package, variant)
        name = f"{camel(job.name)}{part.name}.mlpackage"
        facts = {
            "minimum_deployment_target": packed.TARGET if variant in MEAN_BITS else TARGET,
            "slots": slots,
            "fill": fill_colour(job.preparation),
            "frame": job.preparation.frame,
        }
        describe(package, job, part, variant, facts)
        if small is not None and part.name != "PromptEncoder":
            facts["bits"] = small.bits_in(ROLES[part.name])
        package.save(str(job.out / folder / name))
        (job.out / folder / name / DEBUGGING).unlink(missing_ok=True)
        check_norms(job.out / folder / name, part.module)
        files.append(
            FileRecord(
                path=f"{folder}/{name}",
                role=ROLES[part.name],
                inputs=_described(package.input_description, package.get_spec().description.input),
                outputs=_described(package.output_description, package.get_spec().description.output),
                facts=facts,
            )
        )
    return Artefact(FORMAT.name, variant, "", files)


def check_norms(path: Path, module: nn.Module) -> None:
    """Compare the eps of a saved package's layer norms with the module's, as sets.

    A wrong eps changes logits by less than float32 rounding (see `norms`), so it is read from the file.
    raises: ExportMismatch
    """
    expected = {f"{m.eps:.2e}" for m in module.modules() if isinstance(m, nn.LayerNorm)}
    norms = [op for op in read_package(path).operations if op.op_type == "layer_norm"]
    if (found := {f"{float(op.epsilon.val):.2e}" for op in norms}) != expected:
        seen, meant = (" and ".join(sorted(values)) for values in (found, expected))
        raise ExportMismatch(f"the norms of {path.name} have an eps of {seen}, but the model's {meant}")


def describe(package: Any, job: ExportJob, part: Part, variant: str, facts: dict[str, Any]) -> None:
    """Fill in the metadata that Xcode shows."""
    from .... import __version__

    package.author = AUTHORS
    package.license = job.licence
    package.version = __version__
    package.short_description = f"{part.name} of {job.name}, {variant}: {PURPOSES[part.name]}"
    for name in part.inputs:
        package.input_description[name] = meaning(name)
    for name in part.outputs:
        package.output_description[name] = meaning(name)
    package.user_defined_metadata.update({f"sam_hub.{key}": str(value) for key, value in facts.items()})


def fill_colour(preparation: Preparation) -> list[int]:
    """The colour (R, G, B) for the unused part of the input, which normalises to 0."""
    return [round(m / preparation.rescale_factor) for m in preparation.mean]


def camel(name: str) -> str:
    """ "facebook/sam-vit-base" -> "SamVitBase"."""
    words = re.split(r"[^A-Za-z0-9]+", re.sub(r"\.(pth|pt|safetensors)$", "", name.rstrip("/").rpartition("/")[2]))
    return "".join(word[:1].upper() + word[1:] for word in words) or "Model"


def _described(meanings: Any, features: Any) -> list[Described]:
    """The inputs or outputs of a package, for the manifest."""
    found = []
    for feature in features:
        if feature.type.WhichOneof("Type") == "imageType":
            kind = feature.type.imageType
            shape, dtype = [kind.height, kind.width, 3], "image"
        else:
            array = feature.type.multiArrayType
            shape = list(array.shape)
            dtype = type(array).ArrayDataType.Name(array.dataType).lower()
        found.append(Described(feature.name, dtype, shape, meanings[feature.name]))
    return found
