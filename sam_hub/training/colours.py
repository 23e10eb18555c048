"""Colour and contrast augmentation: small changes, and strong ones that imitate other kinds of pictures."""

import cv2
import numpy as np

from .recipe import Augmentation


def jitter_colours(image: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """Random brightness, contrast and saturation: (H, W, 3) uint8 -> uint8."""
    x = image.astype(np.float32)
    x *= 1 + rng.uniform(-augmentation.brightness, augmentation.brightness)
    mean = x.mean()
    x = (x - mean) * (1 + rng.uniform(-augmentation.contrast, augmentation.contrast)) + mean
    grey = x.mean(axis=2, keepdims=True)
    x = (x - grey) * (1 + rng.uniform(-augmentation.saturation, augmentation.saturation)) + grey
    return np.clip(x, 0, 255).astype(np.uint8)


def to_grey(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One channel, or a random mixture of all three, as in a microscope or at night."""
    grey = image.astype(np.float32) @ rng.dirichlet(np.ones(3)).astype(np.float32)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def flatten_contrast(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compress values to a small part of the range, like 16-bit pictures shown unscaled; with gamma."""
    x = (image.astype(np.float32) / 255) ** rng.uniform(0.5, 2.0)
    width = rng.uniform(0.12, 0.6)
    return np.clip(255 * (rng.uniform(0, 1 - width) + width * x), 0, 255).astype(np.uint8)


def cast_colour(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random gain and offset per channel, as under water, at dusk or under lamps."""
    x = image.astype(np.float32) * rng.uniform(0.5, 1.4, 3) + rng.uniform(-40, 40, 3)
    return np.clip(x, 0, 255).astype(np.uint8)


def invert(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Swap dark and bright."""
    return 255 - image


def blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Out of focus."""
    return cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.6, 2.0)))


def add_noise(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add grain, of single pixels or small clusters."""
    noise = rng.normal(0, rng.uniform(4, 22), image.shape[:2]).astype(np.float32)
    if rng.random() < 0.4:
        noise = cv2.GaussianBlur(noise, (0, 0), 1.0) * 2.5
    return np.clip(image + noise[..., None], 0, 255).astype(np.uint8)


STRONG_CHANGES = (to_grey, flatten_contrast, cast_colour, invert, blur, add_noise)


def change_strongly(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to three of ``STRONG_CHANGES``, in random order: (H, W, 3) uint8 -> uint8."""
    for i in rng.permutation(len(STRONG_CHANGES))[: int(rng.integers(1, 4))]:
        image = STRONG_CHANGES[i](image, rng)
    return image
