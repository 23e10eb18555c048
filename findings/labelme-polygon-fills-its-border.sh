#!/bin/sh
# labelme 6.3.1: a polygon is filled with the pixels that its border runs through. The square with the corners (5, 5)
# and (10, 10), whose area is 25, becomes 36 pixels, so that a mask that is written as its outline grows by a column at
# the right and a row below each time; a shape of the kind "mask" comes back as it was.
# Exit 0 while it behaves so, 1 when it does not.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv env
env/bin/python -m pip install -q "labelme==6.3.1" >&2
QT_QPA_PLATFORM=offscreen env/bin/python - <<'PYTHON'
import sys
from importlib.metadata import version

from labelme.utils import shape_to_mask

corners = [[5, 5], [10, 5], [10, 10], [5, 10]]
mask = shape_to_mask((20, 20), corners, "polygon")
columns, rows = mask.any(axis=0).nonzero()[0], mask.any(axis=1).nonzero()[0]
print(f"labelme {version('labelme')}: {corners} fills {mask.sum()} pixels, columns {columns.tolist()}, rows {rows.tolist()}")
as_seen = mask.sum() == 36 and columns.tolist() == rows.tolist() == [5, 6, 7, 8, 9, 10]
sys.exit(0 if as_seen else 1)
PYTHON
