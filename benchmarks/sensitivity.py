"""Loss of mask IoU with one layer at a time in few bits, and the bits that `mixed` variants choose.

    OMP_NUM_THREADS=1 python benchmarks/sensitivity.py pocket [--calibration PHOTO ...] [--bits 4] [--out FILE]

Weights are rounded as `sam-hub export --variant mixed` rounds them, and masks are compared with the model's own on the
calibration photos, for clicks and boxes on a grid. The table is in thousandths of
mask IoU, largest first; ``--out`` writes all of it as JSON. The last columns are the bits in each variant (ONNX).
"""

import argparse
import json
import sys
from pathlib import Path

from sam_hub.exporters.formats.onnx.packed import WIDTHS
from sam_hub.exporters.mixed.calibration import compressible
from sam_hub.exporters.mixed.choice import MEAN_BITS, choose_bits, has_choice, sensitivities
from sam_hub.exporters.mixed.compress import MOST_PHOTOS, Calibration
from sam_hub.exporters.proof import packaged_photos

from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.models.modeling_sam import SamModel
from sam_hub.ops.images import read_image
from sam_hub.ops.preparation import Preparation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--calibration", type=Path, nargs="+", default=[])
    parser.add_argument("--bits", type=int, nargs="+", default=[4], choices=range(2, 9))
    parser.add_argument("--rows", type=int, default=20)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()

    model = SamModel.from_pretrained(arguments.model).eval().float().fuse()
    preparation = Preparation.from_settings(SamImageProcessor.from_pretrained(arguments.model).to_dict())
    photos = [*map(read_image, arguments.calibration), *(pixels for _, pixels in packaged_photos())]

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    measured = Calibration(model, preparation, photos, tell)
    probes = [preparation(pixels) for pixels in photos[:MOST_PHOTOS]]
    losses = {
        bits: measured.losses if bits == WIDTHS[0] else sensitivities(model, probes, measured.moments, bits)
        for bits in arguments.bits
    }
    layers = {
        name: layer for name, layer in compressible(model).items() if name in measured.losses and has_choice(layer)
    }
    sizes = {name: layer.weight.numel() for name, layer in layers.items()}
    chosen = {v: choose_bits(measured.losses, sizes, mean, WIDTHS) for v, mean in MEAN_BITS.items()}
    table = [
        {
            "layer": name,
            "weights": sizes[name],
            "loss": {bits: losses[bits][name] for bits in losses},
            "bits": {variant: bits[name] for variant, bits in chosen.items()},
        }
        for name in sorted(layers, key=measured.losses.get, reverse=True)
    ]
    columns = ["layer", "weights", *(f"{bits} bits" for bits in losses), *(f"`{variant}`" for variant in chosen)]
    print(f"| {' | '.join(columns)} |")
    print("|---|" + "---:|" * (len(columns) - 1))
    for row in table[: arguments.rows]:
        cells = [f"{1000 * loss:.2f}" for loss in row["loss"].values()] + [str(bits) for bits in row["bits"].values()]
        print(f"| `{row['layer']}` | {row['weights']:,} | {' | '.join(cells)} |")
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
