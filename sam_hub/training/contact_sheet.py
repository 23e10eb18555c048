"""What a recipe's training samples look like: ``python -m sam_hub.training.contact_sheet --data DIR --recipe NAME``."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch

from ..ops.files import write_atomically
from ..results import png
from .episodes import EpisodeDataset

COLOURS = np.random.default_rng(7).integers(60, 255, (64, 3)).astype(np.float32)


def tile(item: dict[str, torch.Tensor], mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """One sample, its masks tinted and outlined: (S, S, 3) uint8."""
    image = item["pixel_values"].permute(1, 2, 0).numpy() * np.float32(std) + np.float32(mean)
    side = image.shape[0]
    image = np.clip(image, 0, 255)
    for colour, label in zip(COLOURS, item["labels"].numpy(), strict=False):
        mask = cv2.resize(label, (side, side), interpolation=cv2.INTER_NEAREST) > 0.5
        image[mask] = 0.65 * image[mask] + 0.35 * colour
        edge = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > mask
        image[edge] = colour
    return image.astype(np.uint8)


def contact_sheet(episodes: EpisodeDataset, rows: int, columns: int, side: int = 240) -> np.ndarray:
    """The first samples of a run: (rows * side, columns * side, 3) uint8."""
    sheet = np.zeros((rows * side, columns * side, 3), np.uint8)
    preparation = episodes.preparation
    for number in range(rows * columns):
        shown = tile(episodes[number], preparation.mean, preparation.std)
        y, x = number // columns * side, number % columns * side
        sheet[y : y + side, x : x + side] = cv2.resize(shown, (side, side), interpolation=cv2.INTER_AREA)
    return sheet


def main() -> None:
    from ..models.configuration_sam import SamConfig
    from ..zoo import ZOO
    from .pocket import pocket_episodes
    from .pocket_recipes import POCKET_RECIPES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the training shards")
    parser.add_argument("--recipe", choices=sorted(POCKET_RECIPES), required=True)
    parser.add_argument("--out", type=Path, default=Path("samples.png"))
    parser.add_argument("--rows", type=int, default=5)
    parser.add_argument("--columns", type=int, default=7)
    args = parser.parse_args()
    episodes = pocket_episodes(args.data, POCKET_RECIPES[args.recipe], SamConfig(**ZOO["pocket"].config))
    write_atomically(args.out, png(contact_sheet(episodes, args.rows, args.columns)))


if __name__ == "__main__":
    main()
