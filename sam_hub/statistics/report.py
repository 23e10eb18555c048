"""Statistics of several data sets as JSON, as plots side by side, and as one page with the plots inside."""

import base64
import html
import io
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..ops.wording import counted
from .agreement import FAIR, GOOD
from .collect import MAP_SIDE, MOST_MASKS, SAMPLE_BINS, SIDE_BIN, SIZE_BINS, Collection

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MASK_BINS = ((0, 0), (1, 10), (11, 50), (51, 100), (101, 200), (201, MOST_MASKS))
"""Images by number of masks, as in the paper's figure 6."""
CONCAVITY_BINS = 25


def build_report(collections: Mapping[str, Collection], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything as JSON: for each data set its counts, and the distributions that the plots show."""
    return {
        "sam_hub": __version__,
        "settings": dict(settings),
        "bins": {
            "masks_per_image": [list(pair) for pair in MASK_BINS],
            "relative_size": SIZE_BINS,
            "concavity": CONCAVITY_BINS,
            "centers": MAP_SIDE,
            "sides": SIDE_BIN,
        },
        "data": [{"name": name, **_summary(c)} for name, c in collections.items()],
    }


def _summary(c: Collection) -> dict[str, Any]:
    of = np.arange(MOST_MASKS + 1)
    sample = [value for part in c.sample for _, value in part]
    return {
        "images": c.images,
        "masks": c.masks,
        "empty_masks": c.empty,
        "damaged": c.damaged,
        "problems": c.problems,
        "masks_per_image_mean": (c.masks + c.empty) / c.images if c.images else None,
        "masks_per_image": [int(c.masks_per_image[(of >= low) & (of <= high)].sum()) for low, high in MASK_BINS],
        "relative_size": c.relative_size.tolist(),
        "concavity": concavity(c),
        "concavity_masks": len(sample),
        "centers": c.centers.reshape(MAP_SIDE, MAP_SIDE).tolist(),
        "sides": dict(sorted(c.sides.items(), key=lambda item: [int(side) for side in item[0].split("x")])),
    }


def concavity(c: Collection) -> list[float] | None:
    """Shares of masks by concavity, 1 - area / area of the convex hull; each bin of relative size weighs the same."""
    parts = [np.histogram([v for _, v in part], CONCAVITY_BINS, (0, 1))[0] / len(part) for part in c.sample if part]
    return np.mean(parts, axis=0).tolist() if parts else None


def plots(report: Mapping[str, Any]) -> dict[str, bytes]:
    """File name -> PNG, of each distribution with all data sets side by side."""
    drawn: dict[str, Callable[[Figure, Mapping[str, Any]], None]] = {
        "masks_per_image.png": _draw_masks_per_image,
        "mask_size.png": _draw_sizes,
        "concavity.png": _draw_concavity,
        "mask_centers.png": _draw_centers,
        "image_sizes.png": _draw_sides,
    }
    if "agreement" in report:
        drawn["agreement.png"] = _draw_agreement
    return {name: _png(draw, report) for name, draw in drawn.items()}


def _png(draw: Callable[..., None], report: Mapping[str, Any]) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    draw(figure, report)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _shares(counts: Sequence[float]) -> np.ndarray:
    values = np.array(counts, float)
    return values / values.sum() if values.sum() else values


def _draw_masks_per_image(figure: "Figure", report: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    names = [str(low) if low == high else f"{low}-{high}" for low, high in MASK_BINS[:-1]] + [f">{MASK_BINS[-2][1]}"]
    width = 0.8 / len(report["data"])
    for k, one in enumerate(report["data"]):
        label = f"{one['name']} ({one['images']:,} images)"
        axes.bar(np.arange(len(names)) + k * width, 100 * _shares(one["masks_per_image"]), width, label=label)
    where = np.arange(len(names)) + 0.4 - width / 2
    axes.set(xticks=where, xticklabels=names, xlabel="masks per image", ylabel="% of images")
    axes.legend(fontsize=7)


def _draw_sizes(figure: "Figure", report: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    middles = (np.arange(SIZE_BINS) + 0.5) / SIZE_BINS
    for one in report["data"]:
        axes.plot(middles, 100 * _shares(one["relative_size"]), label=f"{one['name']} ({one['masks']:,} masks)")
    axes.set(xlabel="relative mask size, sqrt(mask area / image area)", ylabel="% of masks", xlim=(0, 1))
    if any(one["masks"] for one in report["data"]):
        axes.set_yscale("log")
    axes.legend(fontsize=7)


def _draw_concavity(figure: "Figure", report: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    middles = (np.arange(CONCAVITY_BINS) + 0.5) / CONCAVITY_BINS
    for one in report["data"]:
        if one["concavity"]:
            axes.plot(
                middles, 100 * np.array(one["concavity"]), label=f"{one['name']} ({one['concavity_masks']:,} masks)"
            )
    title = f"concavity, {SAMPLE_BINS} bins of mask size with equal weight"
    axes.set(xlabel=title, ylabel="% of masks", xlim=(0, 1))
    if any(one["concavity"] for one in report["data"]):
        axes.legend(fontsize=7)


def _draw_centers(figure: "Figure", report: Mapping[str, Any]) -> None:
    grid = figure.subplots(1, len(report["data"]), squeeze=False)[0]
    for axes, one in zip(grid, report["data"], strict=True):
        axes.imshow(np.array(one["centers"]), cmap="magma", extent=(0, 1, 1, 0))
        axes.set_title(one["name"], fontsize=8)
        axes.set(xticks=[0, 1], yticks=[0, 1])


def _draw_sides(figure: "Figure", report: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    for one in report["data"]:
        sides = np.array([[int(s) for s in key.split("x")] for key in one["sides"]]).reshape(-1, 2) + SIDE_BIN / 2
        area = 300 * _shares(list(one["sides"].values())) + 4
        axes.scatter(*sides.T, s=area, alpha=0.5, label=one["name"])
    axes.set(xlabel="width, pixels", ylabel="height, pixels", xlim=(0, None), ylim=(0, None))
    axes.legend(fontsize=7)


def _draw_agreement(figure: "Figure", report: Mapping[str, Any]) -> None:
    axes = figure.subplots()
    counts = _shares(report["agreement"]["histogram"])
    axes.bar((np.arange(len(counts)) + 0.5) / len(counts), 100 * counts, 0.9 / len(counts))
    axes.set(xlabel="IoU of a mask and its correction", ylabel="% of pairs", xlim=(0, 1))


WORDS = {
    "masks_per_image.png": "Masks per image",
    "mask_size.png": "Relative mask size",
    "concavity.png": "Concavity",
    "mask_centers.png": "Where mask centres lie, in a frame of the image's size",
    "image_sizes.png": "Image sizes",
    "agreement.png": "Agreement with the corrected annotations",
}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Data set statistics</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse}}td,th{{padding:.2rem .8rem;border-bottom:1px solid #ccc;text-align:right}}
td:first-child,th:first-child{{text-align:left}}img{{max-width:100%}}</style></head><body>
<h1>Data set statistics</h1>
<table><tr><th>data set</th><th>images</th><th>masks</th><th>masks per image</th><th>empty</th><th>damaged</th></tr>
{rows}</table>
{agreement}{figures}
<p>sam-hub {version}. Definitions: "Segment Anything", section 5.</p>
</body></html>
"""


def page(report: Mapping[str, Any], pictures: Mapping[str, bytes]) -> str:
    """One HTML page that loads nothing from elsewhere."""
    rows = "".join(
        f"<tr><td>{html.escape(one['name'])}</td><td>{one['images']:,}</td><td>{one['masks']:,}</td>"
        f"<td>{one['masks_per_image_mean'] or 0:.1f}</td><td>{one['empty_masks']}</td><td>{one['damaged']}</td></tr>\n"
        for one in report["data"]
    )
    figures = "".join(
        f'<h2>{WORDS[name]}</h2>\n<img alt="{WORDS[name]}" src="data:image/png;base64,{_text(data)}">\n'
        for name, data in pictures.items()
    )
    said = f"<p>{html.escape(agreement_text(report['agreement']))}</p>\n" if "agreement" in report else ""
    return PAGE.format(rows=rows, agreement=said, figures=figures, version=report["sam_hub"])


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def agreement_text(found: Mapping[str, Any]) -> str:
    """The measure of quality in one sentence."""
    if not found["pairs"]:
        return "No pair of masks."
    return (
        f"Of {counted(found['pairs'], 'pair')} of masks in {counted(found['images'], 'image')}, "
        f"{found['iou_above_90']:.1%} have an IoU above {GOOD:.2f} and {found['iou_above_75']:.1%} above "
        f"{FAIR:.2f} (SA-1B, in the paper: 94 % and 97 %); "
        f"{counted(found['without_partner'], 'mask')} without a partner, {found['added']:,} added."
    )
