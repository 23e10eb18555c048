"""The edge evaluation: results against the BSDS500 benchmark's own, and speed against pyEdgeEval.

    python benchmarks/edges.py golden [--images N] [--keep FILE]    ODS, OIS, AP and F of maps with published answers
    python benchmarks/edges.py quick                                at 15 thresholds: no AP, a tenth of the time
    python benchmarks/edges.py speed [--images N] [--every K]       seconds per threshold and image, counts of both

Needs ../shared/bsds; `speed` also ``pip install pyEdgeEval`` (not a dependency: it evaluates the same photos in hours).
"""

import argparse
import json
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from sam_hub.zero_shot.bsds import read_boundaries
from sam_hub.zero_shot.edge_scores import THRESHOLDS, EdgeCounts, best_f, count_edges, f_measure, score_edges

BSDS = Path(__file__).parents[2] / "shared" / "bsds"


def read(name: str) -> tuple[np.ndarray, list[np.ndarray]]:
    """A published edge map of another method, and the annotators' boundaries."""
    strength = np.load(BSDS / "ucm" / f"{name}.npz")["ucm"].astype(float)
    return strength, read_boundaries(BSDS / "groundTruth" / f"{name}.mat", strength.shape)


def names() -> list[str]:
    return sorted(path.stem for path in (BSDS / "groundTruth").glob("*.mat"))


def counts_of(name: str, kept: dict[str, EdgeCounts], keep: Path | None) -> EdgeCounts:
    """Counts of an image at 99 thresholds: from an earlier run, or computed and added to the file."""
    if name not in kept:
        kept[name] = count_edges(*read(name))
        if keep is not None:
            with keep.open("a") as file:
                file.write(json.dumps({"image": name, **{k: v.tolist() for k, v in vars(kept[name]).items()}}) + "\n")
    return kept[name]


def golden(limit: int | None, keep: Path | None) -> None:
    """Every image at 99 thresholds, compared with the benchmark's published results.

    keep: file of counts, read and extended, so that an interrupted run resumes
    """
    lines = keep.read_text().splitlines() if keep is not None and keep.exists() else []
    kept = {row.pop("image"): EdgeCounts(**{k: np.array(v) for k, v in row.items()}) for row in map(json.loads, lines)}
    start, images, worst = perf_counter(), [], 0.0
    for row, name in zip(np.loadtxt(BSDS / "eval_bdry_img.txt"), names()[:limit], strict=False):
        images.append(counts_of(name, kept, keep))
        difference = best_f(images[-1])[3] - row[4]
        worst = max(worst, abs(difference))
        print(f"{name}: best F off by {difference:+.5f}", flush=True)
    scores = score_edges(images)
    print(f"{len(images)} images in {perf_counter() - start:.0f} s; best F of an image off by {worst:.5f} at most")
    if limit is None:
        theirs, curve = np.loadtxt(BSDS / "eval_bdry.txt"), np.loadtxt(BSDS / "eval_bdry_thr.txt")
        pairs = (("ODS", scores.ods, theirs[3]), ("OIS", scores.ois, theirs[6]), ("AP", scores.ap, theirs[7]))
        for name, ours, wanted in pairs:
            print(f"{name} {ours:.5f}, the benchmark's {wanted:.5f}: {ours - wanted:+.5f}")
        off = f_measure(np.array(scores.recall), np.array(scores.precision)) - curve[:, 3]
        print(f"F over all images at every tenth threshold off by {np.abs(off[9::10]).max():.5f} at most")
        print("F over all images off by", np.round(off, 5).tolist())


