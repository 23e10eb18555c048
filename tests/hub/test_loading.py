"""Loading by id: the arguments of ``from_pretrained``, resumed, checked, offline; every failure one sentence."""

import random
import re
import time
from types import SimpleNamespace

import pytest
import torch
from local_hub import Fault
from typer.testing import CliRunner

from sam_hub import SamConfig, SamModel, SamProcessor
from sam_hub.cli import app
from sam_hub.errors import CheckpointError, HubError, ModelNotFoundError
from sam_hub.hub.download import Repository, download, sha256_of
from sam_hub.inference.concepts import load_tokenizer
from sam_hub.inference.text import TextDetector

NAME = "alice/tiny"


@pytest.fixture
def published(hub, tiny, files_of):
    """The repository of a small ViT."""
    folder, _ = tiny
    return hub.upload(NAME, files_of(folder))


def equal(a: SamModel, b: SamModel) -> bool:
    x, y = a.state_dict(), b.state_dict()
    return x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)


def test_by_id_and_by_revision_and_offline(hub, published, tiny, files_of, offline):
    folder, model = tiny
    first = published.branches["main"]
    assert equal(SamModel.from_pretrained(NAME), model)
    changed = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    other = SamModel(model.config)
    other.load_state_dict(changed)
    other.save_pretrained(folder.parent / "changed")
    hub.upload(NAME, files_of(folder.parent / "changed"), branch="main")
    published.tags["v1"] = first
    assert equal(SamModel.from_pretrained(NAME), other)
    assert equal(SamModel.from_pretrained(NAME, revision="v1"), model)
    assert equal(SamModel.from_pretrained(NAME, revision=first), model)
    SamProcessor.from_pretrained(NAME, revision="v1")
    SamProcessor.from_pretrained(NAME)

    before = len(hub.requests)
    offline()
    assert equal(SamModel.from_pretrained(NAME), other)
    assert equal(SamModel.from_pretrained(NAME, revision="v1"), model)
    assert SamProcessor.from_pretrained(NAME).image_processor.size["longest_edge"] == 64
    assert SamConfig.from_pretrained(NAME).vision_config.hidden_size == model.config.vision_config.hidden_size
    assert len(hub.requests) == before


def test_what_was_pulled_loads_without_a_network(hub, published, tiny, offline):
    result = CliRunner().invoke(app, ["pull", NAME])
    assert result.exit_code == 0 and published.branches["main"] in result.stdout
    before = len(hub.requests)
    offline()
    assert equal(SamModel.from_pretrained(NAME), tiny[1])
    assert SamProcessor.from_pretrained(NAME).image_processor.size["longest_edge"] == 64
    assert CliRunner().invoke(app, ["pull", NAME]).exit_code == 0
    assert len(hub.requests) == before


def test_arguments(hub, published, tiny, files_of, tmp_path, offline):
    folder, model = tiny
    files = files_of(folder)
    hub.upload("alice/nested", {f"deep/{name}": data for name, data in files.items()}, private=True)
    where = {"subfolder": "deep", "token": "hf_alice", "cache_dir": tmp_path / "elsewhere"}
    loaded = SamModel.from_pretrained("alice/nested", **where, dtype=torch.float16, device_map="cpu")
    assert loaded.dtype == torch.float16 and loaded.device.type == "cpu"
    assert SamProcessor.from_pretrained("alice/nested", **where).image_processor.size["longest_edge"] == 64
    assert SamConfig.from_pretrained("alice/nested", **where).vision_config.image_size == 64
    assert equal(SamModel.from_pretrained("alice/nested", **where, local_files_only=True), model)
    with pytest.raises(HubError, match="not in the cache"):
        SamModel.from_pretrained("alice/nested", subfolder="deep", local_files_only=True)


def test_shards(hub, tiny, files_of, tmp_path):
    model = tiny[1]
    model.save_pretrained(tmp_path / "shards", max_shard_size="40KB")
    files = files_of(tmp_path / "shards")
    assert sum(name.endswith(".safetensors") for name in files) > 2 and "model.safetensors.index.json" in files
    hub.upload(NAME, files)
    assert equal(SamModel.from_pretrained(NAME), model)
    hub.upload("alice/lost", {k: v for k, v in files.items() if "00002-of" not in k})
    with pytest.raises(ModelNotFoundError, match=r"alice/lost lacks model-00002-of-\d+\.safetensors"):
        SamModel.from_pretrained("alice/lost")


