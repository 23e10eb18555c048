"""Pushes a folder to the Hub: the model, its processor, verified exports, and a card."""

import json
import platform
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from .cards import added_sections, complete, model_card
from .errors import CheckpointError, DataError, ModelNotFoundError
from .exporters.formats import FORMATS
from .exporters.manifest import MANIFEST, Manifest, files_below
from .hub import locate
from .hub.download import CONFIG, PROCESSORS
from .hub.upload import WEIGHTS, push_files
from .models.configuration_sam import SamConfig
from .models.fetching import prefetch
from .models.layouts import card_subject
from .models.processing_sam import SamProcessor
from .ops.files import inside

CARD = "README.md"
PICTURES = (".png", ".jpg", ".jpeg", ".svg", ".webp", ".gif")
TEXTS = re.compile(r"(LICENSE|LICENCE|NOTICE|CREDITS)(\.\w+)?", re.IGNORECASE)


@dataclass
class Parcel:
    """The files to push.

    files: path in the repository -> file
    made: paths of files written for the push -> their source
    left_out: other files in the folder -> why they are not pushed
    """

    files: dict[str, Path] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return sum(file.stat().st_size for file in self.files.values())


def push_folder(
    model: str,
    repo: str,
    tell: Callable[[Parcel], None],
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    base: str | None = None,
    bundle: Path | None = None,
    results: Sequence[Path] = (),
    card: Path | None = None,
    latency: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Upload a local folder, or a catalogue model that is stored as a folder, in one commit.

    tell: called with the parcel before the upload
    base, bundle, results, card: as in `pack`; base is by default the model's catalogue name
    latency: measure latency on this machine, for the card
    dry_run: stop after ``tell``
    returns: repo, revision, private, ``commit`` (its URL, or None), ``files`` with their sizes, ``made``,
        ``left_out``
    raises: as `pack`; HubError
    """
    place = locate(model)
    if place.repo:
        raise ModelNotFoundError(
            f"{model} is already on the Hub; give a folder, such as the one `sam-hub pull {model}` makes"
        )
    folder = prefetch(model)
    if folder.is_file():
        raise ModelNotFoundError(f"{folder} is a checkpoint; `sam-hub convert {folder} --to DIR` makes a folder first")
    for file in (card, *results):
        if file and not file.is_file():
            raise ModelNotFoundError(f"{file} does not exist")
    with tempfile.TemporaryDirectory() as aside:
        rows = measure(folder, this_machine()) if latency else []
        parcel = pack(folder, repo, Path(aside), base or place.name, bundle, results, card, rows)
        tell(parcel)
        address = None if dry_run else push_files(parcel.files, repo, message, private, None, revision)
        return {
            "repo": repo,
            "revision": revision or "main",
            "private": private,
            "commit": address,
            "files": {path: file.stat().st_size for path, file in sorted(parcel.files.items())},
            "made": parcel.made,
            "left_out": parcel.left_out,
        }


def pack(
    folder: Path,
    repo: str,
    place: Path,
    base: str | None = None,
    bundle: Path | None = None,
    results: Sequence[Path] = (),
    card: Path | None = None,
    latency: Sequence[Mapping[str, Any]] = (),
) -> Parcel:
    """Choose the files of a folder to push, and write missing ones.

    Only the model's files are chosen: not optimizer states, logs or pickles. The folder's card is kept word for
    word, and missing sections are added.
    place: an empty folder for the files that are written
    base: catalogue name or repository that the weights were made from
    bundle: a folder of exported files, in addition to those in ``folder``; pushed to the root of the repository
    results: reports of `sam-hub eval`, or a table.json of its --task
    card: pushed unchanged instead of the folder's
    raises: ModelNotFoundError, CheckpointError, DataError; BundleError if exported files have changed
    """
    parcel = Parcel()
    config = SamConfig.from_pretrained(folder)
    written = inside(folder, CARD, DataError).read_text("utf-8") if (folder / CARD).is_file() else ""
    bundles = _add_bundles(parcel, folder, bundle)
    for file in sorted(folder.iterdir()):
        if file.name not in parcel.files and file.name != CARD:
            reason = _why_not(file, written)
            if not reason:
                parcel.files[file.name] = file
            elif not any(path.startswith(f"{file.name}/") for path in parcel.files):
                parcel.left_out[file.name] = reason
    parameters = _check_weights(folder, [file for name, file in parcel.files.items() if WEIGHTS.fullmatch(name)])
    if missing := [name for name in PROCESSORS if name not in parcel.files]:
        SamProcessor.for_config(config).save_pretrained(place)
        for name in missing:
            parcel.files[name], parcel.made[name] = place / name, f"made from {CONFIG}"
    if card:
        parcel.files[CARD] = card
        return parcel
    subject = card_subject(
        config,
        base or _base_of(written),
        repo,
        parameters=parameters,
        reports=[_read_json(path) for path in results],
        latency=latency,
        bundles=bundles,
    )
    target = place / CARD
    target.write_text(complete(written, subject) if written else model_card(subject), "utf-8")
    added = added_sections(written, subject) if written else []
    if not written:
        parcel.made[CARD] = "made from the catalogue, the configuration and what was measured"
    elif added:
        parcel.made[CARD] = f"the folder's own, with {', '.join(added)} added"
    parcel.files[CARD] = target
    return parcel


def _why_not(file: Path, card: str) -> str:
    """Why a file is not pushed, or "". raises: DataError if a required file is a link out of the folder"""
    name = file.name
    needed = WEIGHTS.fullmatch(name) or name == CONFIG or name in PROCESSORS
    try:
        inside(file.parent, name, DataError)
    except DataError:
        if needed:
            raise
        return "a link out of the folder"
    if needed or TEXTS.fullmatch(name):
        return "" if file.is_file() else "not a file"
    if name.startswith("."):
        return "hidden"
    if file.is_dir():
        return f"a folder without {MANIFEST}"
    if file.suffix.lower() in PICTURES:
        return "" if name in card else f"{CARD} does not show it"
    if file.suffix in (".bin", ".pt", ".pth", ".pkl"):
        return "may hold code; weights go as safetensors"
    return "not part of a model"


def _add_bundles(parcel: Parcel, folder: Path, other: Path | None) -> list[dict[str, Any]]:
    """Add the exported files of every bundle, checked against its manifest; returns the manifests' contents."""
    found = []
    for manifest in [*sorted(folder.glob(MANIFEST)), *sorted(folder.glob(f"*/{MANIFEST}"))]:
        home = manifest.parent.relative_to(folder).as_posix()
        inside(folder, manifest.relative_to(folder).as_posix(), DataError)
        found.append((manifest.parent, "" if home == "." else f"{home}/"))
    if other:
        found.append((other, ""))
    contents = []
    for home, prefix in found:
        manifest = Manifest.read(home)
        records = [record for artefact in manifest.artefacts for record in artefact.files]
        paths = [path for record in records for path in (record.path, *record.weights)]
        names = []
        for path in (*paths, *manifest.others, MANIFEST):
            below = files_below(inside(home, path, DataError)) if (home / path).is_dir() else ()
            names += [f"{path}/{name}" for name in below] or [path]
        for name in names:
            inside(home, name, DataError)  # before any is read
        manifest.check_files(home)
        for name in names:
            if prefix or name not in (CARD, CONFIG):
                parcel.files[prefix + name] = home / name
        contents.append(json.loads((home / MANIFEST).read_text("utf-8")))
        for artefact in contents[-1]["artefacts"]:
            if artefact["format"] in FORMATS:
                artefact["place"] = FORMATS[artefact["format"]].place
            for record in artefact["files"]:
                record["path"] = prefix + record["path"]
                record["weights"] = {prefix + path: digest for path, digest in record.get("weights", {}).items()}
    return contents


def _check_weights(folder: Path, files: Sequence[Path]) -> int:
    """Count the parameters. raises: CheckpointError for damaged files, ModelNotFoundError if there are none"""
    weights = [file for file in files if file.suffix == ".safetensors"]
    if not weights:
        raise ModelNotFoundError(f"{folder} holds no weights (model.safetensors); save the model there first")
    count = 0
    for file in weights:
        try:
            with safe_open(file, "pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 no mapping
                    shape = tensors.get_slice(key).get_shape()
                    buffer = re.search(r"running_(mean|var)$|num_batches_tracked$|positional_embedding$", key)
                    count += 0 if buffer else _product(shape)
        except (SafetensorError, OSError) as e:
            raise CheckpointError(f"{file} is damaged or cut short ({e}); save the model again") from e
    return count


def _product(shape: Sequence[int]) -> int:
    result = 1
    for side in shape:
        result *= side
    return result


def _base_of(card: str) -> str | None:
    """The base model named in a card's front matter, or None."""
    match = re.search(r"^base_model: *['\"]?([\w./-]+)", card.partition("\n---")[0], re.MULTILINE)
    return match[1] if match else None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        report = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} is not readable JSON; give a report written by `sam-hub eval --out`") from e
    kinds = {"shards", "sam_hub"}, {"rows", "titles", "task", "title", "images", "sam_hub"}
    if not isinstance(report, dict) or not any(kind <= report.keys() for kind in kinds):
        raise DataError(f"{path} is not a report of `sam-hub eval`; give a file written by its --out")
    return report


def this_machine() -> str:
    """A short description of this machine."""
    import torch

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return f"{cpu}, {torch.get_num_threads()} threads, torch {torch.__version__}, fp32"


def measure(folder: Path, machine: str, repeats: int = 5, clock: Callable[[], float] = time.perf_counter) -> list[dict]:
    """Median times of encoding a photo and of decoding a prompt, on this machine, in fp32.

    machine: its description in the card
    returns: rows for `sam_hub.cards.Subject.latency`
    """
    import numpy as np

    from .inference.predictor import SamPredictor
    from .models.modeling_sam import SamModel

    predictor = SamPredictor(SamModel.from_pretrained(folder).float().eval())
    noise = np.random.default_rng(0)
    box = np.array([40, 20, 360, 300])
    encode, decode = [], []
    for _ in range(repeats + 1):
        image = noise.integers(
            0, 256, (480, 640, 3), dtype=np.uint8
        )  # a new image each time, because embeddings are cached
        start = clock()
        predictor.set_image(image)
        encoded = clock()
        predictor.predict(box=box, multimask_output=False)
        decode.append(clock() - encoded)
        encode.append(encoded - start)
    times = {"a photo encoded": encode[1:], "a prompt decoded": decode[1:]}
    return [
        {"what": what, "milliseconds": statistics.median(seconds) * 1000, "machine": machine}
        for what, seconds in times.items()
    ]
