"""The Kotlin snippets are compiled and run, with stand-ins for Android and the runtimes that check what is fed.

Needs ``kotlinc`` (Debian's package kotlin) and a Java runtime. The stand-ins restate signatures of the Java sources of
onnxruntime, LiteRT and ExecuTorch.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from sam_hub.exporters.manifest import Artefact, FileRecord, Manifest, Tensor
from sam_hub.exporters.snippets import write_snippets

from sam_hub.families import registry
from sam_hub.inference.runtime import read_preparation
from sam_hub.models.image_processing_sam import SamImageProcessor
from sam_hub.ops.preparation import Preparation

STUBS = Path(__file__).parent / "kotlin"
STDLIB = Path("/usr/share/java/kotlin-stdlib.jar")
SLOTS, SIDE, WIDTH = 8, 96, 64
needs_kotlin = pytest.mark.skipif(
    not (shutil.which("kotlinc") and shutil.which("java") and STDLIB.is_file()), reason="no kotlinc: apt install kotlin"
)


def slot_artefact(format: str, suffix: str, fine: bool) -> Artefact:
    """As Core ML's relatives are exported: the decoder reads the encoder's outputs around the prompt."""
    maps = [Tensor("image_embedding", "float32", [1, WIDTH, SIDE // 16, SIDE // 16])]
    if fine:
        maps += [Tensor(f"stride_{n}", "float32", [1, WIDTH // n, SIDE // n, SIDE // n]) for n in (8, 4)]
    low = SIDE // 4
    prompt = [
        Tensor("points", "float32", [1, SLOTS, 2]),
        Tensor("labels", "int32", [1, SLOTS]),
        Tensor("mask_input", "float32", [1, 1, low, low]),
        Tensor("has_mask_input", "float32", [1]),
    ]
    found = [Tensor("low_res_masks", "float32", [1, 3, low, low]), Tensor("scores", "float32", [1, 3])]
    pixels = [Tensor("pixel_values", "float32", [1, 3, SIDE, SIDE])]
    folder, facts = f"{format}/fp32", {"slots": SLOTS}
    encoder = FileRecord(f"{folder}/image_encoder.{suffix}", "encoder", pixels, maps, facts=facts)
    decoder = FileRecord(f"{folder}/mask_decoder.{suffix}", "decoder", maps[:1] + prompt + maps[1:], found, facts=facts)
    return Artefact(format, "fp32", "", [encoder, decoder])


def sizes(tensors: list[Tensor]) -> str:
    return " ".join("x".join(map(str, tensor.shape)) for tensor in tensors)


def program(folder: Path, onnx_bundle: Path, preparation: Preparation, fine: bool) -> Path:
    """The snippets of all formats with their stand-ins, compiled; the files' inputs are written beside their paths."""
    manifest = Manifest.read(onnx_bundle)
    manifest.artefacts = [a for a in manifest.artefacts if a.layout == "transformersjs"]
    manifest.tools["executorch"] = "1.5.1"
    for record in manifest.artefacts[0].files:
        session = onnxruntime.InferenceSession(onnx_bundle / record.path, providers=["CPUExecutionProvider"])
        (folder / record.path).parent.mkdir(parents=True, exist_ok=True)
        names = [" ".join(value.name for value in values) for values in (session.get_inputs(), session.get_outputs())]
        (folder / f"{record.path}.names").write_text("\n".join(names))
    for artefact in (slot_artefact("executorch", "pte", fine), slot_artefact("litert", "tflite", fine)):
        manifest.artefacts.append(artefact)
        for record in artefact.files:
            (folder / record.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{record.path}.names").write_text(f"{sizes(record.inputs)}\n{sizes(record.outputs)}")
    written = write_snippets(folder, manifest, preparation)
    names = ["SegmentOnnx.kt", "Photo.kt", "SegmentExecuTorch.kt", "SegmentLiteRt.kt"]
    assert {Path(path).name for path in written} >= {*names} and len(written) == len({*written})
    sources = [*(folder / "android" / name for name in names), *STUBS.glob("*.kt")]
    jar = folder / "snippets.jar"
    done = subprocess.run(["kotlinc", "-nowarn", *sources, "-d", jar], capture_output=True, text=True)
    assert jar.is_file(), done.stderr
    return jar


def run(jar: Path, photo: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `Photo` makes of an RGB photo: scales along x and y, and pixels; every snippet takes a click, too."""
    height, width = photo.shape[:2]
    argb = (255 << 24) + (photo.astype(np.int64) << np.array([16, 8, 0])).sum(-1)
    given, out = jar.with_name("photo"), jar.with_name("pixels")
    given.write_bytes(np.array([width, height], ">u4").tobytes() + argb.astype(">u4").tobytes())
    command = ["java", "-cp", f"{jar}:{STDLIB}", "MainKt", jar.parent, given, out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout.strip() == "done", done.stderr
    found = np.fromfile(out, ">f4")
    return found[:2], found[2:].reshape(3, SIDE, SIDE)


@needs_kotlin
def test_snippets_feed_every_map_that_the_decoder_reads(fine_bundle: Callable, tmp_path: Path):
    _, bundle = fine_bundle("pocket")
    preparation = read_preparation(bundle)
    photo = np.random.default_rng(0).integers(0, 256, (SIDE // 2, SIDE, 3), dtype=np.uint8)
    scales, pixels = run(program(tmp_path, bundle, preparation, True), photo)
    np.testing.assert_array_equal(scales, 1)
    np.testing.assert_allclose(pixels, preparation(photo).pixel_values[0], atol=1e-5)


@needs_kotlin
def test_snippets_prepare_photos_as_medsam_does(repvit_bundle: tuple, tmp_path: Path):
    """Both sides are stretched, and the darkest level is 0 and the lightest 1; SAM's decoder has other inputs."""
    model, bundle = repvit_bundle
    processor = SamImageProcessor.for_config(model.config)
    medsam = next(family for family in registry.built_in() if family.name == "medsam")
    settings = next(iter(medsam.catalogue.values())).config["preprocessing"]
    processor.resize_mode, processor.do_min_max = settings["resize_mode"], settings["do_min_max"]
    assert (processor.resize_mode, processor.do_min_max) == ("stretch", True)
    preparation = Preparation.from_settings(processor.to_dict())
    jar = program(tmp_path, bundle, preparation, False)
    photo = np.random.default_rng(0).integers(20, 201, (SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(jar, photo)[1], preparation(photo).pixel_values[0], atol=1e-5)
    scales, _ = run(jar, photo[: SIDE // 2, :5])
    np.testing.assert_allclose(scales, [SIDE / 5, 2])
