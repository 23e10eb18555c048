"""Reports a simulation as Markdown and plots."""

from collections.abc import Sequence
from pathlib import Path

from ..ops.files import write_atomically
from .simulate import RoundCosts, Simulation

PLOT = "rounds.png"


def write_report(out: Path, settings: Simulation, costs: Sequence[RoundCosts]) -> Path:
    """Write report.md and rounds.png to ``out``; returns the path of the former."""
    plot(costs, out / PLOT)
    path = out / "report.md"
    write_atomically(path, report(settings, costs).encode())
    return path


def report(settings: Simulation, costs: Sequence[RoundCosts]) -> str:
    """The table, and the change from the first to the last round."""
    rows = [
        "| round | objects | clicks per mask | first model | pre-filled, accepted untouched | good after 1 click | "
        "by hand | held-out 1-click mIoU | box mIoU |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in costs:
        rows.append(
            f"| {one.round} | {one.objects} | {one.clicks / one.objects:.2f} | "
            f"{one.baseline_clicks / one.objects:.2f} | {one.untouched} of {one.proposed} | "
            f"{one.first} of {one.drawn} | {one.by_hand} | {one.scores['click_1']:.3f} | {one.scores['box']:.3f} |"
        )
    first, last = costs[0], costs[-1]
    fall = 1 - (last.clicks / last.objects) / (first.clicks / first.objects)
    beside = 1 - last.clicks / last.baseline_clicks
    total, alone = sum(c.clicks for c in costs), sum(c.baseline_clicks for c in costs)
    lines = [
        f"# {Path(settings.truth).stem}, {settings.rounds} rounds from `{settings.model}`",
        "",
        f"{settings.photos} photos per round, up to {settings.objects} objects of each; scores on "
        f"{first.scores['images']} images ({first.scores['objects']} objects) that nobody annotates.",
        "",
        *rows,
        "",
        f"- Clicks per mask from the first to the last round: {-fall:+.0%}; on the last round's objects, beside the "
        f"first model: {-beside:+.0%}.",
        f"- All rounds: {total} clicks; with the first model throughout, for the same {sum(c.objects for c in costs)} "
        f"objects, {alone} ({total / alone - 1:+.0%}).",
        f"- Held-out 1-click mIoU: {first.scores['click_1']:.3f} -> {last.scores['click_1']:.3f}.",
        *(f"- Round {c.round}: proposals with {c.confidence}." for c in costs if c.confidence),
        "",
        f"![Clicks per mask, untouched masks and held-out mIoU, round by round]({PLOT})",
        "",
    ]
    return "\n".join(lines)


def plot(costs: Sequence[RoundCosts], path: Path) -> None:
    """Three plots side by side, as PNG."""
    import io

    from matplotlib.figure import Figure

    rounds = [c.round for c in costs]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    clicks, untouched, scores = figure.subplots(1, 3)
    clicks.plot(rounds, [c.clicks / c.objects for c in costs], "o-", label="retrained each round")
    clicks.plot(rounds, [c.baseline_clicks / c.objects for c in costs], "s--", label="first model throughout")
    clicks.set_title("clicks per mask")
    clicks.legend()
    shares = [(c.untouched + c.first) / max(1, c.untouched + c.drawn) for c in costs]
    untouched.plot(rounds, [100 * share for share in shares], "o-", label="as proposed, or after 1 click")
    untouched.plot(
        rounds, [100 * c.baseline_first / c.objects for c in costs], "s--", label="first model, after 1 click"
    )
    untouched.set_title("masks accepted untouched, %")
    untouched.legend()
    scores.plot(rounds, [c.scores["click_1"] for c in costs], "o-", label="1 click")
    scores.plot(rounds, [c.scores["box"] for c in costs], "^-", label="box")
    scores.set_title("mIoU on held-out images")
    scores.legend()
    for axes in (clicks, untouched, scores):
        axes.set_xlabel("round")
        axes.set_xticks(rounds)
        axes.grid(alpha=0.3)
    for axes in (clicks, untouched):
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    write_atomically(path, buffer.getvalue())
