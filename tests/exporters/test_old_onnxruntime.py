"""The files run in the oldest onnxruntime that is promised, in an environment of its own, with the same results."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sam_hub.exporters.manifest import Manifest
from sam_hub.exporters.proof import Proof

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import runtimes

OLDEST = ("onnxruntime==1.17.3", "numpy<2")


@pytest.fixture(scope="module")
def python(once: Callable) -> Path:
    """Its interpreter; ``SAM_HUB_OLD_ONNXRUNTIME`` names one that exists."""
    if given := os.environ.get("SAM_HUB_OLD_ONNXRUNTIME"):
        return Path(given)

    def make(folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        done = subprocess.run([folder / "bin" / "pip", "install", "-q", *OLDEST], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"onnxruntime 1.17.3 cannot be installed: {done.stderr.strip().splitlines()[-1]}")

    return once("old-onnxruntime", make) / "bin" / "python"


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="onnxruntime 1.17.3 has no wheels for this Python")
def test_the_same_files_give_the_same_results(python, repvit_bundle, tmp_path):
    _, bundle = repvit_bundle
    artefact = Manifest.read(bundle).find("onnx", "fp32")
    cases = runtimes.write_cases(bundle, artefact, Proof.load(bundle), tmp_path)
    done = subprocess.run([python, "-c", runtimes.RUN], input=json.dumps(cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runtime, found = json.loads(done.stdout.splitlines()[-1])
    assert runtime == "onnxruntime 1.17.3" and len(found) == 2
    assert all(isinstance(value, float) and value < 1e-4 for value in found.values()), found
