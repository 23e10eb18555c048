"""Test data for exported files: photos, prompts, and the model's own answers in PyTorch, fp32.

A proof is part of the bundle (``proof/``), so that `sam-hub verify` can repeat the comparison from the files alone,
without torch. The photos are three copyright-free ones from the package, cropped to several shapes, and those of
``--photos``.
"""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..ops.bounds import LIFT, trusts_size
from ..ops.files import inside, make_folder, write_atomically
from ..ops.geometry import scale_points
from ..ops.images import read_image
from ..ops.preparation import Preparation, Prepared
from .manifest import BundleError

PHOTOS = Path(__file__).parent / "photos"
FOLDER = "proof"

UNPACKED_BYTES = 2**30
"""The most bytes of a proof in memory; with three photos at 1024 pixels it is 26 MB."""

STORED_BITS = 14
"""Mantissa bits of a stored logit: a relative error of 3e-5."""

CUTS = {
    "astronaut.jpg": (0.0, 0.0, 1.0, 1.0),  # square
    "cat.jpg": (0.0, 0.0, 1.0, 1.0),  # 3 : 2
    "coffee.jpg": (0.25, 0.0, 0.69, 1.0),  # portrait
}
"""Crop of each photo, x0, y0, x1, y1 as fractions of its sides, so that there are several shapes."""

OBJECT = (0.5, 0.45)
"""Box of each photo's main object, as fractions of its sides."""

BOX = (0.22, 0.12, 0.82, 0.9)

SEVEN = (
    (0.5, 0.45, 1),
    (0.42, 0.35, 1),
    (0.58, 0.5, 1),
    (0.5, 0.6, 1),
    (0.03, 0.05, 0),
    (0.97, 0.06, 0),
    (0.9, 0.95, 0),
)
"""x, y as fractions of the sides, and label."""


@dataclass(frozen=True)
class Prompt:
    """One object's prompt, in the frame of the resized image.

    kind: "1 point", "7 points", "box", "box and points", "mask", for reports
    points: (P, 2) float32, x then y: clicks, then the two corners of a box. SAM's "not a point", added if there is no
        box, is *not* included: the runner or the graph adds it
    labels: (P,) int64: 1 object, 0 background, 2 and 3 the corners of a box
    mask_input: (1, 1, h, w) float32 low-res logits, or None
    """

    kind: str
    points: np.ndarray
    labels: np.ndarray
    mask_input: np.ndarray | None = None


@dataclass
class Answer:
    """Masks of one prompt: low-res logits (M, h, w) and predicted IoU (M,), both float32.

    M is 1 + 3 for SAM's decoder: the single mask first, then the three for an ambiguous prompt.
    """

    low_res: np.ndarray
    scores: np.ndarray


@dataclass
class Case:
    """A photo, prepared, with its prompts and the model's own answers."""

    name: str
    image: Prepared
    prompts: list[Prompt]
    answers: list[Answer] = field(default_factory=list)


