"""`OnnxPredictor`: an exported model, prompted without torch or transformers.

Needs numpy, Pillow, OpenCV and onnxruntime. The methods, arguments and results are those of `SamPredictor`;
`SamAutomaticMaskGenerator` works over it too. A folder in the layout of transformers.js is enough: what
``sam-hub export`` writes, or a repository made for transformers.js.
"""

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, DeviceError, ImageError, ModelNotFoundError, PromptError
from ..ops.geometry import scale_points
from ..ops.images import ImageSource, read_image
from ..ops.masks import stability_score
from ..ops.preparation import Preparation, Prepared
from ..ops.prompts import read_prompt
from ..ops.value_range import ValueRange
from .upsample import MaskFrame, Upsampler

Size = tuple[int, int]

ONNX_FOLDER = "onnx"
ENCODER = "vision_encoder"
DECODER = "prompt_encoder_mask_decoder"

SUFFIXES = {
    "fp32": "",
    "fp16": "_fp16",
    "int8": "_quantized",
    "int8-dynamic": "_int8",
    "int8-static": "_static",
    "uint8": "_uint8",
    "q4": "_q4",
    "q4f16": "_q4f16",
    "bnb4": "_bnb4",
}
"""Variant -> ending of its file names, transformers.js's where it has one. A variant is looked for in this order."""

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
"""Our names of onnxruntime's execution providers."""

PAD_LABEL = -10


def is_onnx_folder(folder: str | os.PathLike) -> bool:
    """Whether a folder holds an encoder in transformers.js's layout."""
    return any((Path(folder) / ONNX_FOLDER / f"{ENCODER}{suffix}.onnx").is_file() for suffix in SUFFIXES.values())


def pick_provider(name: str | None = None) -> str:
    """onnxruntime's name of "cpu", "cuda", ...; by default CUDA where this onnxruntime has it, else the CPU.

    raises: DeviceError with the names that are there
    """
    import onnxruntime

    there = onnxruntime.get_available_providers()
    if name is None:
        return PROVIDERS["cuda"] if PROVIDERS["cuda"] in there else PROVIDERS["cpu"]
    wanted = PROVIDERS.get(name.split(":")[0].lower(), name)
    if wanted not in there:
        ours = ", ".join(short for short, long in PROVIDERS.items() if long in there)
        raise DeviceError(f"this onnxruntime cannot run on {name!r}, only on {ours}; install another build of it")
    return wanted


