"""The catalogue against the networks that it describes, built on the meta device."""

import json
from pathlib import Path

import pytest
import torch
import transformers

from sam_hub import convert
from sam_hub.errors import CheckpointError
from sam_hub.families import registry
from sam_hub.hub import locate
from sam_hub.models.configuration_sam import SamConfig
from sam_hub.models.layouts import original_family
from sam_hub.models.modeling_sam import SamModel
from sam_hub.zoo import ALIASES, FILES, ZOO, canonical_name, find_models, prompt_kinds, variant_of_file

GOLDEN = Path(__file__).parents[1] / "golden"
GOLDENS: dict[str, tuple[str, ...]] = {}
"""Which entries have the keys and shapes of which golden file."""
for family in registry.families():
    for golden, (_, names) in family.goldens.items():
        GOLDENS[golden] = GOLDENS.get(golden, ()) + names


def shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    """Key -> shape of the model that an entry describes."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in SamModel(SamConfig(**ZOO[name].config)).state_dict().items()}


@pytest.mark.parametrize("name", ZOO)
def test_the_number_of_parameters(name):
    with torch.device("meta"):
        model = SamModel(SamConfig(**ZOO[name].config))
    assert sum(p.numel() for p in model.parameters()) == ZOO[name].params
    assert model.config.vision_config.image_size == ZOO[name].image_size


@pytest.mark.parametrize("name", [name for name in ZOO if ZOO[name].family in convert.FAMILIES])
def test_its_original_file_is_recognised_and_fits(name):
    """Ours -> the original's keys -> what is read off them builds the same network."""
    ours = {key: torch.empty(shape, device="meta") for key, shape in shapes_of(name).items()}
    original = convert.to_original(ours, ZOO[name].family)
    family, settings, renamed = convert.to_ours(original)
    assert family == ZOO[name].family
    convert.check_complete(shapes_of(name), renamed)
    read, written = SamConfig(**settings), SamConfig(**ZOO[name].config)
    read.take_from(ZOO[name])
    assert read.to_dict() == written.to_dict()


@pytest.mark.parametrize("golden", GOLDENS)
def test_keys_and_shapes_are_the_references(golden):
    expected = {k: tuple(shape) for k, shape in json.loads((GOLDEN / f"{golden}.json").read_text())["keys"].items()}
    for name in GOLDENS[golden]:
        ours = {key: torch.empty(shape, device="meta") for key, shape in shapes_of(name).items()}
        back = convert.to_original(ours, ZOO[name].family)
        assert {key: tuple(value.shape) for key, value in back.items()} == expected


@pytest.mark.parametrize("size", ["tiny", "small", "base-plus", "large"])
def test_every_size_of_sam2_has_its_published_keys(size):
    """Those of tiny's golden file, but for the trunk, whose blocks and widths are the authors' settings."""
    blocks, width = {"tiny": (12, 96), "small": (16, 96), "base-plus": (24, 112), "large": (48, 144)}[size]
    golden = json.loads((GOLDEN / "sam2.1_hiera_tiny.json").read_text())["keys"]
    trunk = "image_encoder.trunk."
    for name, newer in ((f"sam2.1-hiera-{size}", True), (f"sam2-hiera-{size}", False)):
        with torch.device("meta"):
            model = SamModel(SamConfig(**ZOO[name].config))
        family = original_family(model)
        found = {k: tuple(v.shape) for k, v in convert.to_original(model.state_dict(), family).items()}
        wanted = {k: tuple(s) for k, s in golden.items() if not k.startswith(trunk)}
        later = ("obj_ptr_tpos_proj.", "no_obj_embed_spatial")  # only in 2.1, whose loader insists on them
        wanted = {k: s for k, s in wanted.items() if newer or not k.startswith(later)}
        for i in range(4):
            wanted[f"image_encoder.neck.convs.{i}.conv.weight"] = (256, width * 2 ** (3 - i), 1, 1)
        assert {k: s for k, s in found.items() if not k.startswith(trunk)} == wanted
        shared = {k.removeprefix(trunk).split(".", 2)[-1] for k in golden if k.startswith(f"{trunk}blocks.")}
        own = {k.removeprefix(trunk).split(".", 2)[-1] for k in found if k.startswith(f"{trunk}blocks.")}
        assert own == shared and f"{trunk}blocks.{blocks - 1}.norm1.weight" in found
        assert f"{trunk}blocks.{blocks}.norm1.weight" not in found
        assert convert.detect_family(found) == family
        read = SamConfig(**convert.to_ours({k: torch.empty(s, device="meta") for k, s in found.items()})[1])
        assert read.to_dict() == model.config.to_dict()


def test_sam2_is_written_back_as_it_was_published(tmp_path):
    """2 without what 2.1 has beyond it, also by way of a folder, which ``transformers`` reads."""
    with torch.device("meta"):
        model = SamModel(SamConfig(**ZOO["sam2-hiera-tiny"].config))
    assert original_family(model) == "sam2.0"
    model.config.save_pretrained(tmp_path)
    again = SamConfig.from_pretrained(tmp_path)
    assert again.original_layout == "sam2.0" and again.to_dict()["model_type"] == "sam2"
    assert transformers.Sam2Config.from_pretrained(tmp_path).vision_config.backbone_config.blocks_per_stage == [
        1,
        2,
        7,
        2,
    ]


