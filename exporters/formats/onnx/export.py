"""A model -> ONNX files, in the layouts of transformers.js and of the original, in several precisions.

``onnx/vision_encoder.onnx`` and ``prompt_encoder_mask_decoder.onnx`` have the layout of transformers.js
(for `OnnxPredictor`, too), ``meta/image_encoder.onnx`` and ``mask_decoder.onnx`` that of the original's web demo;
``anylabeling/`` and ``cvat/`` have files for these annotation tools.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto, external_data_helper, helper, numpy_helper

from ....errors import ExportError
from ....inference.runtime import DECODER, ENCODER, ONNX_FOLDER, SUFFIXES
from ....models.modeling_sam import SamModel
from ....ops.files import make_folder
from ...format import ExportJob
from ...image_side import example_maps
from ...manifest import Artefact, FileRecord, Tensor
from ...mixed.choice import MEAN_BITS
from ...mixed.compress import Compressed, calibration_of
from ...proof import encode
from ...quiet import quiet
from . import FORMAT
from .ends import add_boxes, add_grey_levels, add_upscaling
from .graphs import Decoder, Encoder, MetaDecoder, PyramidDecoder, TransformersJsDecoder, plain_attention
from .norms import check_norms
from .packed import WIDTHS
from .plain import make_plain, runtime_notes, silent_faults
from .tools import TOOLS, add_bounds, check_fit
from .variants import CONVERSIONS, Context, Feeds, drop_dead_nodes

OPSET = 18

WHOLE_BYTES = 2**31 - 2**24
"""Larger weights are stored in a file beside the graph; protobuf's limit is 2 GiB, including the graph."""

LAYOUTS = {
    "transformersjs": (ONNX_FOLDER, ENCODER, DECODER),
    "meta": ("meta", "image_encoder", "mask_decoder"),
    **{tool: (tool, "encoder", "decoder") for tool in TOOLS},
}
"""Layout -> folder, and file names of encoder and decoder. All but the first have the original's names."""

MEANINGS = {
    "pixel_values": "normalised and padded as preprocessor_config.json says",
    "image": "RGB grey levels, resized so that the long side fits the input",
    "input_points": "x, y in pixels of the resized image; corners of a box are points with labels 2 and 3",
    "input_boxes": "x0, y0, x1, y1 in pixels of the resized image; as many as objects, or none",
    "object_score_logits": "above 0 where there is an object at all",
    "input_labels": "1 object, 0 background, 2 and 3 upper left and lower right corner of a box, -10 padding",
    "point_coords": "x, y in pixels of the resized image; add (0, 0) with label -1 where there is no box",
    "point_labels": "1 object, 0 background, 2 and 3 upper left and lower right corner of a box, -1 not a point",
    "mask_input": "low-res logits of a prediction before",
    "has_mask_input": "1 where mask_input counts, else 0",
    "orig_im_size": "height, width of the image",
    "pred_masks": "low-res logits, in the frame of the padded input",
    "iou_scores": "predicted IoU",
    "single_pred_mask": "the mask for a prompt that is not ambiguous",
    "low_res_masks": "logits, in the frame of the padded input",
    "masks": "logits, at the size of the image; of CVAT's layout 1 on the object, cut to its bounds",
    "xtl": "first column of masks in the image",
    "ytl": "first row of masks in the image",
    "xbr": "last column of masks in the image",
    "ybr": "last row of masks in the image",
}


