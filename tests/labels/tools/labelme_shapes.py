"""OUT.npz FILE.json: the masks of shapes, by labelme's loader; parts of a group are one mask."""

import sys

import numpy as np

try:
    from labelme.label_file import LabelFile
except ImportError:
    from labelme._label_file import LabelFile
from labelme.utils import shape_to_mask

file = LabelFile(sys.argv[2])
masks = {}
for shape in file.shapes:
    if shape["shape_type"] == "mask":
        (x0, y0), (x1, y1) = np.array(shape["points"]).astype(int)
        mask = np.zeros(np.load(sys.argv[3]).shape, bool)
        mask[y0 : y1 + 1, x0 : x1 + 1] = shape["mask"]
    else:
        mask = shape_to_mask(np.load(sys.argv[3]).shape, shape["points"], shape["shape_type"])
    key = shape["label"]
    masks[key] = masks.get(key, False) | mask
np.savez(sys.argv[1], **{f"{i}": mask for i, mask in enumerate(masks.values())}, image=len(file.imageData))
