"""Latency, memory, size and faithfulness of models and exported bundles, all measured in one run.

Each contender runs in a process of its own, so that its peak memory is its own. A *click* is what a person waits for
after the photo is encoded; the first one includes what a decoder prepares for each image.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ModelNotFoundError, SamHubError
from .exporters.formats import FORMATS
from .exporters.gate import compare
from .exporters.manifest import MANIFEST, Manifest
from .exporters.proof import Answer, Prompt, Proof, encode, make_proof
from .ops.preparation import Preparation, Prepared


@dataclass(frozen=True)
class Contender:
    """target: a model's name, or the folder of a bundle; artefact: number in its manifest, None for a model"""

    name: str
    target: str
    artefact: int | None = None


@dataclass(frozen=True)
class Row:
    """What was measured; times in milliseconds, sizes in megabytes (10^6).

    iou_mean, iou_worst: of masks to those of PyTorch in fp32, on the proof's photos and prompts
    """

    name: str
    runtime: str
    load_ms: float
    encode_cold_ms: float
    encode_p50_ms: float
    encode_p95_ms: float
    first_click_p50_ms: float
    click_p50_ms: float
    click_p95_ms: float
    peak_mb: float
    size_mb: float
    iou_mean: float
    iou_worst: float

    @property
    def photo_and_click_ms(self) -> float:
        return self.encode_p50_ms + self.first_click_p50_ms


def contenders(targets: Sequence[str]) -> list[Contender]:
    """What there is to measure: each model, and of each bundle every artefact.

    raises: BundleError
    """
    found = []
    for target in targets:
        if (Path(target) / MANIFEST).is_file():
            manifest = Manifest.read(Path(target))
            found += [Contender(f"{manifest.model}, {a.name}", target, i) for i, a in enumerate(manifest.artefacts)]
        else:
            found.append(Contender(f"{target}, PyTorch fp32", target))
    return found


def measure_in_own_process(contender: Contender, runs: int, threads: int | None, debug: bool = False) -> Row:
    """`measure` in a new interpreter.

    raises: SamHubError with what went wrong there
    """
    job = json.dumps({"contender": asdict(contender), "runs": runs, "threads": threads})
    done = subprocess.run([sys.executable, "-m", "sam_hub.bench", job], capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        what = done.stderr if debug else (lines[-1] if lines else f"exit code {done.returncode}")
        raise SamHubError(f"{contender.name} could not be measured: {what}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measure(contender: Contender, runs: int, threads: int | None = None) -> Row:
    """Load, encode and click, in this process.

    raises: ModelNotFoundError, BundleError, ...
    """
    start = time.perf_counter()
    if contender.artefact is None:
        model, runner, proof, size = _torch(contender.target, threads)
        del model
    else:
        runner, proof, size = _bundle(Path(contender.target), contender.artefact, threads)
    load = time.perf_counter() - start
    proof = proof()
    case, prompt = proof.cases[0], proof.cases[0].prompts[0]
    cold, embedded = _timed(lambda: runner.encode(case.image))
    encodes, firsts, clicks = [], [], []
    click = getattr(runner, "click", runner.decode)
    for _ in range(runs):
        seconds, embedded = _timed(lambda: runner.encode(case.image))
        encodes.append(seconds)
        firsts.append(_timed(lambda at=embedded: click(at, prompt))[0])
        clicks.append(_timed(lambda at=embedded: click(at, prompt))[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report = compare(runner, proof)
    return Row(
        contender.name,
        runner.runtime,
        *(
            1000 * value
            for value in (load, cold, *_percentiles(encodes), _percentiles(firsts)[0], *_percentiles(clicks))
        ),
        peak_mb=peak / 1e6,
        size_mb=size / 1e6,
        iou_mean=report.iou_mean,
        iou_worst=report.iou_worst,
    )


class TorchRunner:
    """`SamPredictor`'s way through a model, as a `gate.Runner`."""

    masks = "all"

    def __init__(self, model: Any) -> None:
        import torch

        self.model = model
        self.runtime = f"torch {torch.__version__}, {model.device}"

    def encode(self, image: Prepared) -> Any:
        from .inference.decoding import ImageDecoder

        return ImageDecoder(self.model, encode(self.model, image))

    def click(self, embedded: Any, prompt: Prompt) -> Any:
        """What a person waits for: the three masks alone."""
        return embedded(*self._prompt(prompt), multimask_output=True)

    def decode(self, embedded: Any, prompt: Prompt) -> Answer:
        import torch

        found = [embedded(*self._prompt(prompt), multimask_output=many) for many in (False, True)]
        low_res, scores = (torch.cat([f[i][0] for f in found]).numpy() for i in (0, 1))
        return Answer(low_res, scores)

    def _prompt(self, prompt: Prompt) -> list[Any]:
        import torch

        corner = np.isin(prompt.labels, (2, 3))
        points, boxes = prompt.points[None, ~corner], prompt.points[corner].reshape(-1, 4)
        return [
            torch.from_numpy(points) if points.size else None,
            torch.from_numpy(prompt.labels[None, ~corner]) if points.size else None,
            torch.from_numpy(boxes) if len(boxes) else None,
            None if prompt.mask_input is None else torch.from_numpy(prompt.mask_input[:, 0]),
        ]


def _torch(name: str, threads: int | None) -> tuple[Any, TorchRunner, Callable[[], Proof], int]:
    import torch

    from .models.image_processing_sam import SamImageProcessor
    from .models.modeling_sam import SamModel

    if threads:
        torch.set_num_threads(threads)
    model = SamModel.from_pretrained(name).float().eval()
    preparation = Preparation.from_settings(SamImageProcessor.from_pretrained(name).to_dict())
    size = sum(p.numel() * 4 for p in model.parameters())
    return model, TorchRunner(model), lambda: make_proof(model, preparation), size


def _bundle(folder: Path, number: int, threads: int | None) -> tuple[Any, Callable[[], Proof], int]:
    import os

    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    artefact = Manifest.read(folder).artefacts[number]
    runner = FORMATS[artefact.format].open_runner(folder, artefact)
    return runner, lambda: Proof.load(folder), sum(record.bytes for record in artefact.files)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    return float(np.percentile(seconds, 50)), float(np.percentile(seconds, 95))


def draw_chart(rows: Sequence[Row]) -> bytes:
    """Size against the time for a photo and its first click, the colour the mask IoU: a PNG.

    raises: ModelNotFoundError without matplotlib
    """
    import io

    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as e:
        raise ModelNotFoundError("the chart needs matplotlib: install it with `pip install matplotlib`") from e
    figure = Figure(figsize=(8, 5), dpi=120)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    x, y = [r.photo_and_click_ms for r in rows], [r.size_mb for r in rows]
    ious = [r.iou_mean for r in rows]
    dots = axes.scatter(x, y, c=ious, cmap="viridis", s=80, vmin=min(0.95, *ious), vmax=1)
    for row, at in zip(rows, zip(x, y, strict=True), strict=True):
        axes.annotate(row.name, at, xytext=(6, 6), textcoords="offset points", fontsize=8)
    axes.set_xlabel("photo and first click, ms (median)")
    axes.set_ylabel("files, MB")
    axes.set_xlim(left=0, right=max(x) * 1.35)
    axes.set_ylim(bottom=0, top=max(y) * 1.15)
    figure.colorbar(dots, label="mask IoU to PyTorch fp32")
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _main(text: str) -> None:
    job = json.loads(text)
    row = measure(Contender(**job["contender"]), job["runs"], job["threads"])
    print(json.dumps(asdict(row)))


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except SamHubError as e:
        sys.exit(" ".join(str(e).split()))