def export(job: ExportJob) -> Iterator[Artefact]:
    """Export one artefact for each layout and variant; see `format.ExportJob`.

    options:
        layouts: names of `LAYOUTS`; default: transformersjs only
        masks ("multi", "single", "all"), stability, upscale, size_dtype: for the meta layout's decoder; for annotation
            tools, see `tools`
        grey_levels: the encoder takes uint8
        true_inputs: make the mask prompt mandatory, for runtimes that freeze inputs with defaults; clients of
            transformers.js cannot use such a decoder
        opset: `OPSET` or a later one
        calibration: more prepared images for int8-static and mixed variants
    raises: ExportMismatch for changed norms, ExportError for a model too large for a variant
    """
    layouts = job.options.get("layouts") or ("transformersjs",)
    for layout in TOOLS.keys() & set(layouts):
        check_fit(job.model, job.preparation, layout)
    opset = opset_of(job.options)
    feeds = encoder_feeds(job)
    renamed = dict(zip(*(map_names(job.model, layout) for layout in ("transformersjs", "meta")), strict=True))
    sources: dict[str, tuple[ExportJob, Compressed | None, ModelProto]] = {}
    decoders: dict[tuple[Any, ...], ModelProto] = {}  # annotation tools share one, up to its ends
    for layout in layouts:
        own = options_of(job.options, layout)
        contexts = {"encoder": Context("encoder", feeds), "decoder": Context("decoder", decoder_feeds(job, layout))}
        for variant in job.variants:
            of = variant if variant in MEAN_BITS else "own weights"
            if of not in sources:
                small = calibration_of(job).compress(MEAN_BITS[variant], WIDTHS) if variant in MEAN_BITS else None
                source = job if small is None else replace(job, model=small.model)
                traced = encoder_graph(source.model) if opset == OPSET else encoder_graph(source.model, opset)
                sources[of] = source, small, traced
            source, small, encoder = sources[of]
            key = of, layout == "transformersjs", own.get("masks"), own.get("stability")
            if key not in decoders:
                job.tell(f"onnx, {layout}: the decoder")
                decoders[key] = decoder_graph(source.model, layout, own, points_scale(job))
            graphs = {
                "encoder": encoder if layout == "transformersjs" else _without_positions(encoder, renamed),
                "decoder": decoders[key],
            }
            job.tell(f"onnx, {layout}: {variant}")
            given = {role: replace(context, compressed=small) for role, context in contexts.items()}
            yield _artefact(job, layout, variant, graphs, given)


def is_pyramid(model: SamModel) -> bool:
    """Whether the decoder reads several maps; transformers.js then uses SAM 2's contract, else SAM's."""
    return len(model.mask_decoder.feature_maps) > 1


def map_names(model: SamModel, layout: str) -> list[str]:
    """Names of the decoder's ``feature_maps`` in a layout's files, then the embedding's."""
    maps = model.mask_decoder.feature_maps
    if len(maps) < 2:
        early = "intermediate_embeddings" if layout == "transformersjs" else "interm_embeddings"
        return [early] * len(maps) + ["image_embeddings"]
    if layout == "transformersjs":  # the finest is 0
        return [*(f"image_embeddings.{i}" for i in reversed(range(len(maps)))), f"image_embeddings.{len(maps)}"]
    return [*maps, "image_embeddings"]


def points_scale(job: ExportJob) -> float:
    """Pixels of the prompts' frame per pixel of the input: 1 except for EfficientViT-SAM L0 to L2."""
    return job.preparation.frame / job.preparation.longest


def encoder_graph(model: SamModel, opset: int = OPSET) -> ModelProto:
    """(batch, 3, S, S) -> image_embeddings, image_positional_embeddings and, for SAM-HQ, intermediate_embeddings.

    With a pyramid: no positions, and maps named as in `map_names`.
    """
    side = model.config.vision_config.image_size
    *maps, embedding = map_names(model, "transformersjs")
    positions = [] if is_pyramid(model) else ["image_positional_embeddings"]
    batch = torch.export.Dim("batch")
    example = torch.zeros(2, 3, side, side)
    module, names = Encoder(model, with_positions=bool(positions)), [embedding, *positions, *maps]
    return trace(module, (example,), ["pixel_values"], names, ({0: batch},), opset=opset)


