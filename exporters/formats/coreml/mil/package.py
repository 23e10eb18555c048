"""Reads a saved ``.mlpackage``: the program and its weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .....errors import ExportError
from ....quiet import hushed

COLOURS = {"RGB": (0, 1, 2), "BGR": (2, 1, 0)}
"""Colour layouts of an image input -> the order in which the program sees the channels of an RGB image."""


@dataclass(frozen=True)
class ImageInput:
    """An input that takes an image: its size in pixels and the order of its channels."""

    width: int
    height: int
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Package:
    """The main function of a program.

    operations: in the order in which they run
    inputs: name -> the variable of the program
    outputs: the returned variables, which have the names of the outputs
    images: name -> description of an image input
    """

    operations: list[Any]
    inputs: dict[str, Any]
    outputs: list[Any]
    images: dict[str, ImageInput]


@hushed("coremltools")
def read_package(path: Path) -> Package:
    """Load a ``.mlpackage`` from the disk.

    raises: ExportError if it cannot be read, or is not an ML program of one function
    """
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    try:
        spec = ct.utils.load_spec(str(path))
    except Exception as e:  # coremltools raises any exception on damaged files
        raise ExportError(f"{path} is not a readable Core ML package ({e}); export the model again") from e
    if spec.WhichOneof("Type") != "mlProgram":
        raise ExportError(f"{path} is a Core ML {spec.WhichOneof('Type')}, not an ML program; export the model again")
    weights = Path(path) / "Data" / "com.apple.CoreML" / "weights"
    try:
        program = load(spec, specification_version=spec.specificationVersion, file_weights_dir=str(weights))
    except Exception as e:
        raise ExportError(f"the program in {path} cannot be loaded ({e}); export the model again") from e
    images = {i.name: _image(i, path) for i in spec.description.input if i.type.WhichOneof("Type") == "imageType"}
    return package_of(program, images)


def package_of(program: Any, images: dict[str, ImageInput] | None = None) -> Package:
    """Of a MIL program in memory."""
    main = program.functions["main"]
    return Package(list(main.operations), dict(main.inputs), list(main.outputs), images or {})


def _image(described: Any, path: Path) -> ImageInput:
    kind = described.type.imageType
    colour = type(kind).ColorSpace.Name(kind.colorSpace)
    if colour not in COLOURS:
        raise ExportError(f"{path} takes an image in {colour}; only {' and '.join(COLOURS)} are known here")
    return ImageInput(kind.width, kind.height, COLOURS[colour])
