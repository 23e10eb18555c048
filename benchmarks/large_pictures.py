"""Tiled everything mode on mosaics of photos: peak memory, seconds, and masks at seams against an untiled run.

python benchmarks/large_pictures.py --sides 1024 1792 3328 7936 --out out/large     # the curve over 1, 4, 16, 100 tiles
python benchmarks/large_pictures.py --sides 2000 20000 --out out/large              # memory
python benchmarks/large_pictures.py --sides 2000 20000 --planted 60 --out out/large # merging and writing many masks
python benchmarks/large_pictures.py --seams 4000 --out out/large                    # masks at seams

`--planted N` writes about N synthetic objects into the intermediate file of each tile and resumes the run: every object
must come back once. `--model tiny` is a model with random weights and an input of 64 pixels, so that only the tiling is
measured. Photos are from a folder (--photos), by default ../shared/data/val if it exists, else examples/. Each mosaic
is a tiled BigTIFF, written and read in parts. Prints a JSON line per run.
"""

import argparse
import io
import json
import os
import signal
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from sam_hub.tiling.grid import Grid

ROOT = Path(__file__).resolve().parents[1]
BLOCK = 512
"""Pixels of a photo's cell, and of the TIFF's tiles."""


def photos(folder: Path | None) -> list[np.ndarray]:
    """Square photos of `BLOCK` pixels."""
    data = ROOT.parent / "shared" / "data" / "val"
    found: list[Image.Image] = []
    if folder is None and data.is_dir():
        for path in sorted(data.glob("*.tar")):
            with tarfile.open(path) as tar:
                members = [m for m in tar if m.name.endswith(".jpg")][:3]  # they are in every fork's memory
                found += [Image.open(io.BytesIO(tar.extractfile(m).read())).convert("RGB") for m in members]
    else:
        found = [Image.open(p).convert("RGB") for p in sorted((folder or ROOT / "examples").glob("*.jpg"))]
    return [np.asarray(image.resize((BLOCK, BLOCK))) for image in found]


def write_mosaic(path: Path, side: int, cells: list[np.ndarray]) -> None:
    """A grid of photos in random order, as a BigTIFF."""
    import tifffile

    count = -(-side // BLOCK)
    order = np.random.default_rng(0).integers(0, len(cells), count * count)
    tiles: Iterator[np.ndarray] = (cells[i] for i in order)
    layout = {"tile": (BLOCK, BLOCK), "photometric": "rgb", "bigtiff": True}
    tifffile.imwrite(path, tiles, shape=(side, side, 3), dtype=np.uint8, **layout)


def started(picture: Path, out: Path, arguments: list[str]) -> int:
    """Run the command in a fork; returns its process id."""
    from sam_hub.cli import main

    child = os.fork()
    if child == 0:
        sys.argv = ["sam-hub", "everything", str(picture), "--out", str(out), *arguments]
        code = 1
        try:
            main()
        except SystemExit as e:
            code = e.code or 0
        finally:
            os._exit(code)
    return child


def run(picture: Path, out: Path, arguments: list[str]) -> dict:
    """One run of the command: seconds and peak memory in MB."""
    start = time.perf_counter()
    _, status, usage = os.wait4(started(picture, out, arguments), 0)
    if status:
        raise SystemExit(f"the run on {picture} failed")
    seconds, busy = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    return {"seconds": round(seconds, 1), "cpu_seconds": round(busy, 1), "peak_mb": round(usage.ru_maxrss / 1024)}


def plant(picture: Path, out: Path, arguments: list[str], grid: "Grid", count: int) -> int:
    """Stop a run at its first tile and write all tiles' files: discs on a lattice, ``count`` per tile area.

    returns: the number of discs
    """
    from sam_hub.results import json_bytes
    from sam_hub.tiling.pieces import Piece

    folder = out / "tiles" / picture.stem
    child = started(picture, out, arguments)
    while not folder.is_dir():
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    step = grid.tile / count**0.5
    radius, columns = 0.35 * step, len(grid.lefts)
    per_side = int(grid.size[0] / step)
    for number, (x0, y0, x1, y1) in enumerate(grid.windows):
        pieces = []
        for j in range(max(0, int(y0 / step) - 1), min(per_side, int(y1 / step) + 1)):
            for i in range(max(0, int(x0 / step) - 1), min(per_side, int(x1 / step) + 1)):
                x, y = (i + 0.5) * step, (j + 0.5) * step
                left, top = max(x0, int(x - radius)), max(y0, int(y - radius))
                right, bottom = min(x1, int(x + radius) + 1), min(y1, int(y + radius) + 1)
                if left >= right or top >= bottom:
                    continue
                rows, across = np.ogrid[top:bottom, left:right]
                mask = (rows - y) ** 2 + (across - x) ** 2 <= radius**2
                if mask.any():
                    facts = {"predicted_iou": 0.9, "point_coords": [[x, y]], "stability_score": 0.95}
                    facts["crop_box"] = [x0, y0, x1 - x0, y1 - y0]
                    pieces.append(asdict(Piece.of(mask, (left, top), number, facts)))
        (folder / f"{number // columns}-{number % columns}.json").write_bytes(json_bytes(pieces))
    return per_side**2


def tiny_model(folder: Path) -> Path:
    """A SAM with a one-layer ViT and random weights."""
    import torch

    from sam_hub import SamConfig, SamImageProcessor, SamModel

    torch.manual_seed(2)
    vision = {
        "hidden_size": 16, "output_channels": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_pos_feats": 16,
        "window_size": 0, "global_attn_indexes": [0], "image_size": 64,
    }  # fmt: skip
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 2, "iou_head_hidden_dim": 32}
    prompts = {"hidden_size": 32, "image_size": 64}
    model = SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder))
    model.save_pretrained(folder)
    SamImageProcessor.for_config(model.config).save_pretrained(folder)
    return folder


