"""ONNX files as a backend, and `OnnxPredictor`: an exported model, prompted without torch or transformers.

Needs numpy, Pillow, OpenCV and onnxruntime. The methods, arguments and results are those of `SamPredictor`, and
`SamAutomaticMaskGenerator` takes it too. It reads folders in the layout of transformers.js: exports by
``sam-hub export`` and repositories made for transformers.js.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, DeviceError, ModelNotFoundError, PromptError
from ..families.family import PROMPT_KINDS
from ..ops.preparation import Preparation, Prepared
from ..ops.threads import asked_threads
from .backends import Backend, Capabilities, Prompts
from .image_predictor import ImagePredictor
from .thresholds import suited, tidied, zooms

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
    "mixed": "_mixed",
    "mixed4": "_mixed4",
}
"""Variant -> suffix of its file names, as in transformers.js if it has one. Variants are looked for in this order."""

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


def is_onnx_folder(folder: str | os.PathLike) -> bool:
    """Whether a folder holds an encoder in transformers.js's layout."""
    return any((Path(folder) / ONNX_FOLDER / f"{ENCODER}{suffix}.onnx").is_file() for suffix in SUFFIXES.values())


def pick_provider(name: str | None = None) -> str:
    """onnxruntime's name of "cpu", "cuda", ...; default: CUDA if this onnxruntime has it, else the CPU.

    raises: DeviceError with the available names
    """
    import onnxruntime

    there = onnxruntime.get_available_providers()
    if name is None:
        return PROVIDERS["cuda"] if PROVIDERS["cuda"] in there else PROVIDERS["cpu"]
    wanted = PROVIDERS.get(name.split(":")[0].lower(), name)
    if wanted not in there:
        ours = ", ".join(short for short, long in PROVIDERS.items() if long in there)
        raise DeviceError(f"this onnxruntime runs only on {ours}, not on {name!r}; install another build of it")
    return wanted


def open_session(path: Path, provider: str | None = None, threads: int | None = None) -> Any:
    """An ``onnxruntime.InferenceSession``.

    provider: see `pick_provider`; threads: default: ``OMP_NUM_THREADS``, else one for each core
    raises: CheckpointError for a file that does not load, DeviceError
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    threads = threads or asked_threads()
    options.intra_op_num_threads = threads
    chosen = list(dict.fromkeys((pick_provider(provider), PROVIDERS["cpu"])))
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=chosen)
    except Exception as e:  # onnxruntime's own exceptions have no common base class
        raise CheckpointError(
            f"{path} does not load in onnxruntime ({_first_line(e)}); export or download it again"
        ) from e


def decoder_feeds(
    required: Mapping[str, Any],
    embedded: Mapping[str, np.ndarray],
    points: np.ndarray,
    labels: np.ndarray,
    mask_input: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Inputs of a decoder for transformers.js by name, with blanks for required ones that are not given.

    required: name -> a description with a ``shape``; other arguments as of `OnnxModel.decode`
    """
    fed = {"input_points": points[None], "input_labels": labels[None], **embedded}
    if mask_input is not None:
        fed |= {"mask_input": mask_input, "has_mask_input": np.ones(1, np.float32)}
    elif "mask_input" in required:
        shape = [side if isinstance(side, int) else 1 for side in required["mask_input"].shape]
        fed |= {"mask_input": np.zeros(shape, np.float32), "has_mask_input": np.zeros(1, np.float32)}
    if "input_boxes" in required:  # boxes are given as points
        fed["input_boxes"] = np.zeros((1, 0, 4), np.float32)
    return fed


