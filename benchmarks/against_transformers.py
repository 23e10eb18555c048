"""Encoding a photo and decoding clicks: `sam_hub.SamModel` against `transformers.SamModel`, same weights, same run.

First `pocket`, which transformers does not have; then SAM ViT-B with random weights (as fast as trained ones) in both,
in float32. They take turns, so that load on the machine affects both, and the best turn counts. Prints a JSON row per
measurement.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable

import torch
import transformers

from sam_hub import SamConfig, SamModel
from sam_hub.zoo import ZOO

CLICKS = 16


def tasks(model: torch.nn.Module) -> dict[str, Callable[[], torch.Tensor]]:
    """The measured tasks: encoding one photo, then one object and many objects on it, three masks for a click each."""
    side = model.config.vision_config.image_size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(1, 3, side, side, generator=generator)
    points = torch.rand(1, CLICKS, 1, 2, generator=generator) * side
    embedding = model.get_image_embeddings(pixels)
    return {
        "encode": lambda: model.get_image_embeddings(pixels),
        "1 click": lambda: model(image_embeddings=embedding, input_points=points[:, :1]).pred_masks,
        f"{CLICKS} clicks": lambda: model(image_embeddings=embedding, input_points=points).pred_masks,
    }


def seconds(run: Callable[[], torch.Tensor]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@torch.inference_mode()
def compare(what: str, models: dict[str, torch.nn.Module], turns: int) -> None:
    """Print the milliseconds of each task and model, the ratio to the first, and how far the outputs are apart."""
    runs = {name: tasks(model.eval()) for name, model in models.items()}
    for task in next(iter(runs.values())):
        first, *others = [run[task]() for run in runs.values()]  # also warms up
        rounds = [{name: seconds(run[task]) for name, run in runs.items()} for _ in range(turns)]
        best = {name: min(times[name] for times in rounds) for name in runs}
        row = {"model": what, "task": task, **{f"{name}_ms": round(1e3 * s, 1) for name, s in best.items()}}
        if others:
            row["ratio"] = round(best["transformers"] / best["sam_hub"], 3)
            row["relative_rms_difference"] = float((others[0] - first).norm() / first.norm())
        print(json.dumps(row), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="measurements of each kind, of which the best counts")
    turns = parser.parse_args().turns
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({**versions, "threads": torch.get_num_threads()}))
    compare("pocket", {"sam_hub": SamModel.from_pretrained("pocket")}, turns)
    torch.manual_seed(0)
    ours = SamModel(SamConfig(**ZOO["sam-vit-b"].config))
    with tempfile.TemporaryDirectory() as folder:
        ours.save_pretrained(folder)
        theirs = transformers.SamModel.from_pretrained(folder)
    compare("sam-vit-b", {"sam_hub": ours, "transformers": theirs}, turns)


if __name__ == "__main__":
    main()
