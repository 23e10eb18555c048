"""Catalogue models published as original files: downloaded, checked, converted once, then usable offline."""

import hashlib
import io
import multiprocessing
import zipfile
from dataclasses import replace

import pytest
import torch
from local_hub import Fault
from typer.testing import CliRunner

from sam_hub import SamConfig, SamModel, SamProcessor
from sam_hub.cli import app
from sam_hub.errors import CheckpointError, HubError, ModelNotFoundError, PromptError
from sam_hub.hub import originals
from sam_hub.zoo import ZOO

NAME = "alice-sam"


@pytest.fixture(scope="session")
def original(tiny) -> bytes:
    """The small ViT as a file in the layout of the original project."""
    from sam_hub import convert

    content = io.BytesIO()
    torch.save(convert.to_original(tiny[1].state_dict(), "sam"), content)
    return content.getvalue()


@pytest.fixture
def entry(hub, original, tiny, monkeypatch):
    """A catalogue entry whose file is in a repository."""
    vision = tiny[1].config.vision_config.to_dict()
    decoder = tiny[1].config.mask_decoder_config.to_dict()
    variant = replace(
        ZOO["sam-vit-b"],
        repo="alice/original",
        file="alice_sam.pth",
        sha256=hashlib.sha256(original).hexdigest(),
        config={
            "vision_config": vision,
            "prompt_encoder_config": {"hidden_size": 32, "image_size": 64, "prompt_kinds": ["boxes"]},
            "mask_decoder_config": decoder,
            "preprocessing": {"resize_mode": "stretch"},
        },
    )
    hub.upload("alice/original", {"alice_sam.pth": original})
    monkeypatch.setitem(ZOO, NAME, variant)
    return variant


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """What a file does not tell of a network this small: its heads are 8 and the decoder's 2."""
    from sam_hub import convert

    read = convert.to_ours

    def to_ours(weights):
        family, settings, renamed = read(weights)
        settings["mask_decoder_config"] = dict(
            hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32
        )
        settings["prompt_encoder_config"]["hidden_size"] = 32
        settings["vision_config"] |= dict(num_pos_feats=16, output_channels=32)
        return family, settings, renamed

    monkeypatch.setattr(convert, "to_ours", to_ours)


def equal(a: SamModel, b: SamModel) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_converted_once_and_then_offline(hub, entry, tiny, offline, left_in):
    processor, config = SamProcessor.from_pretrained(NAME), SamConfig.from_pretrained(NAME)
    assert hub.requests == []  # the catalogue knows them
    model = SamModel.from_pretrained(NAME)
    assert equal(model, tiny[1])
    assert model.config.preprocessing == {"resize_mode": "stretch"} == config.preprocessing
    assert processor.image_processor.resize_mode == "stretch"
    with pytest.raises(PromptError):
        model(torch.zeros(1, 3, 64, 64), input_points=torch.zeros(1, 1, 1, 2))
    kept = {name.rpartition("/")[2] for name in left_in()}
    assert kept == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "processor_config.json",
        "README.md",
    }
    before = len(hub.requests)
    offline()
    assert equal(SamModel.from_pretrained(NAME), tiny[1]) and len(hub.requests) == before
    assert originals.is_converted(NAME)


def test_interrupted_and_continued(hub, entry, tiny, original):
    hub.faults = [Fault("/cdn", drop_after=50_000), Fault("resolve", "GET", skip=1, times=-1, status=500)]
    with pytest.raises(HubError, match="out of order"):
        SamModel.from_pretrained(NAME)
    hub.faults = []
    assert equal(SamModel.from_pretrained(NAME), tiny[1])
    assert [r for _, path, r, _ in hub.requests if path.startswith("/cdn")][-1] == "bytes=50000-"


def test_wrong_bytes(hub, entry, left_in, monkeypatch, tiny):
    hub.faults = [Fault("/cdn", flip=7777)]
    with pytest.raises(CheckpointError, match=r"arrived with sha256"):
        SamModel.from_pretrained(NAME)
    assert left_in() == set()
    monkeypatch.setitem(ZOO, NAME, replace(entry, sha256="0" * 64))
    with pytest.raises(CheckpointError, match=r"instead of the catalogue's 0000.*: it was replaced"):
        SamModel.from_pretrained(NAME)
    assert left_in() == set()