@dataclass
class Proof:
    """All cases, and the settings needed to compare masks.

    padded_frame: (height, width) of the padded input in the frame of prompts and masks
    """

    cases: list[Case]
    padded_frame: tuple[int, int]
    sources: dict[str, np.ndarray] = field(default_factory=dict)

    def pairs(self) -> Iterator[tuple[Case, Prompt, Answer]]:
        for case in self.cases:
            yield from ((case, p, a) for p, a in zip(case.prompts, case.answers, strict=True))

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "photos": {case.name: list(case.image.original_size) for case in self.cases},
            "prompts": sum(len(case.prompts) for case in self.cases),
            "kinds": sorted({p.kind for case in self.cases for p in case.prompts}),
            "reference": "PyTorch, fp32, CPU",
            "folder": FOLDER,
        }

    def save(self, folder: Path) -> None:
        """Photos as PNG, prompts and answers as ``proof.npz``, into ``folder / "proof"``.

        Logits are rounded to `STORED_BITS`, which compresses to two thirds of the size and never changes a sign.
        """
        make_folder(folder / FOLDER)
        arrays: dict[str, np.ndarray] = {}
        index = []
        for i, case in enumerate(self.cases):
            write_atomically(folder / FOLDER / f"{i}.png", _png(self.sources[case.name]))
            kinds = []
            for j, (prompt, answer) in enumerate(zip(case.prompts, case.answers, strict=True)):
                key = f"{i}.{j}"
                kinds.append(prompt.kind)
                arrays |= {f"{key}.points": prompt.points, f"{key}.labels": prompt.labels}
                if prompt.mask_input is not None:
                    arrays[f"{key}.mask_input"] = prompt.mask_input
                arrays |= {f"{key}.low_res": _rounded(answer.low_res), f"{key}.scores": answer.scores}
            index.append({"name": case.name, "kinds": kinds})
        about = {"cases": index, "padded_frame": list(self.padded_frame)}
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_atomically(folder / FOLDER / "proof.npz", buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> "Proof":
        """Load from a bundle; images are prepared by its ``preprocessor_config.json``.

        raises: BundleError
        """
        try:
            prepare = Preparation.read(folder)
            file = inside(folder, f"{FOLDER}/proof.npz", BundleError)
            _check_size(file)
            with np.load(file, allow_pickle=False) as arrays:
                about = json.loads(arrays["about"].tobytes())
                cases, sources = [], {}
                for i, entry in enumerate(about["cases"]):
                    pixels = read_image(inside(folder, f"{FOLDER}/{i}.png", BundleError))
                    case = Case(entry["name"], prepare(pixels), [])
                    for j, kind in enumerate(entry["kinds"]):
                        key = f"{i}.{j}"
                        mask = arrays.get(f"{key}.mask_input")
                        case.prompts.append(Prompt(kind, arrays[f"{key}.points"], arrays[f"{key}.labels"], mask))
                        case.answers.append(Answer(arrays[f"{key}.low_res"], arrays[f"{key}.scores"]))
                    cases.append(case)
                    sources[case.name] = pixels
                height, width = about["padded_frame"]
                return cls(cases, (int(height), int(width)), sources)
        except BundleError:
            raise
        except MemoryError as e:
            raise BundleError(
                f"the proof in {folder / FOLDER} needs more memory than there is; download it again"
            ) from e
        except (
            OSError,
            LookupError,
            ValueError,
            TypeError,
            AttributeError,
            EOFError,
            RecursionError,
            OverflowError,
            NotImplementedError,
            zipfile.BadZipFile,
            zlib.error,
        ) as e:
            raise BundleError(f"the proof in {folder / FOLDER} cannot be read ({e}); export the model again") from e


def _check_size(file: Path) -> None:
    """BundleError for a compressed file that unpacks to more than any proof."""
    if not file.is_file():
        raise BundleError(f"{file} is missing; export or download it again")
    with zipfile.ZipFile(file) as packed:
        size = sum(entry.file_size for entry in packed.infolist())
    if size > UNPACKED_BYTES and not trusts_size():
        raise BundleError(f"{file} unpacks to {size:,} bytes, over {UNPACKED_BYTES:,}; {LIFT}")


def make_proof(model: Any, preparation: Preparation, photos: Sequence[Path] = ()) -> Proof:
    """A `SamModel`'s answers (fp32, evaluation mode, CPU) to prompts on the package's photos and others.

    Prompts that the model does not support (see its ``prompt_kinds``) are omitted.
    raises: ImageError
    """
    cases, sources = [], {}
    for name, pixels in [*packaged_photos(), *((path.name, read_image(path)) for path in photos)]:
        case = Case(name, preparation(pixels), [])
        embedded = encode(model, case.image)
        for prompt in _prompts(case.image, tuple(model.config.prompt_encoder_config.prompt_kinds)):
            case.prompts.append(prompt)
            case.answers.append(answer(model, embedded, prompt))
        if "masks" in model.config.prompt_encoder_config.prompt_kinds:
            clicked, boxed = case.prompts[0], next(p for p in case.prompts if p.kind == "box")
            rough = case.answers[0].low_res[-1][None, None]
            for kind, like in (("mask and point", clicked), ("mask and box", boxed)):
                case.prompts.append(Prompt(kind, like.points, like.labels, rough))
                case.answers.append(answer(model, embedded, case.prompts[-1]))
        cases.append(case)
        sources[name] = pixels
    return Proof(cases, preparation.padded_frame, sources)


def packaged_photos() -> Iterator[tuple[str, np.ndarray]]:
    """Names and pixels (H, W, 3) uint8 of the photos in the package, cropped to several shapes."""
    for name, (x0, y0, x1, y1) in CUTS.items():
        pixels = read_image(PHOTOS / name)
        height, width = pixels.shape[:2]
        yield name, pixels[int(y0 * height) : int(y1 * height), int(x0 * width) : int(x1 * width)]


def encode(model: Any, image: Prepared) -> Any:
    """`EncoderOutput` of one image."""
    import torch

    with torch.no_grad():
        return model.encode(torch.from_numpy(image.pixel_values))


def answer(model: Any, embedded: Any, prompt: Prompt) -> Answer:
    """Every mask of the model in PyTorch; for SAM-HQ, those of its two modes: single, then multimask."""
    import torch

    corner = np.isin(prompt.labels, (2, 3))
    points, labels = prompt.points[~corner], prompt.labels[~corner]
    arguments: dict[str, Any] = {
        "image_embeddings": embedded.embedding,
        "intermediate_embeddings": embedded.features,
    }
    if len(points):
        arguments["input_points"] = torch.from_numpy(points)[None, None]
        arguments["input_labels"] = torch.from_numpy(labels)[None, None]
    if corner.any():
        arguments["input_boxes"] = torch.from_numpy(prompt.points[corner].reshape(1, 1, 4))
    if prompt.mask_input is not None:
        arguments["input_masks"] = torch.from_numpy(prompt.mask_input)
    with torch.no_grad():
        found = [model(**arguments, multimask_output=many) for many in (False, True)]
    low_res = torch.cat([f.pred_masks[0, 0] for f in found]).numpy()
    return Answer(low_res, torch.cat([f.iou_scores[0, 0] for f in found]).numpy())


def _prompts(image: Prepared, kinds: tuple[str, ...]) -> Iterator[Prompt]:
    """Clicks and boxes at fixed positions of the photo, in the frame of the resized image."""
    height, width = image.original_size

    def placed(kind: str, parts: Sequence[tuple[float, float]], labels: Sequence[int]) -> Prompt:
        xy = np.array(parts, np.float64) * (width, height)
        return Prompt(kind, scale_points(xy, image.original_size, image.frame_size), np.array(labels, np.int64))

    corners = [BOX[:2], BOX[2:]]
    if "points" in kinds:
        yield placed("1 point", [OBJECT], [1])
        yield placed("1 point", [(0.2, 0.85)], [1])
        clicks = [c for c in SEVEN if c[2] or "background points" in kinds]
        yield placed(f"{len(clicks)} points", [c[:2] for c in clicks], [c[2] for c in clicks])
    if "boxes" in kinds:
        yield placed("box", corners, [2, 3])
        if "points" in kinds:
            yield placed("box and point", [OBJECT, *corners], [1, 2, 3])


def _rounded(values: np.ndarray) -> np.ndarray:
    """float32 with the mantissa rounded to `STORED_BITS`, to nearest."""
    dropped = 23 - STORED_BITS
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(1 << (dropped - 1))
    return (bits >> np.uint32(dropped) << np.uint32(dropped)).view(np.float32)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
