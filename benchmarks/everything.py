"""Everything mode compared with the original's and transformers' pipeline, same weights, same photos.

    python benchmarks/everything.py                       # all below but parity, with `pocket` and 32 x 32 clicks: slow
    python benchmarks/everything.py --points 16 race      # seconds, masks, and how many match the original's
    python benchmarks/everything.py memory                # peak memory on a photo of 12 megapixels
    python benchmarks/everything.py ideas                 # what each optimisation saves, switched off in turn
    python benchmarks/everything.py click                 # one click, against transformers.SamModel's decoder
    python benchmarks/everything.py --model random:sam2.1-hiera-tiny --points 16 race memory click
                                                          # SAM 2.1's shape, against transformers.Sam2Model
    python benchmarks/everything.py bound                 # multiply-adds, and the time they take at least
    python benchmarks/everything.py profile --points 12   # where the time of a click goes
    python benchmarks/everything.py parity --points 6 --photos data/*.tar [--model sam-vit-b]
                                                          # every output mode, with and without crops, against the
                                                          # original's; fails if fewer than 99.5 % match

Each contender runs in its own process; races are timed in CPU seconds, which depend less on other load than wall-clock
time (both are printed). The original and transformers import torchvision for a few small functions; there is no
torchvision for the tested torch, so short replacements are used (`benchmarks/original.py`). All use the thresholds of
`sam-hub everything` for the model. Prints a JSON row per measurement.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from sam_hub import SamAutomaticMaskGenerator, SamModel, SamPredictor
from sam_hub.annotation.settings import THRESHOLDS
from sam_hub.inference import amg, decoding, fast_decoder, upsample
from sam_hub.models.mask_resizing import resize_masks
from sam_hub.ops.masks import mask_to_uncompressed_rle

if __package__:
    from .everything_parity import random_model, without_finer_features
else:
    from everything_parity import random_model, without_finer_features

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PARTS = ("race", "memory", "ideas", "click", "bound", "profile")
CONTENDERS = ("sam_hub", "original", "transformers")
MATCH = 0.99
Rle = dict[str, Any]


RANDOM = {"pred_iou_thresh": 0.55, "stability_score_thresh": 0.05, "stability_score_offset": 0.5}
"""Thresholds for a random encoder, whose masks have lower scores."""


def load_model(name: str) -> SamModel:
    """`pocket` without its finer maps, which the others do not support; or "random:NAME", see `random_model`."""
    if name.startswith("random:"):
        return random_model(name.removeprefix("random:"))
    return without_finer_features(SamModel.from_pretrained(name)).eval().requires_grad_(False)


def thresholds(name: str) -> dict[str, float]:
    """The model's own thresholds, or the original's."""
    if name.startswith("random:"):
        return RANDOM
    original = {"pred_iou_thresh": 0.88, "stability_score_thresh": 0.95, "stability_score_offset": 1.0}
    return {**original, **THRESHOLDS.get(name, {})}


def contender(who: str, model: SamModel, points: int, arguments: dict[str, float]) -> Callable[[np.ndarray], list[Rle]]:
    """A function from a photo to its masks as COCO run lengths."""
    if who == "transformers":
        from transformers_pipeline import pipeline

        run = pipeline(model)
        return lambda image: [
            _rle(m) for m in run(Image.fromarray(image), points_per_crop=points, **arguments)["masks"]
        ]
    if who == "original":
        import original

        kind, network = original.load().SamAutomaticMaskGenerator, original.original_sam(model)
    else:
        kind, network = SamAutomaticMaskGenerator, SamPredictor(model, cache_size=0)
    generator = kind(network, points_per_side=points, output_mode="coco_rle", **arguments)
    return lambda image: [record["segmentation"] for record in generator.generate(image)]


def _rle(mask: Any) -> Rle:
    rle = coco_mask.encode(np.asfortranarray(np.asarray(mask, np.uint8)))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


def memory(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))


def measure(args: argparse.Namespace) -> None:
    """Runs in a contender's process: prints a row per photo."""
    model = load_model(args.model)
    run = contender(args.contender, model, args.points, thresholds(args.model))
    run(np.zeros((64, 64, 3), np.uint8)) if args.warm else None
    for path in args.photos:
        image = read(path, args.megapixels)
        before = memory("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        wall, cpu = time.perf_counter(), time.process_time()
        masks = run(image)
        row = {
            "photo": path.name,
            "seconds": time.perf_counter() - wall,
            "processor_seconds": time.process_time() - cpu,
            "peak": memory("VmHWM"),
            "before": before,
            "masks": masks,
        }
        print(json.dumps(row), flush=True)


def read(path: Path, megapixels: float | None) -> np.ndarray:
    image = Image.open(path).convert("RGB")
    if megapixels:
        scale = (megapixels * 1e6 / (image.width * image.height)) ** 0.5
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return np.asarray(image)


def rows_of(who: str, args: argparse.Namespace, *more: str) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--contender", who, "--model", args.model, "--threads", str(args.threads)]
    done = subprocess.run(
        [*command, *more, "--photos", *map(str, args.photos)], stdout=subprocess.PIPE, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"photo"')]


def matched(ours: list[Rle], theirs: list[Rle]) -> tuple[float, bool]:
    """The share of their masks matched by one of ours, and whether the matches are in the same order."""
    if not theirs or not ours:
        return float(not theirs and not ours), not theirs and not ours
    iou = coco_mask.iou(ours, theirs, [0] * len(theirs))
    best = iou.argmax(axis=0)[iou.max(axis=0) >= MATCH]
    return len(best) / len(theirs), bool((np.diff(best) > 0).all())


def contenders(args: argparse.Namespace) -> list[str]:
    """The contenders that support the model: ``segment_anything`` has only SAM's own decoder."""
    return [who for who in args.contenders if who != "original" or "sam2" not in args.model]


def race(args: argparse.Namespace) -> None:
    found = {who: rows_of(who, args, "--points", str(args.points), "--warm") for who in contenders(args)}
    for who, rows in found.items():
        seconds = sum(row["processor_seconds"] for row in rows)
        answer = {
            "race": who,
            "points": args.points**2,
            "photos": len(rows),
            "processor_seconds": round(seconds, 2),
            "seconds": round(sum(row["seconds"] for row in rows), 2),
            "peak_mb": round(max(row["peak"] for row in rows) / 2**20),
            "masks": [len(row["masks"]) for row in rows],
        }
        if "sam_hub" in found:
            mine = found["sam_hub"]
            answer["times_sam_hub"] = round(seconds / sum(row["processor_seconds"] for row in mine), 2)
            pairs = [matched(a["masks"], b["masks"]) for a, b in zip(mine, rows, strict=True)]
            answer["matched"] = [round(share, 4) for share, _ in pairs]
            answer["same_order"] = [order for _, order in pairs]
        print(json.dumps(answer), flush=True)


def peak_memory(args: argparse.Namespace) -> None:
    """One batch of at most 64 clicks on 12 megapixels: the peak does not grow with further batches."""
    peaks = {}
    for who in contenders(args):
        (row,) = rows_of(
            who,
            argparse.Namespace(**{**vars(args), "photos": args.photos[:1]}),
            "--points",
            str(min(args.points, 8)),
            "--megapixels",
            "12",
        )
        peaks[who] = row["peak"]
        answer = {"memory": who, "megapixels": 12, "peak_mb": round(row["peak"] / 2**20)}
        answer |= {"before_mb": round(row["before"] / 2**20), "masks": len(row["masks"])}
        if "sam_hub" in peaks:
            answer["times_sam_hub"] = round(row["peak"] / peaks["sam_hub"], 2)
        print(json.dumps(answer), flush=True)


@contextmanager
def patched(place: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(place, name)
    setattr(place, name, value)
    try:
        yield
    finally:
        setattr(place, name, before)


def _draw_all(self: decoding.ImageDecoder, points: torch.Tensor, select: Callable, visible: Any = None) -> tuple:
    iou, which, masks = CHOOSE(self, points, lambda scores: np.ones(scores.shape, bool), visible)
    keep = select(iou)[which[:, 0], which[:, 1]]
    return iou, which[keep], masks[keep]


def _enlarge_all(self: amg.SamAutomaticMaskGenerator, upsampler: Any, points: Any, iou: Any, which: Any, low: Any):
    for candidate in CANDIDATES(self, upsampler, points, iou, which, low):
        mask, _ = upsampler(candidate.logits, candidate.window)
        if candidate.predicted_iou > self.pred_iou_thresh and (mask > 0).any():
            yield candidate


def _whole_window(self: upsample.Upsampler, logits: np.ndarray, level: float) -> Any:
    found = WINDOW(self, logits, level)
    return found and (slice(0, self.visible[0]), slice(0, self.visible[1]))


def _two_resizes(self: upsample.Upsampler, logits: np.ndarray, window: Any) -> tuple[np.ndarray, tuple[int, int]]:
    whole = np.full((1, *self.low_size), -9.0, np.float32)
    around = self.margin(window)
    whole[0][around] = logits
    frame = self.frame
    resized = resize_masks(torch.from_numpy(whole), frame.padded_size, frame.input_size, frame.original_size, None)
    return resized[0].numpy(), (0, 0)


def _early_rle(self: amg.SamAutomaticMaskGenerator, candidates: list, upsampler: Any, crop_box: Any, size: Any):
    height, width = upsampler.frame.original_size
    for candidate in candidates:
        logits, (x, y) = upsampler(candidate.logits, candidate.window)
        whole = np.zeros((height, width), bool)
        whole[y : y + logits.shape[0], x : x + logits.shape[1]] = logits > 0
        mask_to_uncompressed_rle(whole)
    return BEST(self, candidates, upsampler, crop_box, size)


CHOOSE = decoding.ImageDecoder.choose
CANDIDATES = amg.SamAutomaticMaskGenerator._candidates
BEST = amg.SamAutomaticMaskGenerator._best
WINDOW = upsample.Upsampler.window
GENERATOR, UPSAMPLER = amg.SamAutomaticMaskGenerator, upsample.Upsampler

IDEAS: dict[str, tuple[Any, str, Any]] = {
    "image factored: projected once, not for each prompt": (decoding, "supports", lambda decoder: False),
    "IoU head first, only masks that pass are drawn": (decoding.ImageDecoder, "choose", _draw_all),
    "only the part of a mask that lies on the image is drawn": (
        upsample.MaskFrame,
        "visible",
        lambda self, g: tuple(g),
    ),
    "IoU filter before enlarging": (GENERATOR, "_candidates", _enlarge_all),
    "enlarged only where the mask can be": (UPSAMPLER, "window", _whole_window),
    "both resizes in one": (UPSAMPLER, "__call__", _two_resizes),
    "run lengths after suppression, of the window": (GENERATOR, "_best", _early_rle),
    "low-res stability before enlarging": (GENERATOR, "_maybe_stable", lambda self, *a: True),
    "boxes bounded by the low-res mask before enlarging": (GENERATOR, "_surely_suppressed", lambda self, *a: False),
}
"""Replacements that switch an optimisation off."""


def ideas(args: argparse.Namespace) -> None:
    """Switch each optimisation off in turn: how much longer photos take, and whether the masks stay the same."""
    model = load_model(args.model)
    images = [read(path, args.megapixels) for path in args.photos]
    run = contender("sam_hub", model, args.points, thresholds(args.model))
    with_all_masks = lambda: [run(image) for image in images]  # noqa: E731

    def seconds(off: str | None) -> tuple[float, list]:
        start = time.process_time()
        if off is None:
            return time.process_time() - start + _timed(with_all_masks, result := []), result
        place = IDEAS[off]
        if off.startswith("IoU filter"):  # nor is it applied before drawing
            with patched(GENERATOR, "_promising", lambda self, iou: np.ones(iou.shape, bool)), patched(*place):
                return _timed(with_all_masks, result := []), result
        with patched(*place):
            return _timed(with_all_masks, result := []), result

    seconds(None)
    best, masks = seconds(None)
    print(json.dumps({"ideas": "all", "points": args.points**2, "processor_seconds": round(best, 2)}), flush=True)
    for idea in IDEAS:
        without, other = seconds(idea)
        best, _ = seconds(None)  # baseline at about the same time
        same = all(matched(a, b) == (1.0, True) and len(a) == len(b) for a, b in zip(masks[0], other[0], strict=True))
        row = {"without": idea, "times": round(without / best, 2), "processor_seconds": round(without, 2), "same": same}
        print(json.dumps(row), flush=True)
    predictor = SamPredictor(model)
    generator = SamAutomaticMaskGenerator(predictor, points_per_side=args.points, **thresholds(args.model))
    cold = sum(_timed(lambda image=image: generator.generate(image), []) for image in images)
    warm = sum(_timed(lambda image=image: generator.generate(image), []) for image in images)
    row = {"without": "embedding of an image that is set again", "times": round(cold / warm, 2)}
    print(json.dumps({**row, "processor_seconds": round(cold, 2), "same": True}), flush=True)


def _timed(run: Callable[[], Any], result: list) -> float:
    start = time.process_time()
    result.append(run())
    return time.process_time() - start


def click(args: argparse.Namespace) -> None:
    """Decoding one click, the first on an image or a later one, against transformers; best of several turns."""
    from sam_hub import SamConfig
    from sam_hub.zoo import ZOO

    print(json.dumps(_click(args.model, load_model(args.model), args.turns)), flush=True)
    if args.model != "pocket":
        return
    torch.manual_seed(0)  # random weights are as fast as trained ones
    print(json.dumps(_click("sam-vit-b", SamModel(SamConfig(**ZOO["sam-vit-b"].config)).eval(), args.turns)))


@torch.inference_mode()
def _click(name: str, model: SamModel, turns: int) -> dict[str, Any]:
    from transformers_pipeline import transformers_sam

    theirs = transformers_sam(model)
    side = model.config.prompt_encoder_config.image_embedding_size
    shapes = model.mask_decoder.feature_shapes((side, side))
    embedding = torch.randn(1, model.config.mask_decoder_config.hidden_size, side, side)
    encoded = decoding.EncoderOutput(embedding, {key: torch.randn(1, *shape) for key, shape in shapes.items()})
    maps = [encoded.features["stride_4"], encoded.features["stride_8"], embedding] if shapes else embedding
    point, label = torch.rand(1, 1, 2) * 16 * side, torch.ones(1, 1, dtype=torch.long)
    later = decoding.ImageDecoder(model, encoded)

    def ours(decoder: decoding.ImageDecoder) -> torch.Tensor:
        return decoder(point, label, None, None, True)[0]

    def original() -> torch.Tensor:
        output = theirs(image_embeddings=maps, input_points=point[None], input_labels=label[None])
        return output.pred_masks[0]

    runs = {
        "first": lambda: ours(decoding.ImageDecoder(model, encoded)),
        "later": lambda: ours(later),
        "transformers": original,
    }
    ours(later)  # the first
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(turns):
        best = {key: min(best[key], _timed(run, [])) for key, run in runs.items()}
    row = {"click": name, **{f"{key}_ms": round(1e3 * s, 1) for key, s in best.items()}}
    row["times"] = round(best["transformers"] / best["later"], 2)
    expected = original()
    row["relative_difference"] = float((ours(later) - expected).abs().max() / expected.abs().max())
    return row


def bound(args: argparse.Namespace) -> None:
    """The time that all multiply-adds would take at the rate of a large product, and the time measured."""
    from torch.utils.flop_counter import FlopCounterMode, bmm_flop

    model = load_model(args.model)
    run = contender("sam_hub", model, args.points, thresholds(args.model))
    image = read(args.photos[0], args.megapixels)
    torch.set_num_threads(1)  # the counter sees only this thread
    in_place = {torch.ops.aten.baddbmm_: lambda total, a, b, *_, **__: bmm_flop(a, b)}  # it knows the others
    counter = FlopCounterMode(display=False, custom_mapping=in_place)
    with patched(decoding, "is_plain_model", lambda model: True), counter:  # its hooks would close the fast way
        run(image)
    square = torch.randn(1024, 1024)
    square @ square
    rate = 1024**3 / min(_timed(lambda: square @ square, []) for _ in range(20))
    macs = counter.get_total_flops() / 2
    taken = min(_timed(lambda: run(image), []) for _ in range(2))
    rate = max(rate, 1024**3 / min(_timed(lambda: square @ square, []) for _ in range(20)))
    row = {"bound": args.model, "points": args.points**2, "gmac": round(macs / 1e9, 1)}
    row |= {"gmac_per_second": round(rate / 1e9, 1), "least_seconds": round(macs / rate, 2)}
    print(json.dumps({**row, "processor_seconds": round(taken, 2), "times_bound": round(taken * rate / macs, 2)}))


def profile(args: argparse.Namespace) -> None:
    """Milliseconds of a click by stage, and of computing a mask: two products and two GELUs."""
    model = load_model(args.model)
    run = contender("sam_hub", model, args.points, thresholds(args.model))
    image = read(args.photos[0], args.megapixels)
    torch.set_num_threads(1)
    decoder = fast_decoder.FastDecoder
    stages = {"tokens and image": (decoder, "attend"), "drawing": (decoder, "draw")}
    stages |= {"filters and suppression": (GENERATOR, "_best"), "enlarging": (UPSAMPLER, "__call__")}
    taken: dict[str, float] = dict.fromkeys(["all", *stages], 0.0)

    def clocked(name: str, function: Callable) -> Callable:
        def run(*given: Any) -> Any:
            start = time.process_time()
            try:
                return function(*given)
            finally:
                taken[name] += time.process_time() - start

        return run

    run(image)  # warms up
    with ExitStack() as stack:
        for name, (place, method) in stages.items():
            stack.enter_context(patched(place, method, clocked(name, getattr(place, method))))
        clocked("all", run)(image)
    side = model.config.prompt_encoder_config.image_embedding_size
    width, pixels = model.config.mask_decoder_config.hidden_size, side * side
    rows, weights, quarter = torch.randn(width, 113), torch.randn(113, pixels), torch.randn(width // 2, width // 4)
    x = torch.randn(width // 4, 4 * pixels)
    pieces = {"first product": lambda: rows @ weights, "second product": lambda: quarter @ x}
    pieces |= {"first GELU": lambda: torch.nn.functional.gelu(x), "second GELU": lambda: torch.nn.functional.gelu(y)}
    y = quarter @ x
    row = {name: round(1e3 * seconds / args.points**2, 2) for name, seconds in taken.items()}
    row |= {name: round(1e3 * min(_timed(piece, []) for _ in range(50)), 2) for name, piece in pieces.items()}
    print(json.dumps({"profile": args.model, "points": args.points**2, "ms_a_click": row}), flush=True)


def parity(args: argparse.Namespace) -> None:
    """Compare with the original generator: a row per number of crop layers and output mode."""
    from everything_parity import RANDOM_THRESHOLDS, compare, pictures

    if args.model == "pocket":
        model, arguments = load_model(args.model), thresholds(args.model)
    else:
        model, arguments = random_model(args.model, args.input_size), RANDOM_THRESHOLDS
    photos = [photo for path in args.photos for photo in pictures(path, args.limit)]
    missed = False
    for row in compare(model, photos, args.points, arguments):
        print(json.dumps({"parity": args.model, "input": model.config.vision_config.image_size, **row}), flush=True)
        missed |= not row["holds"]
    if missed:
        sys.exit("the masks are not the original's")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (all by default), parity")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--points", type=int, default=32, help="clicks on each side of the grid")
    parser.add_argument("--photos", type=Path, nargs="+", default=sorted(EXAMPLES.glob("*.jpg")))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--megapixels", type=float, help="enlarge the photos to this")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--input-size", type=int, help="parity: side of the random model's input, its own by default")
    parser.add_argument("--limit", type=int, default=2, help="parity: photos of each tar")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--warm", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS) - {"parity"}:
        parser.error(f"there is no part {unknown.pop()}; choose of {', '.join(PARTS)}, parity")
    torch.set_num_threads(args.threads)
    if args.contender:
        with torch.inference_mode():
            measure(args)
        return
    runs = {
        "race": race,
        "memory": peak_memory,
        "ideas": ideas,
        "click": click,
        "bound": bound,
        "profile": profile,
        "parity": parity,
    }
    print(json.dumps({"model": args.model, "thresholds": thresholds(args.model), "threads": args.threads}), flush=True)
    for part in args.parts or PARTS:
        runs[part](args)


if __name__ == "__main__":
    main()
