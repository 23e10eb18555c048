"""Packs training shards into a small copy: ``python -m sam_hub.training.pack --data DIR --out DIR --mebibytes 56``.

Photos and masks are scaled down and compressed. The result is shards in the same layout, and a ``manifest.json``.
"""

import argparse
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..data.sa1b import Sa1bDataset, Sample
from ..errors import DataError
from ..ops.files import make_folder, write_atomically
from ..ops.masks import mask_to_rle

SMALLEST = 9
"""Pixels of the smallest mask that is kept."""


def packed(sample: Sample, side: int, quality: int) -> tuple[bytes, bytes]:
    """A sample as JPEG and JSON, its longer side at most ``side`` pixels."""
    height, width = sample.image.shape[:2]
    scale = min(1.0, side / max(height, width))
    shape = max(1, round(width * scale)), max(1, round(height * scale))
    image = cv2.resize(sample.image, shape, interpolation=cv2.INTER_AREA) if scale < 1 else sample.image
    annotations = []
    for i, annotation in enumerate(sample.annotations):
        mask = sample.mask(i)
        if scale < 1:
            mask = cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_AREA) >= 0.5
        if mask.sum() < SMALLEST:
            continue
        box = list(cv2.boundingRect(mask.astype(np.uint8)))
        row = {"id": annotation.get("id", i), "segmentation": mask_to_rle(mask), "area": int(mask.sum()), "bbox": box}
        annotations.append({**row, **{k: v for k, v in annotation.items() if k == "layer"}})
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality, optimize=True)
    text = {"image": {"width": shape[0], "height": shape[1], "file_name": sample.name}, "annotations": annotations}
    return buffer.getvalue(), json.dumps(text, separators=(",", ":")).encode()


def draw_order(counts: Sequence[int], seed: int) -> Iterator[tuple[int, int]]:
    """(shard, image) of every image; any prefix has images of each shard in proportion to the root of its size.

    The k-th image of a shard of n comes at k squared / n: small shards are taken whole, large ones are sampled.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(n) for n in counts]
    places = [(k * k / n, s, int(orders[s][k])) for s, n in enumerate(counts) for k in range(n)]
    yield from ((s, i) for _, s, i in sorted(places))


def pack(shards: Sequence[Path], out: Path, budget: int, side: int = 448, quality: int = 80, seed: int = 0) -> dict:
    """Write a sample of every shard into ``out``, at most ``budget`` bytes together.

    returns: the contents of ``manifest.json``: images and bytes of each shard
    raises: DataError if not a single image fits
    """
    make_folder(out)
    datasets = [Sa1bDataset(path) for path in shards]
    chosen: list[list[tuple[int, bytes, bytes]]] = [[] for _ in shards]
    used = 1024 * 11 * len(shards)  # tars are padded to blocks of 10 KiB
    for which, number in draw_order([len(d) for d in datasets], seed):
        try:
            image, text = packed(datasets[which][number], side, quality)
        except DataError:
            continue
        size = sum(512 + -(-len(data) // 512) * 512 for data in (image, text))
        if used + size > budget:
            break
        used += size
        chosen[which].append((number, image, text))
    if not any(chosen):
        raise DataError(f"{budget} bytes are too few for even one image")
    manifest = {"side": side, "quality": quality, "seed": seed, "shards": {}}
    for path, rows in zip(shards, chosen, strict=True):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for number, image, text in sorted(rows):
                for suffix, data in (("jpg", image), ("json", text)):
                    member = tarfile.TarInfo(f"{path.stem}_{number:06d}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        write_atomically(out / f"{path.stem}.tar", buffer.getvalue())
        manifest["shards"][path.stem] = {"images": len(rows), "bytes": len(buffer.getvalue())}
    write_atomically(out / "manifest.json", json.dumps(manifest, indent=1).encode())
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with the training shards")
    parser.add_argument("--out", type=Path, required=True, help="folder for the packed ones")
    parser.add_argument("--mebibytes", type=float, default=56, help="size of all of them together, at most")
    parser.add_argument("--side", type=int, default=448, help="pixels of a photo's longer side, at most")
    parser.add_argument("--quality", type=int, default=80, help="of the JPEGs")
    args = parser.parse_args()
    shards = sorted(args.data.glob("*.tar"))
    manifest = pack(shards, args.out, int(args.mebibytes * 2**20), args.side, args.quality)
    for name, row in manifest["shards"].items():
        print(f"{name}: {row['images']} images, {row['bytes'] / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
