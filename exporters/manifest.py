"""``export.json``: contents of a bundle of exported files, how it was made and what was verified."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import SamHubError
from ..ops.files import inside, sha256, write_atomically

MANIFEST = "export.json"
VERSION = 1
MANIFEST_BYTES = 16 * 2**20


class BundleError(SamHubError, ValueError):
    """A folder is not a bundle, or its files have changed since the export."""


@dataclass(frozen=True)
class Tensor:
    """One input or output of a file.

    shape: numbers, or names for sides that may vary from run to run
    """

    name: str
    dtype: str
    shape: list[int | str]
    meaning: str = ""


@dataclass
class FileRecord:
    """One exported file, or a folder that its platform treats as a file (``.mlpackage``).

    path: relative to the bundle, with forward slashes
    role: "encoder", "decoder", "prompt_encoder", ...
    opset: of ONNX; for other formats, ``facts`` has the minimum deployment target or similar
    weights: further files that it reads, each with its sha256: the ``.bin`` of OpenVINO, external data of ONNX
    sha256, bytes: filled in when the manifest is written, as are the hashes of ``weights``; bytes are of all of them
    proven: runtimes, with versions, on which it gave PyTorch's masks; failed: those on which it did not, and how
    """

    path: str
    role: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    opset: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    bytes: int = 0
    weights: dict[str, str] = field(default_factory=dict)
    proven: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def saw(self, runtime: str, fault: str = "") -> None:
        """Record a runtime's success or failure; a later record replaces an earlier one."""
        self.proven = [other for other in self.proven if other != runtime] + [runtime] * (not fault)
        self.failed = {other: why for other, why in self.failed.items() if other != runtime}
        if fault:
            self.failed[runtime] = fault


@dataclass
class Artefact:
    """Files that work together: one variant of one format in one layout, with its verification results.

    gate: `gate.Report.facts`, empty until verified; runtime: what ran it, for example "onnxruntime 1.23.0, CPU"
    """

    format: str
    variant: str
    layout: str
    files: list[FileRecord]
    gate: dict[str, Any] = field(default_factory=dict)
    runtime: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.format} {self.variant}" + (f" ({self.layout})" if self.layout else "")

    def file(self, role: str) -> FileRecord:
        """raises: BundleError if there is none with that role"""
        for record in self.files:
            if record.role == role:
                return record
        raise BundleError(f"{self.name} has no {role}; export the model again")