def open_session(path: Path, provider: str | None = None, threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession``.

    provider: see `pick_provider`; threads: by default what ``OMP_NUM_THREADS`` says, else one for each core
    raises: CheckpointError for a file that does not load, DeviceError
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
    options.intra_op_num_threads = threads
    chosen = list(dict.fromkeys((pick_provider(provider), PROVIDERS["cpu"])))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as e:  # onnxruntime's classes of its own derive from nothing in common
        raise CheckpointError(f"{path} does not load in onnxruntime ({_first_line(e)}); export or get it again") from e


class OnnxModel:
    """The two files of one variant: an image -> embeddings -> masks, in numpy.

    has_mask_input, has_single: whether the decoder takes a mask prompt, and has SAM's mask for precise prompts
    """

    def __init__(self, encoder: Path, decoder: Path, provider: str | None = None, threads: int | None = None) -> None:
        self.encoder = open_session(encoder, provider, threads)
        self.decoder = open_session(decoder, provider, threads)
        self.encoder_input = self.encoder.get_inputs()[0]
        self.takes_grey_levels = self.encoder_input.type == "tensor(uint8)"
        self.encoder_outputs = [o.name for o in self.encoder.get_outputs()]
        self.inputs = {i.name for i in (*self.decoder.get_inputs(), *self.decoder.get_overridable_initializers())}
        self.outputs = [o.name for o in self.decoder.get_outputs()]
        self.has_mask_input = "mask_input" in self.inputs
        self.has_single = "single_pred_mask" in self.outputs

    @property
    def runtime(self) -> str:
        """What runs it, in words."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}, {self.encoder.get_providers()[0].removesuffix('Provider')}"

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        """What the decoder needs of an image, by name."""
        fed = image.resized if self.takes_grey_levels else image.pixel_values
        found = self.encoder.run(None, {self.encoder_input.name: fed})
        return dict(zip(self.encoder_outputs, found, strict=True))

    def decode(
        self,
        embedded: Mapping[str, np.ndarray],
        points: np.ndarray,
        labels: np.ndarray,
        mask_input: np.ndarray | None = None,
        outputs: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Masks of N objects of one image, by the names of the file.

        points: (N, P, 2) float32, x then y, in pixels of the resized image; labels: (N, P) int64, 1 object, 0
            background, 2 and 3 the corners of a box, -10 padding
        mask_input: (1, 1, h, w) float32 low-res logits, for every object
        """
        fed = {"input_points": points[None], "input_labels": labels[None], **embedded}
        if mask_input is not None:
            fed |= {"mask_input": mask_input, "has_mask_input": np.ones(1, np.float32)}
        fed = {name: value for name, value in fed.items() if name in self.inputs}
        names = [name for name in self.outputs if outputs is None or name in outputs]
        return dict(zip(names, self.decoder.run(names, fed), strict=True))


class OnnxPredictor:
    """Masks for prompts on one image at a time; see `SamPredictor`, whose twin without torch this is.

    folder: what ``sam-hub export --layout transformersjs`` (the default) wrote, or a folder for transformers.js
    variant: "fp32", "fp16", "int8", ...; by default the first of these that is there
    provider: "cpu", "cuda", "coreml", "webgpu", ...; by default CUDA where there is one, else the CPU
    threads: on the CPU; by default what ``OMP_NUM_THREADS`` says, else one for each core
    cache_size: how many images' embeddings are kept
    raises: ModelNotFoundError, CheckpointError, DeviceError
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        variant: str | None = None,
        provider: str | None = None,
        threads: int | None = None,
        cache_size: int = 4,
    ) -> None:
        self.folder = Path(folder)
        self.variant = variant or self._first_variant()
        self.files = [self._file(part, self.variant) for part in (ENCODER, DECODER)]
        self.preparation = read_preparation(self.folder)
        decoder, prompts, encoder = read_model_facts(self.folder)
        self.encoder_kind: str | None = encoder.get("model_type")
        self.rank_by = decoder.get("rank_by", "iou")
        self.prompt_kinds: Sequence[str] | None = prompts.get("prompt_kinds")
        self.model = OnnxModel(*self.files, provider, threads)
        self.cache_size = cache_size
        self._cache: OrderedDict[bytes, dict[str, np.ndarray]] = OrderedDict()
        self.reset_image()

    def _first_variant(self) -> str:
        for variant in SUFFIXES:
            if self._path(ENCODER, variant).is_file() and self._path(DECODER, variant).is_file():
                return variant
        raise ModelNotFoundError(
            f"{self.folder} holds no {ONNX_FOLDER}/{ENCODER}.onnx and {DECODER}.onnx; "
            "make them with `sam-hub export MODEL --format onnx`"
        )

    def _path(self, part: str, variant: str) -> Path:
        return self.folder / ONNX_FOLDER / f"{part}{SUFFIXES[variant]}.onnx"

    def _file(self, part: str, variant: str) -> Path:
        if variant not in SUFFIXES:
            raise ModelNotFoundError(f"no variant is called {variant!r}; expected one of {', '.join(SUFFIXES)}")
        path = self._path(part, variant)
        if not path.is_file():
            there = [v for v in SUFFIXES if self._path(part, v).is_file()]
            raise ModelNotFoundError(f"{path} does not exist; this folder has {', '.join(there) or 'no variant'}")
        return path

    @property
    def features(self) -> np.ndarray | None:
        """The image embedding, (1, C, h, w) float32; None while no image is set."""
        return self._embedded["image_embeddings"] if self._embedded else None

    @property
    def is_image_set(self) -> bool:
        return self._embedded is not None

    def reset_image(self) -> None:
        """Forget the image that is set (its embedding stays in the cache)."""
        self._embedded: dict[str, np.ndarray] | None = None
        self.original_size: Size | None = None
        self.input_size: Size | None = None
        self._upsampler: Upsampler | None = None

    def set_image(self, image: ImageSource, image_format: str = "RGB", value_range: ValueRange = None) -> None:
        """Encode an image, or find its embedding in the cache; as `SamPredictor.set_image`.

        raises: ImageError, after which no image is set
        """
        self.reset_image()
        if image_format not in ("RGB", "BGR"):
            raise ImageError(f'image_format must be "RGB" or "BGR"; got {image_format!r}')
        pixels = read_image(image, value_range)
        if image_format == "BGR" and isinstance(image, np.ndarray):
            pixels = np.ascontiguousarray(pixels[..., ::-1])
        key = hashlib.sha256(pixels).digest() + str(pixels.shape).encode()
        embedded = self._cache.pop(key, None)
        if embedded is None:
            embedded = self.model.encode(self.preparation(pixels))
        self._cache[key] = embedded
        while len(self._cache) > self.cache_size:
            self._cache.popitem(last=False)
        self._embedded = embedded
        self.original_size = pixels.shape[:2]
        self.input_size = self.preparation.size_in_frame(self.original_size)

    def predict(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Masks of one object; arguments and results are those of `SamPredictor.predict`.

        returns: masks (M, H, W) bool or float32, predicted IoU (M,) float32, low-res logits (M, h, w) float32
        raises: PromptError; RuntimeError while no image is set
        """
        scores, low_res = self.predict_low_res(point_coords, point_labels, box, mask_input, multimask_output)
        return self.enlarge(low_res, return_logits), scores, low_res

    def predict_low_res(
        self,
        point_coords: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        box: np.ndarray | None = None,
        mask_input: np.ndarray | None = None,
        multimask_output: bool = True,
    ) -> tuple[np.ndarray, np.ndarray]:
        """`predict` without enlarging the masks: predicted IoU (M,), low-res logits (M, h, w), both float32."""
        self._require_image()
        side = self.preparation.padded_frame[0] // 4
        points, labels, box, mask = read_prompt(
            point_coords, point_labels, box, mask_input, self.original_size, self.input_size, side
        )
        self._refuse(points, labels, box, mask)
        xy, kinds = [], []
        if points is not None:
            xy.append(points[0])
            kinds.append(labels[0])
        if box is not None:
            xy.append(box.reshape(2, 2))
            kinds.append(np.array([2, 3]))
        if not xy:  # a mask alone: everything is padding
            xy, kinds = [np.zeros((1, 2))], [np.full(1, PAD_LABEL)]
        scores, low_res = self._decode(np.concatenate(xy)[None], np.concatenate(kinds)[None], mask, multimask_output)
        return scores[0], low_res[0]

    def enlarge(self, low_res: np.ndarray, return_logits: bool = False) -> np.ndarray:
        """Low-res logits (M, h, w) -> masks of the image that is set, (M, H, W) bool, or float32 logits."""
        self._require_image()
        upsampler = self._upsampler = self._upsampler or Upsampler(low_res.shape[-2:], self.mask_frame)
        out = np.zeros((len(low_res), *self.original_size), np.float32 if return_logits else bool)
        everything = tuple(slice(0, side) for side in upsampler.visible)
        for mask, logits in zip(out, low_res, strict=True):
            window = everything if return_logits else upsampler.window(logits, 0)
            if window is not None:
                part, (x, y) = upsampler(logits[upsampler.margin(window)], window)
                mask[y : y + part.shape[0], x : x + part.shape[1]] = part if return_logits else part > 0
        return out

    @property
    def mask_frame(self) -> MaskFrame:
        """How the low-res masks lie on the image that is set."""
        self._require_image()
        prepare = self.preparation
        return MaskFrame(prepare.padded_frame, self.input_size, self.original_size, prepare.mask_resize)

    def click_each(
        self, points: np.ndarray, select: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One click for each of many objects, for `SamAutomaticMaskGenerator`: see its `ClickPredictor`."""
        self._require_image()
        xy = scale_points(points, self.original_size, self.input_size)[:, None]
        scores, low_res = self._decode(xy, np.ones(xy.shape[:2]), None, True)
        which = np.argwhere(select(scores))
        return scores, which, low_res[which[:, 0], which[:, 1]]

    def get_image_embedding(self) -> np.ndarray:
        """The embedding of the image that is set: (1, C, h, w) float32."""
        self._require_image()
        return self._embedded["image_embeddings"]

    def _decode(
        self, points: np.ndarray, labels: np.ndarray, mask: np.ndarray | None, multimask: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicted IoU (N, M) and low-res logits (N, M, h, w) of prompts in the frame of `input_size`."""
        if mask is not None and not self.model.has_mask_input:
            raise PromptError("the decoder in this folder takes no mask prompt; give points or a box, or export anew")
        single = not multimask and self.model.has_single
        wanted = ("single_iou_score", "single_pred_mask") if single else ("iou_scores", "pred_masks")
        in_input = points * (self.preparation.longest / self.preparation.frame)
        found = self.model.decode(
            self._embedded, in_input.astype(np.float32), labels.astype(np.int64), mask, outputs=wanted
        )
        scores, low_res = (found[name][0] for name in wanted)
        if self.rank_by == "stability":
            scores = stability_score(low_res, 0.0, 1.0).astype(np.float32)
        if not multimask and scores.shape[1] > 1:  # a file without the single mask
            best = scores.argmax(1)[:, None]
            scores = np.take_along_axis(scores, best, 1)
            low_res = np.take_along_axis(low_res, best[..., None, None], 1)
        return scores, low_res

    def _refuse(self, points: Any, labels: Any, box: Any, mask: Any) -> None:
        """PromptError for prompts that the model was not trained on."""
        if self.prompt_kinds is None:
            return
        given = {
            "points": points is not None,
            "background points": labels is not None and bool((labels == 0).any()),
            "boxes": box is not None,
            "masks": mask is not None,
        }
        if refused := [kind for kind, there in given.items() if there and kind not in self.prompt_kinds]:
            raise PromptError(
                f"this model does not understand {' and '.join(refused)}, only {' and '.join(self.prompt_kinds)}"
            )

    def _require_image(self) -> None:
        if self._embedded is None:
            raise RuntimeError("no image is set; call set_image first")


def read_preparation(folder: Path) -> Preparation:
    """raises: CheckpointError"""
    try:
        return Preparation.read(folder)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise CheckpointError(
            f"{folder}/preprocessor_config.json cannot be read ({_first_line(e)}); get it again"
        ) from e


def read_model_facts(folder: Path) -> list[dict[str, Any]]:
    """The settings of mask decoder, prompt encoder and image encoder in ``config.json``; empty where it says nothing.

    raises: CheckpointError
    """
    path = folder / "config.json"
    if not path.is_file():
        return [{}, {}, {}]
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise CheckpointError(f"{path} is damaged ({e}); get it again") from e
    return [config.get(f"{part}_config") or {} for part in ("mask_decoder", "prompt_encoder", "vision")]


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