def decoder_graph(model: SamModel, layout: str, options: dict[str, Any], scale: float = 1.0) -> ModelProto:
    """The decoder with a layout's adapter, up to the low-res masks."""
    config, c = model.config.prompt_encoder_config, model.config.prompt_encoder_config.hidden_size
    h = config.image_embedding_size
    takes_masks = "masks" in config.prompt_kinds
    batch, prompts, points = (torch.export.Dim(name) for name in ("batch", "prompts", "points"))
    inputs: dict[str, tuple[torch.Tensor, Any]] = {}
    *maps, embedding = map_names(model, layout)
    pyramid = is_pyramid(model)
    if layout == "transformersjs" and pyramid:
        positions = model.get_image_wide_positional_embeddings()
        module: torch.nn.Module = PyramidDecoder(TransformersJsDecoder(Decoder(model), scale), positions)
        b, dynamic = 2, {0: batch}
        inputs["input_points"] = torch.zeros(b, 3, 4, 2), {0: batch, 1: prompts, 2: points}
        inputs["input_labels"] = torch.ones(b, 3, 4, dtype=torch.long), {0: batch, 1: prompts, 2: points}
        fine = list(example_maps(model, b).values())
        inputs["maps"] = [*fine[::-1], torch.zeros(b, c, h, h)], [dynamic] * (len(fine) + 1)
        outputs = ["iou_scores", "pred_masks", "single_iou_score", "single_pred_mask"]
        outputs += ["object_score_logits"] * model.config.capabilities.object_score
    elif layout == "transformersjs":
        module = TransformersJsDecoder(Decoder(model), scale)
        b, dynamic = 2, {0: batch}
        inputs["image_embeddings"] = torch.zeros(b, c, h, h), dynamic
        inputs["image_positional_embeddings"] = torch.zeros(b, c, h, h), dynamic
        inputs["input_points"] = torch.zeros(b, 3, 4, 2), {0: batch, 1: prompts, 2: points}
        inputs["input_labels"] = torch.ones(b, 3, 4, dtype=torch.long), {0: batch, 1: prompts, 2: points}
        outputs = ["iou_scores", "pred_masks", "single_iou_score", "single_pred_mask"]
    else:
        positions = model.get_image_wide_positional_embeddings()
        masks, stability = options.get("masks", "multi"), options.get("stability", False)
        module = MetaDecoder(Decoder(model), positions, masks, stability)
        b, dynamic = 1, {}
        inputs["image_embeddings"] = torch.zeros(b, c, h, h), dynamic
        inputs["point_coords"] = torch.zeros(3, 4, 2), {0: prompts, 1: points}
        inputs["point_labels"] = torch.ones(3, 4), {0: prompts, 1: points}
        outputs = ["low_res_masks", "iou_predictions"] + ["stability_scores"] * stability
    if takes_masks:
        inputs["mask_input"] = torch.zeros(b, 1, 4 * h, 4 * h), dynamic
        inputs["has_mask_input"] = torch.zeros(b), dynamic
    if maps and not (layout == "transformersjs" and pyramid):
        fine = list(example_maps(model, b).values())
        name = "intermediate_embeddings" if layout == "transformersjs" else "interm_embeddings"
        inputs[name] = (fine, [dynamic] * len(fine)) if pyramid else (fine[0], dynamic)
    examples = {name: example for name, (example, _) in inputs.items()}
    dims = {name: dim for name, (_, dim) in inputs.items()}
    names = [n for name in inputs for n in ([*maps[::-1], embedding] if name == "maps" else _named(name, maps))]
    # The modules' arguments have the contract's names.
    with plain_attention(model):
        return trace(module, (), names, outputs, dims, examples, opset_of(options))


def _named(argument: str, maps: list[str]) -> list[str]:
    """The inputs that correspond to an adapter's argument."""
    return maps if argument in ("intermediate_embeddings", "interm_embeddings") else [argument]


