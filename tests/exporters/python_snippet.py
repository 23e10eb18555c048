"""Runs a bundle's `segment.py` and compares its mask with the predictor's."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sam_hub.exporters.backend import BundleBackend

from sam_hub.inference.image_predictor import ImagePredictor


def compare_with_predictor(snippet: Path, photo: Path, out: Path) -> None:
    """A click on the object and one beside it. out: for the snippet's mask"""
    command = [sys.executable, snippet, photo, "300,200", "20,20,0", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    predictor = ImagePredictor(BundleBackend(snippet.parents[1]))
    predictor.set_image(photo)
    masks, scores, _ = predictor.predict(np.array([[300, 200], [20, 20]]), np.array([1, 0]))
    found, expected = np.asarray(Image.open(out)) > 0, masks[scores.argmax()]
    assert (found & expected).sum() >= 0.98 * (found | expected).sum() and expected.any()
