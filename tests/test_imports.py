"""`import sam_hub` and the command line do not load torch until it is needed."""

import ast
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sam_hub

EXAMPLES = Path(__file__).parents[1] / "examples"
HEAVY = ("torch", "transformers", "numpy", "cv2", "PIL", "huggingface_hub")


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter outside of the checkout."""
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(sys.executable).parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(imports: str) -> set[str]:
    """The top-level names of the modules that some imports load."""
    return set(json.loads(run_python(f"{imports}\nimport json, sys\nprint(json.dumps(list(sys.modules)))")))


@pytest.mark.parametrize("module", ["sam_hub", "sam_hub.errors", "sam_hub.zoo", "sam_hub.cli"])
def test_a_bare_import_is_light(module):
    assert loaded_by(f"import {module}").isdisjoint(HEAVY)


def test_ops_and_results_never_load_torch():
    modules = [f"sam_hub.ops.{path.stem}" for path in Path(sam_hub.__file__).parent.joinpath("ops").glob("[a-z]*.py")]
    assert len(modules) > 3
    assert loaded_by(f"import sam_hub.results, {', '.join(modules)}").isdisjoint({"torch", "transformers"})


def test_everything_mode_over_another_predictor_never_loads_torch():
    code = """
import json, sys
from types import SimpleNamespace
import numpy as np
from sam_hub import SamAutomaticMaskGenerator
from sam_hub.inference.upsample import MaskFrame

logits = np.full((1, 64, 64), -9, np.float32)
logits[0, 10:20, 10:30] = 9
predictor = SimpleNamespace(
    set_image=lambda image: None,
    reset_image=lambda: None,
    mask_frame=MaskFrame((256, 256), (256, 256), (200, 200)),
    click_each=lambda points, select: (np.ones((1, 1), np.float32), np.zeros((1, 2), int), logits),
)
for mode in ("binary_mask", "uncompressed_rle", "coco_rle"):
    generator = SamAutomaticMaskGenerator(predictor, 1, output_mode=mode, min_mask_region_area=9, non_overlapping=True)
    (record,) = generator.generate(np.zeros((200, 200, 3), np.uint8))
print(json.dumps([list(sys.modules), record["area"]]))
"""
    loaded, area = json.loads(run_python(code))
    assert {"torch", "transformers"}.isdisjoint(loaded) and 1900 < area < 2000


def test_a_photo_is_segmented_without_torch(tmp_path):
    """By the model inside the package, in the shell: importing torch takes longer than all the rest."""
    code = f"""
import json, sys
from sam_hub.cli import app
photo, out = {str(EXAMPLES / "cat.jpg")!r}, {str(tmp_path / "cat.png")!r}
app(["segment", photo, "--point", "200,150", "--out", out], standalone_mode=False)
print(json.dumps(list(sys.modules)))
"""
    loaded = json.loads(run_python(code).splitlines()[-1])
    assert {"torch", "transformers", "onnxruntime", "scipy", "huggingface_hub"}.isdisjoint(loaded)
    assert 20_000 < np.count_nonzero(np.asarray(Image.open(tmp_path / "cat.png"))) < 120_000


def test_the_model_does_load_torch():
    """The check above can see it."""
    assert {"torch", "transformers"} <= loaded_by("from sam_hub import SamModel")


def test_a_bare_import_is_quick():
    code = "import time; a = time.process_time(); import sam_hub; print(time.process_time() - a)"
    assert min(float(run_python(code)) for _ in range(3)) < 0.15


def test_help_is_quick():
    """In processor seconds of the whole process, which a busy machine does not stretch much."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        run_python("import sys; sys.argv = ['sam-hub', '--help']; from sam_hub.cli import main; main()")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(5)) < 0.4


@pytest.mark.parametrize("name", sam_hub.__all__)
def test_every_public_name_resolves(name):
    assert getattr(sam_hub, name) is not None
    assert name in dir(sam_hub)


def test_type_checkers_see_the_same_names():
    """The imports under TYPE_CHECKING are those that happen on first use."""
    (block,) = (node for node in ast.parse(Path(sam_hub.__file__).read_text()).body if isinstance(node, ast.If))
    seen = {alias.name: f".{line.module}" for line in block.body for alias in line.names}
    assert seen == sam_hub._HOMES
    assert {*seen, "__version__"} == set(sam_hub.__all__)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'SamModle'"):
        sam_hub.SamModle  # noqa: B018