def seams(picture: Path, grid: "Grid", model: str, points_per_side: int) -> dict:
    """Shares of reference masks, at seams and smaller than the overlap, that a merged mask matches at an IoU of 0.9.

    uncut: of the masks that a tile shows completely
    objects: the same by object: masks of different tiles with an IoU of at least 0.5 are one object, and one match is
        enough
    untiled: of the masks of one run over the whole image, with as many clicks per pixel
    """
    from pycocotools import mask as coco_mask
    from scipy.sparse.csgraph import connected_components

    from sam_hub import SamAutomaticMaskGenerator
    from sam_hub.inference.opening import open_predictor
    from sam_hub.ops.images import read_image
    from sam_hub.tiling.generate import finish, pieces_of_tile
    from sam_hub.tiling.grid import shared
    from sam_hub.tiling.merging import touches_seam
    from sam_hub.tiling.picture import Picture

    predictor = open_predictor(model)
    strips = [shared(grid.windows[a], grid.windows[b]) for a, b in grid.neighbours]
    small = grid.overlap * grid.tile

    def counts(x0: float, y0: float, x1: float, y1: float) -> bool:
        near = any(x0 < s[2] and x1 > s[0] and y0 < s[3] and y1 > s[1] for s in strips)
        return near and max(x1 - x0, y1 - y0) < small

    generator = SamAutomaticMaskGenerator(predictor, points_per_side=points_per_side, output_mode="coco_rle")
    with Picture(picture) as opened:
        pieces = [p for n, window in enumerate(grid.windows) for p in pieces_of_tile(generator, opened, window, n)]
    merged = [piece.rle(grid.size) for piece in finish(pieces, grid, generator)]
    uncut = [p for p in pieces if counts(*p.box) and not touches_seam(p.box, grid.windows[p.tile], grid.size)]
    references = {"uncut": [p.rle(grid.size) for p in uncut]}
    in_all = round(points_per_side * max(grid.size) / grid.tile)
    generator = SamAutomaticMaskGenerator(predictor, points_per_side=in_all, output_mode="coco_rle")
    whole = generator.generate(read_image(picture))
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (r["bbox"] for r in whole)]
    references["untiled"] = [r["segmentation"] for r, box in zip(whole, boxes, strict=True) if counts(*box)]
    row: dict = {"pieces": len(pieces), "merged": len(merged), "whole": len(whole)}
    for name, rles in references.items():
        best = coco_mask.iou(merged, rles, [0] * len(rles)).max(axis=0)
        row[name] = {"masks": len(rles), "at_0.9": round(float((best >= 0.9).mean()), 4)}
        if name == "uncut":
            near = coco_mask.iou(rles, rles, [0] * len(rles)) >= 0.5
            tiles = np.array([p.tile for p in uncut])
            count, label = connected_components(near & ((tiles[:, None] != tiles) | np.eye(len(tiles), dtype=bool)))
            matched = [float(best[label == i].max()) >= 0.9 for i in range(count)]
            row["objects"] = {"objects": count, "at_0.9": round(float(np.mean(matched)), 4)}
    return row


def parsed() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="*", default=[])
    parser.add_argument("--seams", type=int, nargs="*", default=[])
    parser.add_argument("--tile", type=int, default=1024)
    parser.add_argument("--overlap", type=float, default=0.25)
    parser.add_argument("--planted", type=int, metavar="N")
    parser.add_argument("--model", default="pocket")
    parser.add_argument("--points-per-side", dest="points", type=int, default=8, help="of a tile's grid of clicks")
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_known_args()


def main() -> None:
    """Other arguments are passed to `sam-hub everything`."""
    options, more = parsed()
    options.out.mkdir(parents=True, exist_ok=True)
    cells = photos(options.photos)
    import transformers  # noqa: F401 once, before the forks

    from sam_hub.tiling.grid import Grid

    model = options.model
    if model == "tiny":
        model = str(tiny_model(options.out / "tiny"))
        more += ["--pred-iou-thresh", "0", "--stability-score-thresh", "0"]
    more += ["--model", model, "--points-per-side", str(options.points)]
    for side in options.sides:
        picture = options.out / f"mosaic-{side}.tif"
        start = time.perf_counter()
        if not picture.exists():
            write_mosaic(picture, side, cells)
        made = round(time.perf_counter() - start, 1)
        out = options.out / (f"planted-{side}" if options.planted else f"run-{side}")
        arguments = ["--tile", str(options.tile), "--overlap", str(options.overlap), *more]
        grid = Grid((side, side), options.tile, options.overlap)
        planted = {}
        if options.planted:
            planted["planted"] = plant(picture, out, arguments, grid, options.planted)
            arguments.append("--resume")
        found = run(picture, out, arguments)
        masks = json.loads((out / "summary.json").read_text())["masks"]
        row = {"side": side, "tiles": len(grid.windows), **found, "masks": masks, **planted, "made": made}
        print(json.dumps(row), flush=True)
    for side in options.seams:
        picture = options.out / f"mosaic-{side}.tif"
        if not picture.exists():
            write_mosaic(picture, side, cells)
        grid = Grid((side, side), options.tile, options.overlap)
        print(json.dumps({"seams": side, **seams(picture, grid, model, options.points)}), flush=True)


if __name__ == "__main__":
    main()