def test_twenty_interruptions(hub, tmp_path, left_in):
    """A download cut at random bytes, within one process and across many, resumes and is bit for bit right."""
    data = random.Random(0).randbytes(3_000_000)
    hub.upload("alice/large", {"model.safetensors": data})
    cuts = [random.Random(i).randrange(1, 140_000) for i in range(20)]
    hub.faults = [Fault("/cdn", "GET", drop_after=n) for n in cuts]
    path = Repository("alice/large").fetch("model.safetensors")
    assert path.read_bytes() == data
    starts = [range_ for method, path, range_, _ in hub.requests if path.startswith("/cdn") and method == "GET"]
    assert len(starts) == 21 and starts[0] is None
    positions = [int(re.fullmatch(r"bytes=(\d+)-", s)[1]) for s in starts[1:]]
    assert positions == [sum(cuts[: i + 1]) for i in range(20)]  # not a byte twice


def test_a_process_that_died_is_continued(hub, monkeypatch, left_in):
    data = random.Random(1).randbytes(1_000_000)
    hub.upload("alice/large", {"model.safetensors": data})
    got = 0
    for cut in (300_000, 200_000):
        dead = Fault("resolve.*safetensors", "GET", skip=1, times=-1, status=500)
        hub.faults = [Fault("/cdn", drop_after=cut), dead]
        with pytest.raises(HubError, match="out of order just now"):
            Repository("alice/large").fetch("model.safetensors")
        got += cut
        (part,) = (name for name in left_in() if name.endswith(".incomplete"))
    hub.faults = []
    del hub.requests[:]
    assert Repository("alice/large").fetch("model.safetensors").read_bytes() == data
    assert [r for _, path, r, _ in hub.requests if path.startswith("/cdn")] == [f"bytes={got}-"]
    assert part not in left_in()


def test_wrong_bytes_are_thrown_away(hub, published, left_in, tiny):
    hub.faults = [Fault("/cdn", flip=5000)]
    with pytest.raises(CheckpointError, match=r"arrived with sha256 .* instead of .*; try again"):
        SamModel.from_pretrained(NAME)
    assert not [name for name in left_in() if "safetensors" in name or name.endswith(".incomplete")]
    assert equal(SamModel.from_pretrained(NAME), tiny[1])


def test_a_damaged_beginning_is_fetched_again(hub, cache, tmp_path):
    data = random.Random(2).randbytes(200_000)
    hub.files["weights.pt"] = data
    (tmp_path / "weights.pt.incomplete").write_bytes(bytes(1000))
    (tmp_path / "whole").write_bytes(data)
    target = download(f"{hub.endpoint}/files/weights.pt", tmp_path / "weights.pt", sha256=sha256_of(tmp_path / "whole"))
    assert target.read_bytes() == data
    assert [r for _, _, r, _ in hub.requests] == ["bytes=1000-", None]


def test_a_server_that_always_sends_all_of_a_file(hub, tmp_path, monkeypatch):
    """It ignores the Range header, so the partial file is discarded."""
    data = random.Random(3).randbytes(200_000)
    hub.files["weights.pt"] = data
    monkeypatch.setattr(hub, "ranges", False)
    hub.faults = [Fault("/files", "GET", drop_after=50_000)]
    assert download(f"{hub.endpoint}/files/weights.pt", tmp_path / "weights.pt").read_bytes() == data
    assert [r for _, _, r, _ in hub.requests] == [None, "bytes=50000-"]


