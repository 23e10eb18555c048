"""Downloads onnxruntime-web, the runtime of the page without a server, from npm, once, checked by hash."""

import hashlib
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

from huggingface_hub.constants import HF_HOME

from ..errors import OutputError
from ..hub.download import download
from ..ops.files import make_folder, sha256, write_atomically

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
PACKAGE_BYTES = 33_106_585
PACKAGE_SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
ADVICE = f"get it with `npm pack onnxruntime-web@{VERSION}`"
REGISTRY = "https://registry.npmjs.org"
PATIENCE = 6
"""Seconds within which the registry must answer."""


@dataclass(frozen=True)
class Build:
    """The three files of a build of the runtime, by their role in the page."""

    script: str
    module: str
    wasm: str

    def files(self) -> dict[str, str]:
        return {"script": self.script, "module": self.module, "wasm": self.wasm}


BUILDS = {
    "wasm": Build("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": Build(
        "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"
    ),
}
HASHES = {
    "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
    "ort-wasm-simd-threaded.mjs": "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
    "ort-wasm-simd-threaded.asyncify.mjs": "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28",
    "ort-wasm-simd-threaded.asyncify.wasm": "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da",
}
"""File name in the package -> sha256."""


def runtime_files(source: Path | None = None, tell: Callable[[str], None] = lambda line: None) -> dict[str, Path]:
    """Name -> file of every build, downloaded once and cached.

    source: the package, as a .tgz or an unpacked or installed folder, instead of npm's registry
    raises: OutputError if the package is unavailable or not the expected version
    """
    kept = Path(HF_HOME) / "sam-hub" / f"onnxruntime-web-{VERSION}"
    if source is None and all((kept / name).is_file() and sha256(kept / name) == HASHES[name] for name in HASHES):
        return {name: kept / name for name in HASHES}
    if source is not None and source.is_dir():
        return _checked({name: _find(source, name) for name in HASHES}, source)
    if source is not None and not source.is_file():
        raise OutputError(f"{source} is neither a file nor a folder; {ADVICE}")
    archive = source or _fetch(kept.parent, tell)
    make_folder(kept)
    for name, content in _unpacked(archive).items():
        write_atomically(kept / name, content)
    if source is None:
        archive.unlink(missing_ok=True)
    return {name: kept / name for name in HASHES}


def _unpacked(archive: Path) -> dict[str, bytes]:
    """Name -> content of the needed files. raises: OutputError if the package is another version, or damaged"""
    found = {}
    try:
        with tarfile.open(archive) as package:
            for name in HASHES:
                member = package.extractfile(f"package/dist/{name}")
                found[name] = member.read() if member else b""
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as e:
        raise OutputError(f"{archive} is not npm's package onnxruntime-web, or not whole; {ADVICE}") from e
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != HASHES[name]:
            raise OutputError(f"{archive} is not onnxruntime-web {VERSION}: its {name} differs; {ADVICE}")
    return found


def _find(folder: Path, name: str) -> Path:
    places = (folder / name, folder / "dist" / name, folder / "package" / "dist" / name)
    return next((place for place in places if place.is_file()), places[0])


def _checked(files: dict[str, Path], source: Path) -> dict[str, Path]:
    for name, path in files.items():
        if not path.is_file() or sha256(path) != HASHES[name]:
            raise OutputError(f"{source} does not hold {name} of onnxruntime-web {VERSION}; {ADVICE}")
    return files


def _fetch(folder: Path, tell: Callable[[str], None]) -> Path:
    """The package from the registry. raises: OutputError"""
    registry = os.environ.get("NPM_CONFIG_REGISTRY", REGISTRY).rstrip("/")
    url = f"{registry}/onnxruntime-web/-/{PACKAGE}"
    tell(f"downloading onnxruntime-web {VERSION} ({PACKAGE_BYTES >> 20} MB, once)")
    try:
        urlopen(url, timeout=PATIENCE).close()
        return download(url, folder / PACKAGE, size=PACKAGE_BYTES, sha256=PACKAGE_SHA256)
    except (OSError, ValueError) as e:
        raise OutputError(
            f"the page needs onnxruntime-web {VERSION}, and {registry} does not give it ({e}); connect once, or pass "
            f"--runtime the file that `npm pack onnxruntime-web@{VERSION}` gives"
        ) from e
