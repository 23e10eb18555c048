"""All objects that words name: a detector's boxes, each a prompt of the model."""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .limits import Refusal

LONGEST = 200
"""Maximum characters of a phrase."""


class WordFinder:
    """Boxes of objects that words name, by a detector loaded on first use.

    name: of the detector, as `TextDetector.from_pretrained` takes it; None for its default
    """

    def __init__(self, name: str | None = None, device: str | None = None) -> None:
        self.name, self.device = name, device
        self._detector: Any = None
        self._lock = threading.Lock()

    def __call__(self, image: np.ndarray, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Boxes (K, 4) and scores (K,), best first. raises: ModelNotFoundError, PromptError"""
        with self._lock:
            if self._detector is None:
                from ..inference.text import DETECTOR, TextDetector

                self._detector = TextDetector.from_pretrained(self.name or DETECTOR, self.device or "cpu")
        return self._detector.find(image, text)


def checked_words(text: Any) -> str:
    """Validate a visitor's phrase. raises: Refusal"""
    if not isinstance(text, str) or not text.strip():
        raise Refusal('name what to find, for example "a cat"')
    if len(text) > LONGEST:
        raise Refusal(f"{len(text)} characters are too many for a phrase; use at most {LONGEST}")
    return " ".join(text.split())


Finder = Callable[[np.ndarray, str], tuple[np.ndarray, np.ndarray]]
