#!/bin/sh
# opencv-python-headless 5.0.0.93: distanceTransform with DIST_L2 and DIST_MASK_PRECISE does not give the same numbers
# for the same picture in each call of one process. Where Intel's IPP computes it, which is the default on x86-64, the
# last bit depends on where the arrays lie in memory, so that the argmax, the usual choice of "the middle of a region",
# falls on another of several equally far pixels. Without IPP (cv2.ipp.setUseIPP(False)) every call gives the same.
# Exit 0 while it behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "opencv-python-headless==5.0.0.93" "numpy==2.4.6" >&2
env/bin/python - <<'PYTHON'
import sys

import cv2
import numpy as np

squares = np.random.default_rng(31).integers(0, 2, (8, 11))
region = np.pad(np.kron(squares, np.ones((10, 10))).astype(np.uint8), 1)
rng = np.random.default_rng(0)


def answers(calls: int = 200) -> tuple[int, set[int], float]:
    """Different outputs, different places of the maximum, and the largest difference from the first output."""
    kept, found, places, gap, first = [], set(), set(), 0.0, None
    for _ in range(calls):
        kept.append(np.empty(rng.integers(1, 5000)))  # the next arrays lie elsewhere
        distance = cv2.distanceTransform(region.copy(), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        first = distance if first is None else first
        found.add(distance.tobytes())
        places.add(int(distance.argmax()))
        gap = max(gap, float(np.abs(distance - first).max()))
    return len(found), places, gap


cv2.ipp.setUseIPP(True)
with_ipp = answers()
cv2.ipp.setUseIPP(False)
without = answers()
print(f"OpenCV {cv2.__version__}, 200 calls on one picture of {region.shape}")
print(f"with IPP: {with_ipp[0]} outputs, maximum at {sorted(with_ipp[1])}, up to {with_ipp[2]:.1e} apart")
print(f"without: {without[0]} output, maximum at {sorted(without[1])}")
sys.exit(0 if with_ipp[0] > 1 and len(with_ipp[1]) > 1 and without[0] == 1 else 1)
PYTHON
