"""Peak memory of loading a large SAM: ``python benchmarks/loading.py [--model sam-vit-h]``.

Random weights of the model's shape are written to a temporary folder as safetensors and as an original ``.pth``;
each is loaded in a fresh process and every weight is read once, because the files are mapped. The figure is
(peak resident memory - that of the imports) / size of the weights.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

LOAD = """
import json, sys
from sam_hub import SamModel

def memory(field):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field))

SamModel.config_class
before = memory("VmRSS")
model = SamModel.from_pretrained(sys.argv[1])
touched = sum(t.double().mean().item() if t.numel() < 1e6 else t.max().item() for t in model.state_dict().values())
peak = memory("VmHWM") - before
size = sum(t.numel() * t.element_size() for t in model.state_dict().values())
print(json.dumps({"peak": peak, "size": size, "dtype": str(model.dtype)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam-vit-h")
    args = parser.parse_args()

    from sam_hub import SamConfig, SamModel
    from sam_hub.models.layouts import save_original
    from sam_hub.zoo import ZOO

    with TemporaryDirectory() as folder:
        model = SamModel(SamConfig(**ZOO[args.model].config))
        model.save_pretrained(Path(folder) / "folder")
        save_original(model, Path(folder) / "model.pth")
        del model
        for kind, name in (("safetensors", "folder"), ("original .pth", "model.pth")):
            command = [sys.executable, "-c", LOAD, str(Path(folder) / name)]
            answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(f"{args.model}, {kind}: {answer['size'] / 1e9:.2f} GB, peak {answer['peak'] / answer['size']:.2f} x")


if __name__ == "__main__":
    main()