def test_every_golden_has_an_entry():
    assert set(GOLDENS) == {file.stem for file in GOLDEN.glob("*.json")} - {"amg_utils"}


@pytest.mark.parametrize("golden", GOLDENS)
def test_what_is_no_such_checkpoint_is_refused(golden):
    spec = json.loads((GOLDEN / f"{golden}.json").read_text())
    keys = spec["keys"] | {key: shape for key, (shape, _) in spec.get("derived_buffers", {}).items()}
    weights = {key: torch.empty(shape, device="meta") for key, shape in keys.items()}
    family, settings, renamed = convert.to_ours(weights)
    with torch.device("meta"):
        model = SamModel(SamConfig(**settings))
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}

    with pytest.raises(CheckpointError, match=r"no known family .*backbone\.layer1"):
        convert.to_ours({f"backbone.layer{i}.weight": v for i, v in enumerate(weights.values())})
    with pytest.raises(CheckpointError, match=f"no {family} checkpoint has: head.weight"):
        convert.to_ours({**weights, "head.weight": torch.empty(1)})
    lost = next(key for key in renamed if key.startswith("mask_decoder.transformer"))
    with pytest.raises(CheckpointError, match=f"missing {lost}"):
        convert.check_complete(expected, {key: v for key, v in renamed.items() if key != lost})
    with pytest.raises(CheckpointError, match=r"mis-shaped mask_decoder\.iou_token\.weight"):
        convert.check_complete(expected, {**renamed, "mask_decoder.iou_token.weight": torch.empty(2, 256)})
    half = dict(list(weights.items())[: len(weights) // 3])  # cut short
    with pytest.raises(CheckpointError):
        convert.check_complete(expected, convert.to_ours(half)[2])


def test_names_and_files():
    assert all(canonical_name(name.upper()) == name for name in ZOO)
    assert all(target in ZOO for target in [*ALIASES.values(), *FILES.values()])
    assert canonical_name("facebook/sam-vit-base") == "sam-vit-b" and canonical_name("merve/TinySAM") == "tinysam"
    assert canonical_name("lkeab/hq-sam") is None  # it holds four
    assert (
        variant_of_file("tinysam_42.3.pth") is ZOO["tinysam"] and variant_of_file("medsam_vit_b.pth") is ZOO["medsam"]
    )
    assert variant_of_file("vit_b.pt") is None and variant_of_file("model.pth") is None


@pytest.mark.parametrize(
    "name", [name for name in ZOO if ZOO[name].file and not ZOO[name].repo.startswith("facebook/")]
)
def test_a_downloaded_file_is_told_by_its_name(name, tmp_path):
    file = tmp_path / ZOO[name].file
    file.touch()
    found = locate(file).variant
    twins = [v for v in ZOO.values() if v.file == ZOO[name].file]
    assert found is (ZOO[name] if len(twins) == 1 else None)


@pytest.mark.parametrize("name", ZOO)
def test_the_prompts_of_the_catalogue_are_those_of_the_model(name):
    assert tuple(prompt_kinds(ZOO[name])) == SamConfig(**ZOO[name].config).capabilities.prompts


def test_models_are_found_by_what_they_are():
    assert find_models() == list(ZOO)
    tiny = find_models(family="SAM2", under=32e6)
    assert tiny == ["sam2.1-hiera-tiny", "sam2-hiera-tiny"]
    assert find_models(family="sam-hq") == [name for name in ZOO if name.startswith("sam-hq")]
    free = find_models(licence="commercial")
    assert "edge-sam" not in free and "sam2.1-hiera-large" in free
    assert "edge-sam" in find_models(licence="S-Lab-1.0") and find_models(licence="gpl") == []
    masks = find_models(prompts=["masks"])
    assert "efficient-sam-ti" not in masks and "sam-vit-b" in masks
    assert "efficient-sam-ti" in find_models(prompts=["points", "boxes"])


def test_parts_for_videos_alone_are_named():
    keys = json.loads((GOLDEN / "sam2.1_hiera_tiny.json").read_text())["keys"]
    video = {key: torch.empty(shape, device="meta") for key, shape in keys.items() if key.startswith("memory_")}
    with pytest.raises(CheckpointError, match="only parts for video"):
        convert.to_ours(video)
    found, parts = convert.left_out(keys, "sam2")
    assert len(found) + sum(key.startswith(("image_", "sam_", "no_mem_embed")) for key in keys) == len(keys)
    assert "memory_attention" in parts and "image_encoder" not in parts


def test_hashes_and_revisions_look_like_such():
    for variant in ZOO.values():
        assert len(variant.sha256) in (0, 64) and set(variant.sha256) <= set("0123456789abcdef")
        assert len(variant.revision) in (0, 40) and set(variant.revision) <= set("0123456789abcdef")
    hashes = [variant.sha256 for variant in ZOO.values() if variant.sha256]
    assert len(set(hashes)) == len(hashes)
