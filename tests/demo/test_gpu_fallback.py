"""The page without a server on GPUs that fail or give no masks: it falls back to WebAssembly."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not shutil.which("node"), reason="no node: apt-get install nodejs")


def opened(how: str) -> dict:
    script = Path(__file__).with_name("gpu_fallback.mjs")
    command = ["node", "--experimental-default-type=module", str(script), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_gpu_that_gives_masks_is_used():
    assert opened("sound") == {"device": "WebGPU", "provider": "webgpu", "released": []}


@pytest.mark.parametrize("how", ["no adapter", "without fp16", "does not load", "lost", "empty masks", "not a number"])
def test_another_gpu_is_left_for_webassembly(how):
    found = opened(how)
    assert found["provider"] == "wasm" and found["device"] == "WebAssembly, 1 thread"
    tried = how in ("lost", "empty masks", "not a number")
    assert found["released"] == ["webgpu", "webgpu"] * tried
