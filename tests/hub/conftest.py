"""A local Hub for each test, used by the real client in this process."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from local_hub import LocalHub


@pytest.fixture
def endpoint_of(monkeypatch: pytest.MonkeyPatch):
    """Points the client at an endpoint, by its constants: it reads the environment only at import."""

    def point(endpoint: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", endpoint)
        monkeypatch.setattr("transformers.utils.hub._hf_api", None)

    return point


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client's home, empty: ``hub`` is its cache, ``assets`` where conversions are kept."""
    home = tmp_path / "home"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    monkeypatch.setattr(constants, "HF_ASSETS_CACHE", str(home / "assets"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    return home


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting between retries."""
    clock = SimpleNamespace(**{**vars(time), "sleep": lambda seconds: None})
    for module in ("huggingface_hub.utils._http", "huggingface_hub.file_download", "sam_hub.hub.download"):
        monkeypatch.setattr(f"{module}.time", clock)


@pytest.fixture
def hub(tmp_path: Path, cache: Path, endpoint_of, impatient, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    """The server, and the client logged in as alice."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_alice")
    with LocalHub(tmp_path / "server") as server:
        endpoint_of(server.endpoint)
        yield server
        huggingface_hub.close_session()


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch):
    """Call it to go offline."""

    def go() -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    return go


def files_below(folder: Path) -> set[str]:
    """Relative paths of all files, without locks."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture
def left_in(cache: Path):
    """The files in the client's home."""
    return lambda: files_below(cache)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    """(folder, model): a small ViT with random weights, which transformers can represent."""
    import torch

    from sam_hub import SamConfig, SamModel, SamProcessor

    vision = dict(
        hidden_size=16,
        output_channels=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_pos_feats=16,
        window_size=3,
        global_attn_indexes=[1],
        image_size=64,
    )
    torch.manual_seed(2)
    config = SamConfig(
        vision_config=vision,
        prompt_encoder_config=dict(hidden_size=32, image_size=64),
        mask_decoder_config=dict(hidden_size=32, mlp_dim=64, num_attention_heads=2, iou_head_hidden_dim=32),
    )
    model = SamModel(config).eval()
    folder = tmp_path_factory.mktemp("tiny") / "tiny"
    model.save_pretrained(folder)
    SamProcessor.for_config(config).save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="session")
def files_of():
    """A folder as {path: content}."""
    return lambda folder: {name: (folder / name).read_bytes() for name in files_below(folder)}