def test_code_in_a_file_is_refused_and_not_kept(hub, entry, left_in, monkeypatch):
    class Evil:
        def __reduce__(self):
            return (print, ("executed",))

    content = io.BytesIO()
    torch.save({"model": Evil()}, content)
    hub.upload("alice/original", {"alice_sam.pth": content.getvalue()})
    monkeypatch.setitem(ZOO, NAME, replace(entry, sha256=""))
    with pytest.raises(CheckpointError, match="is refused"):
        SamModel.from_pretrained(NAME)
    assert left_in() == set()


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "zip"])
def test_from_elsewhere(hub, entry, tiny, original, monkeypatch, packed):
    """Not on the Hub, or removed from it; no token is sent; downloads resume if the file is unchanged."""
    name, data = "alice_sam.pth", original
    if packed:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("weights/alice_sam.pth", original)
        name, data = "alice_sam.pth.zip", content.getvalue()
    hub.files[name] = data
    url = f"{hub.endpoint}/files/{name}"
    monkeypatch.setitem(ZOO, NAME, replace(entry, repo="alice/gone", url=url))
    hub.faults = [Fault("/files", "GET", drop_after=40_000)]
    assert equal(SamModel.from_pretrained(NAME), tiny[1])
    there = [(method, r, token) for method, path, r, token in hub.requests if path.startswith("/files")]
    assert there == [("HEAD", None, False), ("GET", None, False), ("GET", "bytes=40000-", False)]
    del hub.files[name]
    with pytest.raises(ModelNotFoundError, match="is gone"):
        SamModel.from_pretrained(NAME, force_download=True)


def _load(queue, name: str, entry, settings: dict) -> None:
    """In another process."""
    try:
        from huggingface_hub import constants

        for key, value in settings.items():
            setattr(constants, key, value)
        ZOO[name] = entry
        queue.put({k: v.sum().item() for k, v in SamModel.from_pretrained(name).state_dict().items()})
    except BaseException as e:
        queue.put(repr(e))


def test_two_processes_at_the_same_time(hub, entry, tiny, original):
    """One downloads and converts, the other waits, and both load the model."""
    from huggingface_hub import constants

    names = ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_HUB_DISABLE_XET")
    settings = {name: getattr(constants, name) for name in names}
    hub.faults = [Fault("/cdn", rate=len(original) * 2)]  # half a second
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    processes = [fork.Process(target=_load, args=(queue, NAME, entry, settings)) for _ in range(2)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(30)
    expected = {k: v.sum().item() for k, v in tiny[1].state_dict().items()}
    assert found == [expected, expected]
    assert sum(path.startswith("/cdn") for _, path, *_ in hub.requests) == 1


def test_pull(hub, entry, offline, monkeypatch):
    result = CliRunner().invoke(app, ["pull", NAME, "pocket"])
    assert result.exit_code == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first == f"{NAME}: {originals.converted_home(NAME)}" and second.startswith("pocket: ")
    before = len(hub.requests)
    assert CliRunner().invoke(app, ["pull", NAME, "--json"]).exit_code == 0 and len(hub.requests) == before
    assert CliRunner().invoke(app, ["pull", NAME, "--force"]).exit_code == 0 and len(hub.requests) > before
    assert CliRunner().invoke(app, ["pull", NAME, "pocket", "--revision", "v1"]).exit_code == 2
    offline()
    monkeypatch.setitem(ZOO, "other", entry)
    with pytest.raises(HubError, match="`sam-hub pull other` with a network"):
        SamModel.from_pretrained("other")


def test_every_file_of_the_catalogue_has_a_place():
    for name, variant in ZOO.items():
        assert variant.repo or variant.url or name == "pocket"
        assert variant.file or variant.repo or name == "pocket"