class OnnxModel:
    """The two files of one variant: an image -> embeddings -> masks, in numpy. A copy by pickle opens them again.

    has_mask_input, has_single: whether the decoder takes a mask prompt, and has SAM's mask for precise prompts
    """

    def __init__(self, encoder: Path, decoder: Path, provider: str | None = None, threads: int | None = None) -> None:
        self.opened = Path(encoder).absolute(), Path(decoder).absolute(), provider, threads
        self.encoder = open_session(encoder, provider, threads)
        self.decoder = open_session(decoder, provider, threads)
        self.encoder_input = self.encoder.get_inputs()[0]
        self.takes_grey_levels = self.encoder_input.type == "tensor(uint8)"
        self.encoder_outputs = [o.name for o in self.encoder.get_outputs()]
        maps = sorted(name for name in self.encoder_outputs if name.startswith("image_embeddings"))
        self.embedding = maps[-1] if maps else self.encoder_outputs[0]  # SAM 2 has three outputs; the coarsest
        self.required = {i.name: i for i in self.decoder.get_inputs()}
        self.inputs = {*self.required, *(i.name for i in self.decoder.get_overridable_initializers())}
        self.outputs = [o.name for o in self.decoder.get_outputs()]
        # OpenVINO folds an input with a default into the graph and ignores the value fed to it.
        frozen = "OpenVINOExecutionProvider" in self.decoder.get_providers() and "mask_input" not in self.required
        self.has_mask_input = "mask_input" in self.inputs and not frozen
        self.has_single = "single_pred_mask" in self.outputs

    def __reduce__(self) -> tuple[type, tuple]:
        return type(self), self.opened

    @property
    def runtime(self) -> str:
        """Name of the runtime and device."""
        import onnxruntime

        return f"onnxruntime {onnxruntime.__version__}, {self.encoder.get_providers()[0].removesuffix('Provider')}"

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        """The decoder's inputs that depend on the image, by name."""
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
        """Outputs for N objects of one image, by their names in the file.

        points: (N, P, 2) float32, x then y, in pixels of the resized image; labels: (N, P) int64, 1 object, 0
            background, 2 and 3 the corners of a box, -10 padding
        mask_input: (1, 1, h, w) float32 low-res logits, the same for every object
        """
        fed = decoder_feeds(self.required, embedded, points, labels, mask_input)
        fed = {name: value for name, value in fed.items() if name in self.inputs}
        names = [name for name in self.outputs if outputs is None or name in outputs]
        return dict(zip(names, self.decoder.run(names, fed), strict=True))