@dataclass
class Manifest:
    """The content of ``export.json``.

    model, family: the name that was exported and the family of its decoder
    frame: side of the prompts' frame in pixels, the long side of the resized image
    low_res: side of the low-res masks
    proof: photos and prompts used for comparison, see `proof.Proof.facts`
    tools: name -> version of the tools that made the files
    others: files that are neither models nor proofs (snippets, configuration), relative paths with their sha256
    """

    model: str
    family: str
    licence: str
    image_size: int
    frame: int
    low_res: int
    tools: dict[str, str]
    proof: dict[str, Any]
    artefacts: list[Artefact] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    version: int = VERSION

    def find(self, format: str, variant: str | None = None, layout: str | None = None) -> Artefact:
        """The first artefact that fits. raises: BundleError with the choices"""
        for artefact in self.artefacts:
            if artefact.format == format and variant in (None, artefact.variant) and layout in (None, artefact.layout):
                return artefact
        wanted = " ".join(filter(None, (format, variant, layout)))
        there = ", ".join(a.name for a in self.artefacts) or "nothing"
        raise BundleError(f"this bundle has no {wanted}; it has {there}")

    def write(self, folder: Path) -> None:
        """Fill in hashes and sizes from the files, and write ``export.json`` atomically.

        raises: OutputError
        """
        for artefact in self.artefacts:
            for record in artefact.files:
                record.sha256, record.bytes = sha256_and_size(folder / record.path)
                for path in record.weights:
                    record.weights[path], size = sha256_and_size(folder / path)
                    record.bytes += size
        records = [record for artefact in self.artefacts for record in artefact.files]
        known = {MANIFEST, *(path for record in records for path in (record.path, *record.weights))}
        self.others = {
            name: sha256_and_size(folder / name)[0]
            for name in sorted(files_below(folder))
            if name not in known and not any(name.startswith(f"{k}/") for k in known)
        }
        write_atomically(folder / MANIFEST, (json.dumps(asdict(self), indent=2) + "\n").encode())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """raises: BundleError"""
        path = folder / MANIFEST
        if not path.is_file():  # reading a pipe would block
            raise BundleError(f"{folder} is not an exported bundle: it has no readable {MANIFEST}")
        try:
            if path.stat().st_size > MANIFEST_BYTES:
                raise BundleError(f"{path} has more than {MANIFEST_BYTES // 2**20} MiB; get the bundle again")
            content = json.loads(path.read_text("utf-8"))
            if content.get("version") != VERSION:
                raise BundleError(
                    f"{path} is of version {content.get('version')}, and this sam-hub reads {VERSION}; export it again"
                )
            artefacts = [_artefact(a) for a in content.pop("artefacts")]
            found = cls(**content, artefacts=artefacts)
            if not all(isinstance(text, str) for a in artefacts for text in (a.format, a.variant, a.layout)):
                raise TypeError("the name of an artefact is not text")
            for name, expected in found._hashes():
                if not isinstance(name, str) or not isinstance(expected, str):
                    raise TypeError("a path or hash is not text")
                inside(folder, name, BundleError)
            return found
        except BundleError:
            raise
        except OSError as e:
            raise BundleError(f"{folder} is not an exported bundle: it has no readable {MANIFEST}") from e
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
            raise BundleError(f"{path} is damaged ({type(e).__name__}: {e}); export the model again") from e

    def check_files(self, folder: Path) -> None:
        """Compare every file with its hash. raises: BundleError naming the first that differs"""
        for path, expected in self._hashes():
            file = inside(folder, path, BundleError)
            if not (file.is_file() or file.is_dir()):
                raise BundleError(f"{path} is missing from {folder}; export or download it again")
            try:
                found, _ = sha256_and_size(file)
            except OSError as e:
                raise BundleError(f"{path} in {folder} cannot be read ({e.strerror}); download it again") from e
            if found != expected:
                raise BundleError(f"{path} is not the file that was exported: its hash differs; download it again")

    def _hashes(self) -> Iterator[tuple[str, str]]:
        for artefact in self.artefacts:
            for record in artefact.files:
                yield record.path, record.sha256
                yield from record.weights.items()
        yield from self.others.items()


def sha256_and_size(path: Path) -> tuple[str, int]:
    """sha256 and bytes of a file; for a folder, those of the sorted list of names and hashes, and the total."""
    if not path.is_dir():
        return sha256(path), path.stat().st_size
    lines, total = [], 0
    for name in sorted(files_below(path)):
        digest, size = sha256_and_size(path / name)
        lines.append(f"{digest}  {name}\n")
        total += size
    return hashlib.sha256("".join(lines).encode()).hexdigest(), total


def files_below(folder: Path) -> Iterator[str]:
    """Relative paths, with forward slashes, of every file in a folder and those below it."""
    return (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def versions(*packages: str) -> dict[str, str]:
    """Name -> installed version, for ``tools``."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("sam-hub", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found


def _tensors(entries: Sequence[dict[str, Any]]) -> list[Tensor]:
    return [Tensor(**entry) for entry in entries]


def _artefact(entry: dict[str, Any]) -> Artefact:
    files = [
        FileRecord(**{**f, "inputs": _tensors(f["inputs"]), "outputs": _tensors(f["outputs"])}) for f in entry["files"]
    ]
    return Artefact(**{**entry, "files": files})