def quick() -> None:
    """Every image at every tenth threshold, near the best overall one, and at its own best one."""
    curve, per_image = np.loadtxt(BSDS / "eval_bdry_thr.txt"), np.loadtxt(BSDS / "eval_bdry_img.txt")
    common = sorted({*range(9, 99, 10), 11, 12, 13, 14})
    total, own, off = None, np.zeros(4, int), []
    for row, name in zip(per_image, names(), strict=True):
        low = int(np.floor(row[1] * 100 + 1e-6)) - 1
        wanted = [*common, low, min(low + 1, 98)]
        counts = count_edges(*read(name), THRESHOLDS[sorted(set(wanted))])
        at = {index: k for k, index in enumerate(sorted(set(wanted)))}
        pick = [at[i] for i in common]
        part = EdgeCounts(counts.found[pick], counts.annotated[pick], counts.right[pick], counts.marked[pick])
        total = part if total is None else total + part
        pair = [at[low], at[min(low + 1, 98)]]
        here = EdgeCounts(counts.found[pair], counts.annotated[pair], counts.right[pair], counts.marked[pair])
        off.append(best_f(here, THRESHOLDS[[low, min(low + 1, 98)]])[3] - row[4])
        k = int(f_measure(here.recall, here.precision).argmax())
        own += [here.found[k], here.annotated[k], here.right[k], here.marked[k]]
        print(f"{len(off)} {name}: best F off by {off[-1]:+.5f}", flush=True)
    f = f_measure(total.recall, total.precision)
    for i, index in enumerate(common):
        print(
            f"threshold {THRESHOLDS[index]:.2f}: recall {total.recall[i] - curve[index, 1]:+.5f}, "
            f"precision {total.precision[i] - curve[index, 2]:+.5f}, F {f[i] - curve[index, 3]:+.5f}"
        )
    around = [common.index(i) for i in (11, 12, 13, 14)]
    part = EdgeCounts(total.found[around], total.annotated[around], total.right[around], total.marked[around])
    theirs = np.loadtxt(BSDS / "eval_bdry.txt")
    print(f"ODS off by {best_f(part, THRESHOLDS[11:15])[3] - theirs[3]:+.5f}")
    ois = f_measure(np.float64(own[0] / own[1]), np.float64(own[2] / own[3]))
    print(f"OIS off by {ois - theirs[6]:+.5f}; best F of an image off by {np.abs(off).max():.5f} at most")


def counts_of_peer(strength: np.ndarray, annotators: list[np.ndarray], thresholds: np.ndarray) -> EdgeCounts:
    """`count_edges` by pyEdgeEval."""
    from pyEdgeEval.common.binary_label.evaluate_boundaries import evaluate_boundaries_threshold_multiple_gts

    found, annotated, right, marked = evaluate_boundaries_threshold_multiple_gts(
        thresholds=thresholds, pred=strength, gts=annotators, max_dist=0.0075, apply_thinning=True
    )
    return EdgeCounts(*(np.array(a).astype(int) for a in (found, annotated, right, marked)))


def speed(limit: int, every: int) -> None:
    """Both on the same images and thresholds in turn, and the ratio of their CPU seconds.

    every: 1 for the benchmark's 99 thresholds, of which we skip those that mark the same pixels as the one before; at
    every twentieth, almost all differ
    """
    thresholds = THRESHOLDS[every // 2 :: every]
    small = np.eye(20)
    count_edges(small, [small > 0], thresholds), counts_of_peer(small, [small > 0], thresholds)  # imports
    ours = theirs = 0.0
    for name in names()[:limit]:
        strength, annotators = read(name)
        start = process_time()
        mine = count_edges(strength, annotators, thresholds)
        middle = process_time()
        peer = counts_of_peer(strength, annotators, thresholds)
        ours, theirs = ours + middle - start, theirs + process_time() - middle
        print(
            json.dumps(
                {
                    "image": name,
                    "found": [mine.found.tolist(), peer.found.tolist()],
                    "right": [mine.right.tolist(), peer.right.tolist()],
                    "marked": [mine.marked.tolist(), peer.marked.tolist()],
                }
            ),
            flush=True,
        )
    pairs = limit * len(thresholds)
    print(
        f"a threshold and image: {ours / pairs:.4f} CPU s, pyEdgeEval {theirs / pairs:.4f}: {theirs / ours:.1f} times"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("golden", "quick", "speed"))
    parser.add_argument("--images", type=int, default=None)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=None)
    given = parser.parse_args()
    if given.what == "quick":
        quick()
    else:
        golden(given.images, given.keep) if given.what == "golden" else speed(given.images or 3, given.every)