def trace(
    module: torch.nn.Module,
    examples: tuple,
    inputs: list[str],
    outputs: list[str],
    dims: Any,
    named_examples: dict[str, torch.Tensor] | None = None,
    opset: int = OPSET,
) -> ModelProto:
    """`torch.onnx.export` through `torch.export`, silenced, then simplified by `make_plain`.

    raises: ExportError if torch cannot write that opset
    """
    with torch.no_grad(), quiet("torch.onnx._internal.exporter", warned=True):
        program = torch.onnx.export(
            module.eval(),
            examples,
            kwargs=named_examples,
            dynamo=True,
            opset_version=opset,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dims,
            verbose=False,
        )
        model = program.model_proto
    check_norms(model, module, type(module).__name__)
    for node in model.graph.node:  # paths of the build machine
        del node.metadata_props[:]
        node.doc_string = ""
    for i, node in enumerate(model.graph.node):
        node.name = node.name or f"node_{i}"
    if (written := next(o.version for o in model.opset_import if not o.domain)) != opset:
        raise ExportError(
            f"torch {torch.__version__} writes this graph in opset {written}, not {opset}; choose another"
        )
    return make_plain(model)


def options_of(options: dict[str, Any], layout: str) -> dict[str, Any]:
    """The options for a layout: annotation tools only take one mask at image size."""
    fixed = {"masks": "single", "upscale": True, "stability": False, "size_dtype": "float32", "grey_levels": False}
    return options | fixed if layout in TOOLS else options


def opset_of(options: dict[str, Any]) -> int:
    """The opset from an export's options. raises: ExportError if it is too old"""
    opset = int(options.get("opset") or OPSET)
    if opset < OPSET:
        raise ExportError(f"--opset must be {OPSET} at least, the oldest that has all operators; got {opset}")
    return opset


def encoder_feeds(job: ExportJob) -> Feeds:
    """Feeds from the proof's photos and those for calibration."""
    images = [case.image for case in job.proof.cases] + list(job.options.get("calibration", ()))
    return [{"pixel_values": image.pixel_values} for image in images]


def decoder_feeds(job: ExportJob, layout: str) -> Feeds:
    """Feeds from the proof's prompts and the model's own embeddings, a few for each photo."""
    feeds = []
    takes_masks = "masks" in job.model.config.prompt_encoder_config.prompt_kinds
    positions = job.model.get_image_wide_positional_embeddings().numpy()
    side = 4 * positions.shape[-1]
    for case in job.proof.cases:
        encoded = encode(job.model, case.image)
        *maps, embedding = map_names(job.model, layout)
        for prompt in case.prompts:
            feed = {embedding: encoded.embedding.numpy()}
            if layout == "transformersjs":
                if not is_pyramid(job.model):
                    feed["image_positional_embeddings"] = positions
                feed["input_labels"] = prompt.labels[None, None]
                feed["input_points"] = (prompt.points / points_scale(job)).astype("float32")[None, None]
            else:
                feed |= {"point_coords": prompt.points[None], "point_labels": prompt.labels[None].astype("float32")}
            if takes_masks:
                blank = torch.zeros(1, 1, side, side).numpy()
                feed["mask_input"] = blank if prompt.mask_input is None else prompt.mask_input
                feed["has_mask_input"] = torch.tensor([float(prompt.mask_input is not None)]).numpy()
            for name, own in zip(maps, job.model.mask_decoder.feature_maps, strict=True):
                feed[name] = encoded.features[own].numpy()
            feeds.append(feed)
    return feeds


