"""OUT.npz TASKS.json: the masks of brush strokes, by label-studio-sdk's converter."""

import json
import sys
from pathlib import Path

import numpy as np
from label_studio_sdk.converter.brush import decode_rle

masks = {}
for task in json.loads(Path(sys.argv[2]).read_text()):
    for result in task["predictions"][0]["result"]:
        shape = result["original_height"], result["original_width"], 4
        masks[result["id"]] = np.reshape(decode_rle(result["value"]["rle"]), shape)[..., 3] > 0
np.savez(sys.argv[1], **masks)