class OnnxBackend(Backend):
    """`OnnxModel` as a backend, with the settings saved beside its files.

    Arguments as in `OnnxPredictor`.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        variant: str | None = None,
        provider: str | None = None,
        threads: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.variant = variant or self._first_variant()
        self.files = [self._file(part, self.variant) for part in (ENCODER, DECODER)]
        self.preparation = read_preparation(self.folder)
        self.capabilities = read_capabilities(self.folder)
        self.model = OnnxModel(*self.files, provider, threads)

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

    def encode(self, image: Prepared) -> dict[str, np.ndarray]:
        return self.model.encode(image)

    def decode(
        self,
        held: Mapping[str, np.ndarray],
        prompts: Prompts,
        multimask_output: bool = True,
        hq_token_only: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """raises: PromptError for a mask prompt that the decoder was exported without"""
        if prompts.masks is not None and not self.model.has_mask_input:
            raise PromptError(
                "the decoder in this folder takes no mask prompt here; give points or a box, or export it again "
                "(with --true-inputs for OpenVINO)"
            )
        if prompts.masks is not None and len(prompts.masks) > 1:  # the file takes one for all objects
            found = [self.decode(held, prompts.one(i), multimask_output) for i in range(len(prompts))]
            return tuple(np.concatenate(part) for part in zip(*found, strict=True))
        single = not multimask_output and self.model.has_single
        wanted = ("single_iou_score", "single_pred_mask") if single else ("iou_scores", "pred_masks")
        points, labels = prompts.as_points()
        points = points * (self.preparation.longest / self.preparation.frame)
        found = self.model.decode(held, points.astype(np.float32), labels, prompts.masks, outputs=wanted)
        iou, low_res = (found[name][0] for name in wanted)
        if not multimask_output and iou.shape[1] > 1:  # the file lacks the single mask
            best = self.rank(low_res, iou).argmax(1)[:, None]
            iou = np.take_along_axis(iou, best, 1)
            low_res = np.take_along_axis(low_res, best[..., None, None], 1)
        return low_res, iou

    def identity(self) -> str:
        digest = hashlib.sha256(repr(self.preparation).encode())
        with self.files[0].open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()

    def to_features(self, encoded: Mapping[str, np.ndarray]) -> np.ndarray:
        return encoded[self.model.embedding]

    def from_features(self, features: Any) -> dict[str, np.ndarray]:
        names = self.model.encoder_outputs
        if names != ["image_embeddings"]:
            missing = " and ".join(name for name in names if name != self.model.embedding)
            raise PromptError(f"this model's decoder needs {missing} beside the embedding; use load_embedding")
        if hasattr(features, "detach"):
            features = features.detach().float().cpu().numpy()
        return {"image_embeddings": np.asarray(features, np.float32)}

    def to_arrays(self, encoded: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(encoded)

    def from_arrays(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return dict(arrays)


class OnnxPredictor(ImagePredictor):
    """Masks for prompts on one image at a time: `SamPredictor` without torch.

    folder: written by ``sam-hub export --layout transformersjs`` (the default), or a folder for transformers.js
    variant: "fp32", "fp16", "int8", ...; default: the first of these that exists
    provider: "cpu", "cuda", "coreml", "webgpu", ...; default: CUDA if available, else the CPU
    threads: on the CPU; default: ``OMP_NUM_THREADS``, else one for each core
    cache_size: number of images whose embeddings are kept
    text: as in `ImagePredictor`
    raises: ModelNotFoundError, CheckpointError, DeviceError
    """

    backend: OnnxBackend

    def __init__(
        self,
        folder: str | os.PathLike,
        variant: str | None = None,
        provider: str | None = None,
        threads: int | None = None,
        cache_size: int = 4,
        text: Any = None,
    ) -> None:
        super().__init__(OnnxBackend(folder, variant, provider, threads), cache_size, text)

    @property
    def folder(self) -> Path:
        return self.backend.folder

    @property
    def variant(self) -> str:
        return self.backend.variant

    @property
    def files(self) -> list[Path]:
        """Paths of the encoder and the decoder."""
        return self.backend.files

    @property
    def model(self) -> OnnxModel:
        return self.backend.model

    @property
    def prompt_kinds(self) -> Sequence[str]:
        """The accepted kinds of prompts; can be assigned, None for all."""
        return self.capabilities.prompt_kinds

    @prompt_kinds.setter
    def prompt_kinds(self, kinds: Sequence[str] | None) -> None:
        self.backend.capabilities = replace(self.capabilities, prompt_kinds=tuple(kinds or PROMPT_KINDS))


def read_preparation(folder: Path) -> Preparation:
    """raises: CheckpointError"""
    try:
        return Preparation.read(folder)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise CheckpointError(
            f"{folder}/preprocessor_config.json cannot be read ({_first_line(e)}); download it again"
        ) from e


def read_capabilities(folder: Path) -> Capabilities:
    """Capabilities according to ``config.json``; SAM's if the file is missing.

    raises: CheckpointError
    """
    path = folder / "config.json"
    if not path.is_file():
        return Capabilities()
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise CheckpointError(f"{path} is damaged ({e}); download it again") from e
    decoder, prompts, encoder = (
        config.get(f"{part}_config") or {} for part in ("mask_decoder", "prompt_encoder", "vision")
    )
    return Capabilities(
        prompt_kinds=tuple(prompts.get("prompt_kinds") or PROMPT_KINDS),
        rank_by=decoder.get("rank_by", "iou"),
        encoder=encoder.get("model_type"),
        generation=suited(encoder.get("model_type"), config.get("generation")),
        tidy=tidied(encoder.get("model_type"), config.get("tidy")),
        zoom=zooms(encoder.get("model_type"), config.get("zoom")),
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