def _artefact(
    job: ExportJob, layout: str, variant: str, graphs: dict[str, ModelProto], contexts: dict[str, Context]
) -> Artefact:
    folder, *stems = LAYOUTS[layout]
    options = options_of(job.options, layout)
    make_folder(job.out / folder)
    files = []
    for role, stem in zip(("encoder", "decoder"), stems, strict=True):
        model = onnx.ModelProto()
        try:
            model.CopyFrom(CONVERSIONS[variant](graphs[role], contexts[role]))
        except (EncodeError, ValueError) as e:
            if weight_bytes(graphs[role]) <= WHOLE_BYTES:
                raise
            raise ExportError(
                f"the {role} has more than 2 GiB of weights, and onnxruntime's conversion to {variant} cannot read so "
                "many; take --variant fp32 or int8"
            ) from e
        facts: dict[str, Any] = {}
        if (small := contexts[role].compressed) is not None:
            facts["bits"] = small.bits_in(role)
        if role == "encoder":
            facts["points_scale"] = points_scale(job) if layout == "transformersjs" else 1.0
            if layout in TOOLS:
                add_grey_levels(model, job.preparation, TensorProto.FLOAT)
            elif options.get("grey_levels"):
                add_grey_levels(model, job.preparation)
        elif layout != "transformersjs":
            facts["masks"] = options.get("masks", "multi")
            if options.get("upscale", True):
                side = job.preparation.padded_frame[0]
                add_upscaling(model, side, job.preparation.mask_resize, options.get("size_dtype", "float32"))
            if layout == "cvat":
                add_bounds(model)
        else:
            if is_pyramid(job.model):
                add_boxes(model)
            if not options.get("true_inputs") and len(job.model.mask_decoder.feature_maps) != 1:
                _make_optional(model)  # clients of transformers.js feed no mask
        make_plain(model)
        if faults := silent_faults(model):
            raise ExportError(f"{stem}: {faults[0].place} has {faults[0].rule.name}, and {faults[0].rule.seen}")
        if found := runtime_notes(model):
            facts["lint"] = found
        _describe(model, job, variant)
        path = job.out / folder / f"{stem}{SUFFIXES[variant]}.onnx"
        beside = save(model, path)
        record = record_of(model, path.relative_to(job.out).as_posix(), role, facts)
        record.weights = {other.relative_to(job.out).as_posix(): "" for other in beside}
        files.append(record)
    return Artefact(FORMAT.name, variant, layout, files)


def _make_optional(model: ModelProto) -> None:
    """Give the mask prompt a default, so that clients of the contract can omit it."""
    graph = model.graph
    names = {i.name for i in graph.input}
    for name in ("mask_input", "has_mask_input", "input_boxes"):
        if name in names:
            shape = next(i for i in graph.input if i.name == name).type.tensor_type.shape.dim
            blank = torch.zeros([1, *(d.dim_value for d in shape[1:])]).numpy()  # no box
            graph.initializer.append(numpy_helper.from_array(blank, name))


def _without_positions(encoder: ModelProto, renamed: dict[str, str]) -> ModelProto:
    """The same graph for the original's contract: no positions, and maps under its names."""
    model = onnx.ModelProto()
    model.CopyFrom(encoder)
    outputs = [o for o in model.graph.output if o.name != "image_positional_embeddings"]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    for output in model.graph.output:
        if (name := renamed.get(output.name, output.name)) != output.name:
            model.graph.node.append(helper.make_node("Identity", [output.name], [name], name=f"rename_{name}"))
            output.name = name
    drop_dead_nodes(model)
    return model


def _describe(model: ModelProto, job: ExportJob, variant: str) -> None:
    from .... import __version__

    model.producer_name, model.producer_version = "sam-hub", __version__
    model.doc_string = ""
    facts = {"model": job.name, "licence": job.licence, "variant": variant}
    del model.metadata_props[:]
    helper.set_model_props(model, facts)


def save(model: ModelProto, path: Path) -> list[Path]:
    """Write a graph; if its weights are too large for one file, returns the extra files that hold them."""
    if weight_bytes(model) <= WHOLE_BYTES:
        onnx.save(model, path)
        return []
    beside = path.with_name(f"{path.name}_data")
    onnx.save(model, path, save_as_external_data=True, location=beside.name)
    external_data_helper.load_external_data_for_model(model, str(path.parent))  # saving removes them from the model
    return [beside]


def weight_bytes(model: ModelProto) -> int:
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def record_of(model: ModelProto, path: str, role: str, facts: dict[str, Any]) -> FileRecord:
    """A graph's inputs and outputs for the manifest."""
    defaults = {t.name for t in model.graph.initializer}

    def tensors(values: Any) -> list[Tensor]:
        return [
            Tensor(
                v.name,
                TensorProto.DataType.Name(v.type.tensor_type.elem_type).lower(),
                [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim],
                MEANINGS.get(v.name, "") + (" (optional)" if v.name in defaults else ""),
            )
            for v in values
        ]

    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    return FileRecord(path, role, tensors(model.graph.input), tensors(model.graph.output), opset, facts)
