"""The local Hub itself, tested with the real client."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from local_hub import Fault

WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "onnx/encoder.onnx": b"graph", "README.md": b"# a"}


def test_uploads_and_downloads(hub, tmp_path):
    api = HfApi()
    assert api.whoami()["name"] == "alice"
    api.create_repo("alice/model", private=True)
    for name, data in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    done = api.upload_folder(repo_id="alice/model", folder_path=tmp_path, allow_patterns=list(FILES))
    assert api.model_info("alice/model").sha == done.oid and api.model_info("alice/model").private
    assert set(api.list_repo_files("alice/model")) == {".gitattributes", *FILES}
    tree = {f.path: f for f in api.list_repo_tree("alice/model", recursive=True)}
    assert tree["model.safetensors"].lfs.size == len(WEIGHTS) and tree["config.json"].lfs is None and "onnx" in tree
    assert [f.path for f in api.get_paths_info("alice/model", ["README.md", "absent"])] == ["README.md"]
    for name, data in FILES.items():
        assert Path(hf_hub_download("alice/model", name)).read_bytes() == data
    # the token stays at home: the content of large files is on another host
    assert all(token for _, path, _, token in hub.requests if "alice/model" in path)
    assert not any(token for _, path, _, token in hub.requests if path.startswith("/cdn"))


def test_large_files_in_parts(hub, tmp_path):
    hub.chunk = 70_000
    HfApi().create_repo("alice/model")
    HfApi().upload_file(path_or_fileobj=WEIGHTS, path_in_repo="model.safetensors", repo_id="alice/model")
    assert sum("/storage/" in path and method == "PUT" for method, path, *_ in hub.requests) == 5
    assert Path(hf_hub_download("alice/model", "model.safetensors")).read_bytes() == WEIGHTS


def test_branches_tags_and_a_commit_that_comes_too_late(hub):
    hub.upload("alice/model", FILES)
    api = HfApi()
    first = api.model_info("alice/model").sha
    api.create_branch("alice/model", branch="pr/one")
    api.create_tag("alice/model", tag="v1")
    add = {"path_or_fileobj": b"new", "path_in_repo": "config.json", "repo_id": "alice/model"}
    api.upload_file(**add, revision="pr/one")
    refs = api.list_repo_refs("alice/model")
    assert {b.name for b in refs.branches} == {"main", "pr/one"} and [t.name for t in refs.tags] == ["v1"]
    assert Path(hf_hub_download("alice/model", "config.json", revision="pr/one")).read_bytes() == b"new"
    assert Path(hf_hub_download("alice/model", "config.json", revision="v1")).read_bytes() == b"{}"
    api.upload_file(**add)
    with pytest.raises(HfHubHTTPError, match="412"):
        api.upload_file(**{**add, "path_or_fileobj": b"newer"}, parent_commit=first)
    api.delete_file("config.json", "alice/model")
    assert "config.json" not in api.list_repo_files("alice/model")


def test_a_commit_without_its_large_file_changes_nothing(hub):
    hub.upload("alice/model", FILES)
    before = hub.store.repos["alice/model"].branches["main"]
    lines = b'{"key": "header", "value": {"summary": "x"}}\n'
    lines += b'{"key": "file", "value": {"path": "a", "content": "YQ==", "encoding": "base64"}}\n'
    lines += b'{"key": "lfsFile", "value": {"path": "b", "algo": "sha256", "oid": "%s", "size": 3}}' % (b"0" * 64)
    answer = hub.handle("POST", "/api/models/alice/model/commit/main", {"Authorization": "Bearer hf_alice"}, lines)
    assert answer.status == 400 and hub.store.repos["alice/model"].branches["main"] == before


def test_who_may_see_what(hub, monkeypatch):
    hub.upload("alice/private", FILES, private=True)
    hub.upload("alice/gated", FILES, gated="manual")
    for token, name, error in (
        ("hf_bob", "alice/private", RepositoryNotFoundError),
        (False, "alice/private", RepositoryNotFoundError),
        ("hf_bob", "alice/gated", GatedRepoError),
        (False, "alice/gated", GatedRepoError),
        ("hf_bob", "alice/absent", RepositoryNotFoundError),
    ):
        with pytest.raises(error):
            hf_hub_download(name, "config.json", token=token)
    hub.store.repos["alice/gated"].allowed.append("bob")
    hf_hub_download("alice/gated", "config.json", token="hf_bob")
    hf_hub_download("alice/private", "config.json", token="hf_reader")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("alice/gated", "config.json", revision="v9")
    for token, status in (("hf_bob", "403"), ("hf_reader", "403"), ("hf_wrong", "401")):
        with pytest.raises(HfHubHTTPError, match=status):
            HfApi(token=token).upload_file(path_or_fileobj=b"x", path_in_repo="x", repo_id="alice/gated")


def test_faults(hub):
    hub.upload("alice/model", FILES)
    hub.faults = [
        Fault("resolve.*config", status=503, times=2),
        Fault("resolve.*README", status=429, headers={"Retry-After": "3"}),
        Fault("/cdn", drop_after=1000, times=2),
        Fault("/cdn", rate=3_000_000),
    ]
    folder = snapshot_download("alice/model")
    assert Path(folder, "model.safetensors").read_bytes() == WEIGHTS
    assert [fault.times for fault in hub.faults] == [0, 0, 0, 0]


def test_a_person_can_run_it(root, tmp_path):
    command = [sys.executable, "-m", "tests.hub.local_hub", "--port", "0", "--folder", str(tmp_path)]
    command += ["--fault", "status=503"]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()
        endpoint = line.split("HF_ENDPOINT=")[1].split()[0]
        with pytest.raises(HfHubHTTPError, match="503"):
            HfApi(endpoint=endpoint, token="hf_alice").whoami()
        HfApi(endpoint=endpoint, token="hf_alice").create_repo("alice/kept")
    finally:
        process.terminate()
        process.communicate(timeout=10)
    from local_hub.store import Store

    assert set(Store(tmp_path).repos) == {"alice/kept"}
