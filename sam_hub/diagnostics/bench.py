"""Latency, memory, size and accuracy of models and exported bundles, all measured in one run.

Each contender runs in a separate process, so that its peak memory is its own. A *click* is the time that a user waits
for a mask after the photo is encoded; the first one includes the decoder's preparation for each image.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ModelNotFoundError, SamHubError
from ..exporters.bundle import check_installed
from ..exporters.formats import FORMATS
from ..exporters.gate import NOT_ON_DEVICE, compare
from ..exporters.manifest import MANIFEST, Manifest
from ..exporters.proof import Answer, Prompt, Proof, encode, make_proof
from ..ops.preparation import Preparation, Prepared


@dataclass(frozen=True)
class Contender:
    """What is measured.

    target: a model's name, or a bundle's folder; artefact: index in its manifest, None for a model
    """

    name: str
    target: str
    artefact: int | None = None


@dataclass(frozen=True)
class Row:
    """Measurements; times in milliseconds, sizes in megabytes (10^6).

    encode_cold_ms, click_cold_ms: first run in the process
    first_click_p50_ms: first click on each photo, including the decoder's preparation
    iou_mean, iou_worst: IoU with the masks of PyTorch in fp32, on the proof's photos and prompts
    """

    name: str
    runtime: str
    load_ms: float
    encode_cold_ms: float
    encode_p50_ms: float
    encode_p95_ms: float
    click_cold_ms: float
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

    @property
    def is_timed_on_its_runtime(self) -> bool:
        """False for Core ML packages off macOS: they run in our evaluator, whose times say nothing about a device."""
        return NOT_ON_DEVICE not in self.runtime


def contenders(targets: Sequence[str]) -> list[Contender]:
    """The contenders: each model, and every artefact of each bundle.

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

    threads: CPU threads; default: ``OMP_NUM_THREADS``, else all
    raises: SamHubError with the reason
    """
    job = json.dumps({"contender": asdict(contender), "runs": runs})
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    command = [sys.executable, "-m", "sam_hub.diagnostics.bench", job]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        what = done.stderr if debug else (lines[-1] if lines else f"exit code {done.returncode}")
        raise SamHubError(f"{contender.name} could not be measured: {what}")
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def measure(contender: Contender, runs: int) -> Row:
    """Load, encode and click, in this process.

    raises: ModelNotFoundError, BundleError, ...
    """
    start = time.perf_counter()
    if contender.artefact is None:
        runner, proof, size = _torch(contender.target)
    else:
        runner, proof, size = _bundle(Path(contender.target), contender.artefact)
    load = time.perf_counter() - start
    proof = proof()
    case, prompt = proof.cases[0], proof.cases[0].prompts[0]
    cold, embedded = _timed(lambda: runner.encode(case.image))
    encodes, firsts, clicks = [], [], []
    click = getattr(runner, "click", runner.decode)
    click_cold, _ = _timed(lambda: click(embedded, prompt))
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
            for value in (
                load,
                cold,
                *_percentiles(encodes),
                click_cold,
                _percentiles(firsts)[0],
                *_percentiles(clicks),
            )
        ),
        peak_mb=peak / 1e6,
        size_mb=size / 1e6,
        iou_mean=report.iou_mean,
        iou_worst=report.iou_worst,
    )


class TorchRunner:
    """Runs a model as `SamPredictor` does, as a `gate.Runner`."""

    masks = "all"

    def __init__(self, model: Any) -> None:
        import torch

        self.model = model
        self.runtime = f"torch {torch.__version__}, {model.device}"

    def encode(self, image: Prepared) -> Any:
        from ..inference.decoding import ImageDecoder

        return ImageDecoder(self.model, encode(self.model, image))

    def click(self, embedded: Any, prompt: Prompt) -> Any:
        """The timed part of a click: predicting the three masks."""
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


def _torch(name: str) -> tuple[TorchRunner, Callable[[], Proof], int]:
    from ..models.image_processing_sam import SamImageProcessor
    from ..models.modeling_sam import SamModel

    model = SamModel.from_pretrained(name).float().eval()
    preparation = Preparation.from_settings(SamImageProcessor.from_pretrained(name).to_dict())
    size = sum(p.numel() * 4 for p in model.parameters())
    return TorchRunner(model), lambda: make_proof(model, preparation), size


def _bundle(folder: Path, number: int) -> tuple[Any, Callable[[], Proof], int]:
    artefact = Manifest.read(folder).artefacts[number]
    check_installed(artefact.format, to_export=False)
    runner = FORMATS[artefact.format].open_runner(folder, artefact)
    return runner, lambda: Proof.load(folder), sum(record.bytes for record in artefact.files)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _percentiles(seconds: Sequence[float]) -> tuple[float, float]:
    return float(np.percentile(seconds, 50)), float(np.percentile(seconds, 95))


def draw_chart(rows: Sequence[Row]) -> bytes:
    """`chart` as a PNG.

    raises: ModelNotFoundError without matplotlib
    """
    import io

    buffer = io.BytesIO()
    chart(rows).savefig(buffer, format="png")
    return buffer.getvalue()


def chart(rows: Sequence[Row]) -> Any:
    """Plot size against the time for a photo and its first click, coloured by mask IoU: a matplotlib ``Figure``.

    Dots are numbered and their names listed beside the plot, because dots of one bundle lie close together. Hollow dots
    were not timed on their own runtime. An axis is logarithmic if its values differ by more than a factor of ten.
    raises: ModelNotFoundError without matplotlib
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import LogLocator, ScalarFormatter
    except ImportError as e:
        raise ModelNotFoundError("the chart needs matplotlib: install it with `pip install matplotlib`") from e
    figure = Figure(figsize=(11, max(5, 1.5 + 0.3 * len(rows))), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes, beside = figure.subplots(1, 2, width_ratios=(5, 4))
    x, y = np.array([r.photo_and_click_ms for r in rows]), np.array([r.size_mb for r in rows])
    ious = np.array([r.iou_mean for r in rows])
    colours = {"cmap": "viridis", "vmin": min(0.98, *ious), "vmax": 1}
    dots = axes.scatter(x, y, c=ious, s=90, zorder=2, **colours)
    for row, *at in zip(rows, x, y, strict=True):
        if not row.is_timed_on_its_runtime:
            axes.scatter(*at, c="white", s=30, zorder=3)
    for values, axis, set_scale, set_limits in (
        (x, axes.xaxis, axes.set_xscale, axes.set_xlim),
        (y, axes.yaxis, axes.set_yscale, axes.set_ylim),
    ):
        if values.max() > 10 * values.min():
            set_scale("log")
            set_limits(values.min() / 1.6, values.max() * 1.6)
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(ScalarFormatter())
        else:
            set_limits(0, values.max() * 1.15)
    axes.set_xlabel("photo and first click, ms (median)")
    axes.set_ylabel("files, MB")
    axes.grid(alpha=0.3)
    figure.colorbar(dots, ax=axes, label="mean mask IoU to PyTorch fp32")
    beside.axis("off")
    for i, row in enumerate(rows):
        note = "" if row.is_timed_on_its_runtime else ", evaluator's time"
        line = f"{i + 1}  {row.name}{note}: {row.photo_and_click_ms:.0f} ms, {row.size_mb:.1f} MB, {row.iou_mean:.4f}"
        beside.text(0, 1 - (i + 0.5) / len(rows), line, fontsize=8, va="center", transform=beside.transAxes)
    figure.draw_without_rendering()  # fixes the layout, on which label positions depend
    taken: list[Any] = []
    for i, at in enumerate(zip(x, y, strict=True)):
        taken.append(_number(axes, str(i + 1), at, taken))
    return figure


def _number(axes: Any, text: str, at: tuple[float, float], taken: Sequence[Any]) -> Any:
    """Write a number beside its dot, clear of the boxes in ``taken``; returns its own box."""
    from matplotlib.text import Text

    for step in range(64):
        angle, radius = np.pi / 4 + step * np.pi / 4, 11 + 9 * (step // 8)
        offset = radius * np.cos(angle), radius * np.sin(angle)
        label = axes.annotate(
            text,
            at,
            offset,
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "shrinkA": 0, "shrinkB": 0} if radius > 11 else None,
        )
        label.update_positions(axes.figure.canvas.get_renderer())
        box = Text.get_window_extent(label)  # without the line to its dot
        if not any(box.overlaps(other) for other in taken):
            return box
        label.remove()
    return box


def _main(text: str) -> None:
    job = json.loads(text)
    row = measure(Contender(**job["contender"]), job["runs"])
    print(json.dumps(asdict(row)))


if __name__ == "__main__":
    try:
        _main(sys.argv[1])
    except SamHubError as e:
        sys.exit(" ".join(str(e).split()))
