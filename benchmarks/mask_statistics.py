"""`sam-hub stats`: masks per second against decoding each mask with pycocotools, and memory as data grow.

    python benchmarks/mask_statistics.py speed [TAR...]     by default every shard of ../shared/data/val
    python benchmarks/mask_statistics.py memory [TAR...]    peak memory of 1, 10 and 100 times the data

CPU seconds of one process, so that other work on the machine does not count.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import process_time

from pycocotools import mask as coco_mask

from sam_hub.statistics.collect import Collection
from sam_hub.statistics.sources import read_images

ROUNDS = 11
DATA = Path(__file__).parents[2] / "shared" / "data" / "val"
PEAK = """
import resource, sys
from pathlib import Path
from sam_hub.statistics.collect import Collection
from sam_hub.statistics.sources import read_images
found = Collection()
for _ in range(int(sys.argv[1])):
    for path in sys.argv[2:]:
        found.add(read_images(Path(path)))
print(found.images, found.masks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def speed(tars: list[Path]) -> None:
    """Reading and measuring everything, hulls of the sample included, against reading and decoding every mask.

    Both in turn, `ROUNDS` times: medians, and the median of the rounds' ratios.
    """
    rounds = []
    for _ in range(ROUNDS):
        start = process_time()
        found = Collection()
        for tar in tars:
            found.add(read_images(tar))
        middle = process_time()
        count = 0
        for tar in tars:
            for image in read_images(tar):
                for rle in image.masks:
                    coco_mask.decode(rle)
                    count += 1
        rounds.append((middle - start, process_time() - middle))
    masks = found.masks + found.empty
    assert masks == count
    ours, theirs = (median(times) for times in zip(*rounds, strict=True))
    ratios = sorted(theirs / ours for ours, theirs in rounds)
    print(
        f"{masks} masks: {masks / ours:.0f} a second; decoded {count / theirs:.0f}: "
        f"{median(ratios):.2f} times as many ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


def memory(tars: list[Path]) -> None:
    """Measure each size in its own process, for its own peak."""
    for times in (1, 10, 100):
        words = [sys.executable, "-c", PEAK, str(times), *map(str, tars)]
        images, masks, peak = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
        print(f"{times:>4} times: {images} images, {masks} masks, {float(peak):.1f} MiB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("speed", "memory"))
    parser.add_argument("tars", nargs="*", type=Path)
    given = parser.parse_args()
    {"speed": speed, "memory": memory}[given.what](given.tars or sorted(DATA.glob("*.tar")))