FAILURES = {
    "wrong token": (dict(token="hf_wrong"), "log in again with `hf auth login`"),
    "gated": (dict(gated="auto", token="hf_bob"), r"is gated: log in .* and accept its terms at http\S+/alice/tiny"),
    "gated, not logged in": (dict(gated="auto", token=None), "accept its terms"),
    "private": (dict(private=True, token="hf_bob"), "no repository alice/tiny .* check the name, and log in"),
    "absent": (dict(name="alice/absent"), "no repository alice/absent"),
    "absent, not logged in": (dict(name="alice/absent", token=None), "no repository alice/absent"),
    "no revision": (dict(revision="v9"), "alice/tiny has no revision 'v9'"),
    "no model": (dict(files={"README.md": b"hello"}), r"alice/tiny holds no config\.json"),
    "forbidden": (dict(fault=Fault("resolve", status=403, times=-1)), "gives no access to alice/tiny"),
    "too many": (
        dict(fault=Fault("resolve", status=429, times=-1, headers={"Retry-After": "7"})),
        "again in 7 seconds",
    ),
    "unavailable": (dict(fault=Fault("resolve", status=503, times=-1)), r"out of order just now \(status 503\)"),
    "offline": (dict(offline=True), "not in the cache .* `sam-hub pull alice/tiny` with a network"),
    "hung up": (dict(fault=Fault("/cdn", drop_after=0, times=-1)), "cannot be reached .* check the connection"),
    "wrong hash": (dict(fault=Fault("/cdn", flip=9, times=-1)), "arrived with sha256"),
    "no name": (dict(name="a b/c"), r"'a b/c' is no name of a repository"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_one_sentence_each(case, hub, tiny, files_of, monkeypatch, offline, left_in, root):
    """Exit code 1, one line, no traceback, and nothing half-written in the cache."""
    facts, expected = FAILURES[case]
    settings = {key: facts[key] for key in ("private", "gated") if key in facts}
    hub.upload(NAME, facts.get("files") or files_of(tiny[0]), **settings)
    if "token" in facts:
        monkeypatch.setenv("HF_TOKEN", facts["token"]) if facts["token"] else monkeypatch.delenv("HF_TOKEN")
    if "fault" in facts:
        fault = facts["fault"]
        hub.faults = [Fault(**{**vars(fault), "hits": 0})]
    if facts.get("offline"):
        offline()
    command = ["segment", str(root / "examples" / "cat.jpg"), "--point", "1,1", "--model", facts.get("name", NAME)]
    if "revision" in facts:
        with pytest.raises(ModelNotFoundError, match=expected):
            SamModel.from_pretrained(NAME, revision=facts["revision"])
        command = ["pull", NAME, "--revision", facts["revision"]]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 1 and result.stdout == ""
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert re.search(expected, line) and "Traceback" not in result.stderr and "unexpected error" not in line
    left = left_in()
    assert not [name for name in left if "safetensors" in name]
    if case != "hung up":
        assert not [name for name in left if name.endswith(".incomplete")]


def test_without_a_server(cache, endpoint_of, impatient):
    endpoint_of("http://127.0.0.1:9")  # nobody is there
    with pytest.raises(HubError, match=r"http://127\.0\.0\.1:9 cannot be reached and alice/tiny is not in the cache"):
        SamModel.from_pretrained(NAME)


def never(seconds: float) -> None:
    raise AssertionError("it waits, although no answer can come")


@pytest.mark.parametrize("load", [SamModel.from_pretrained, TextDetector.from_pretrained, load_tokenizer])
def test_without_a_network_it_refuses_at_once(cache, endpoint_of, monkeypatch, load):
    """The client alone would retry six times, for half a minute."""
    endpoint_of("http://127.0.0.1:9")
    for module in ("huggingface_hub.utils._http", "sam_hub.hub.download"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(**{**vars(time), "sleep": never}))
    with pytest.raises(HubError, match=r"cannot be reached and alice/tiny is not in the cache"):
        load(NAME)


def test_processor_and_configuration_fail_alike(hub, published):
    for load in (SamProcessor.from_pretrained, SamConfig.from_pretrained):
        with pytest.raises(ModelNotFoundError, match="no repository alice/absent"):
            load("alice/absent")
    published.gated = "manual"
    for load in (SamProcessor.from_pretrained, SamConfig.from_pretrained, SamModel.from_pretrained):
        with pytest.raises(HubError, match="is gated"):
            load(NAME, token="hf_bob")


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1])])
def test_pull_mends_a_damaged_file_in_the_cache(hub, published, cache, tiny, offline, damage):
    """With another length or a wrong byte; without a network, it is reported."""
    SamModel.from_pretrained(NAME)
    (link,) = cache.rglob("snapshots/*/model.safetensors")
    blob = link.resolve()
    sound = blob.read_bytes()
    blob.write_bytes(damage(sound))
    assert CliRunner().invoke(app, ["pull", NAME]).exit_code == 0
    assert link.resolve().read_bytes() == sound
    link.resolve().write_bytes(damage(sound))
    offline()
    result = CliRunner().invoke(app, ["pull", NAME])
    assert result.exit_code == 1 and "is damaged in the cache" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "index",
    [b"{", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": {"a": 5}}', b'{"weight_map": {"a": ["b"]}}']
    + [b'{"weight_map": {"a": "%s"}}' % name for name in (b"../x.safetensors", b"/etc/passwd", b"x.bin")],
)
def test_odd_names_of_shards_are_named(hub, tiny, files_of, index):
    files = {name: data for name, data in files_of(tiny[0]).items() if name != "model.safetensors"}
    hub.upload("alice/odd", {**files, "model.safetensors.index.json": index})
    with pytest.raises(CheckpointError, match="report it to its authors"):
        SamModel.from_pretrained("alice/odd")


def test_a_cache_that_takes_no_files_is_named(hub, published, monkeypatch):
    def refuse(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", "/cache")

    monkeypatch.setattr("sam_hub.hub.download.download", refuse)
    with pytest.raises(HubError, match="HF_HOME"):
        SamModel.from_pretrained(NAME)
