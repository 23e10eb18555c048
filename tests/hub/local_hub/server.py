"""The Hub's HTTP API, according to the source of ``huggingface_hub`` 2.4."""

import base64
import hashlib
import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from .faults import Fault
from .store import LARGE, LFS_SUFFIXES, Commit, Repo, Store
from .transport import Answer, Handler

TOKENS = {"hf_alice": "alice", "hf_bob": "bob", "hf_reader": "alice"}
"""Token -> user. "hf_reader" may not write."""

READ_ONLY = {"hf_reader"}

NAME = r"(?P<repo>[^/]+/[^/]+)"
ROUTES: list[tuple[str, str, str]] = [
    ("GET", r"/api/whoami-v2", "whoami"),
    ("POST", r"/api/validate-yaml", "validate_yaml"),
    ("POST", r"/api/repos/create", "create"),
    ("DELETE", r"/api/repos/delete", "delete"),
    ("PUT", rf"/api/models/{NAME}/settings", "settings"),
    ("GET", rf"/api/models/{NAME}/refs", "refs"),
    ("GET", rf"/api/models/{NAME}/revision/(?P<rev>[^/]+)", "info"),
    ("GET", rf"/api/models/{NAME}/commits/(?P<rev>[^/]+)", "commits"),
    ("GET", rf"/api/models/{NAME}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?", "tree"),
    ("POST", rf"/api/models/{NAME}/paths-info/(?P<rev>[^/]+)", "paths_info"),
    ("POST", rf"/api/models/{NAME}/branch/(?P<rev>[^/]+)", "create_branch"),
    ("DELETE", rf"/api/models/{NAME}/branch/(?P<rev>[^/]+)", "delete_branch"),
    ("POST", rf"/api/models/{NAME}/tag/(?P<rev>[^/]+)", "create_tag"),
    ("POST", rf"/api/models/{NAME}/preupload/(?P<rev>[^/]+)", "preupload"),
    ("POST", rf"/api/models/{NAME}/commit/(?P<rev>[^/]+)", "commit"),
    ("GET", rf"/api/models/{NAME}", "info"),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", "lfs_batch"),
    ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})", "upload"),
    ("PUT", r"/storage/(?P<oid>[0-9a-f]{64})/(?P<part>\d+)", "upload_part"),
    ("POST", r"/storage/(?P<oid>[0-9a-f]{64})/complete", "complete"),
    ("POST", r"/storage/(?P<oid>[0-9a-f]{64})/verify", "verify"),
    ("GET", rf"/{NAME}/(?:resolve|raw)/(?P<rev>[^/]+)/(?P<path>.+)", "resolve"),
    ("GET", r"/cdn/(?P<oid>[0-9a-f]{64})", "cdn"),
    ("GET", r"/files/(?P<path>.+)", "elsewhere"),
]


class Refused(Exception):
    """An answer that ends a request."""

    def __init__(self, status: int, code: str, message: str) -> None:
        self.answer = Answer(
            status,
            json.dumps({"error": message}).encode(),
            {"X-Error-Code": code, "X-Error-Message": message, "Content-Type": "application/json"},
        )


@dataclass
class Request:
    """One request. ``user`` is None without a token; ``asked`` are its parts that the route names."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    user: str | None
    token: str | None
    asked: dict[str, str]

    def json(self) -> Any:
        return json.loads(self.body or b"{}")


class LocalHub:
    """The server; as a context it runs in a thread.

    chunk: files above so many bytes are uploaded in parts; 0 for never
    requests: (method, path, Range header, whether a token came along) of every request so far
    faults: see `Fault`
    files: what lies "elsewhere" under /files/, for downloads that are not from the Hub
    ranges: whether part of a file can be asked for; without, each answer is all of it
    """

    def __init__(self, folder: Path, port: int = 0, chunk: int = 0, verbose: bool = False) -> None:
        self.store = Store(folder)
        self.tokens = dict(TOKENS)
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str, str | None, bool]] = []
        self.files: dict[str, bytes] = {}
        self.ranges = True
        self.chunk = chunk
        self.parts: dict[tuple[str, int], bytes] = {}
        self.httpd = ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, self, verbose))
        self.httpd.daemon_threads = True
        self.port = self.httpd.server_address[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.routes: list[tuple[str, re.Pattern[str], Callable[[Request], Answer]]] = [
            (method, re.compile(pattern), getattr(self, f"_{name}")) for method, pattern, name in ROUTES
        ]

    def serve(self) -> None:
        self.httpd.serve_forever(poll_interval=0.02)

    def __enter__(self) -> "LocalHub":
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.httpd.shutdown()
        self.httpd.server_close()

    def upload(self, name: str, files: Mapping[str, bytes], branch: str = "main", **settings: Any) -> Repo:
        """A repository with files, made without HTTP; ``settings`` are attributes of `Repo`."""
        repo = self.store.repos.get(name) or self.store.create(name)
        for key, value in settings.items():
            setattr(repo, key, value)
        entries = {path: self.store.add(data, lfs=path.endswith(LFS_SUFFIXES)) for path, data in files.items()}
        self.store.commit(repo, branch, "upload", entries)
        return repo

    def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """The right answer to a request."""
        parts = urlsplit(path)
        token = headers.get("Authorization", "").removeprefix("Bearer ") or None
        try:
            if token and token not in self.tokens:
                raise Refused(401, "", "Invalid credentials in Authorization header")
            for verb, pattern, answer in self.routes:
                match = pattern.fullmatch(parts.path)
                if match and verb == ("GET" if method == "HEAD" else method):
                    asked = {name: unquote(value) for name, value in match.groupdict().items() if value}
                    user = self.tokens.get(token or "")
                    query = parse_qs(parts.query, keep_blank_values=True)
                    request = Request(method, parts.path, query, headers, body, user, token, asked)
                    return answer(request)
            raise Refused(404, "", f"no such page: {method} {parts.path}")
        except Refused as refused:
            return refused.answer

    # Who may do what

    def _repo(self, request: Request, write: bool = False, content: bool = False) -> Repo:
        """The repository of a request, as far as its user may see, write or read it."""
        repo = self.store.repos.get(request.asked["repo"])
        if repo is None or (repo.private and request.user != repo.owner):
            raise Refused(401 if request.user is None else 404, "RepoNotFound", "Repository not found")
        if write:
            self._may_write(request, repo.owner)
        if content and repo.gated and request.user not in (repo.owner, *repo.allowed):
            message = f"Access to model {repo.name} is restricted. You must have access to it and be authenticated."
            raise Refused(401 if request.user is None else 403, "GatedRepo", message)
        return repo

    def _may_write(self, request: Request, owner: str) -> None:
        if request.user is None:
            raise Refused(401, "", "Unauthorized")
        if request.user != owner or request.token in READ_ONLY:
            raise Refused(403, "", f"You don't have the rights to write under {owner}")

    def _commit_of(self, request: Request, repo: Repo) -> Commit:
        revision = request.asked.get("rev", "main")
        commit = repo.resolve(revision)
        if commit is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit

    # Accounts and repositories

    def _whoami(self, request: Request) -> Answer:
        if request.user is None:
            raise Refused(401, "", "Unauthorized")
        role = "read" if request.token in READ_ONLY else "write"
        token = {"displayName": "test", "role": role}
        return as_json(type="user", name=request.user, fullname=request.user, orgs=[], auth={"accessToken": token})

    def _validate_yaml(self, request: Request) -> Answer:
        content = request.json()["content"]
        match = re.match(r"---\n(.*?)\n---(\n|$)", content, re.DOTALL)
        if not match:
            return as_json(errors=[], warnings=[{"message": "empty or missing yaml metadata in repo card"}])
        try:
            facts = yaml.safe_load(match[1])
            problems = [] if isinstance(facts, dict) else ["metadata must be a mapping"]
        except yaml.YAMLError as e:
            problems = [str(e)]
        else:
            problems += [f'"{key}" must be a string' for key in ("license", "pipeline_tag") if not _is_text(facts, key)]
        return as_json(400 if problems else 200, errors=[{"message": p} for p in problems], warnings=[])

    def _create(self, request: Request) -> Answer:
        wanted = request.json()
        owner = wanted.get("organization") or request.user
        self._may_write(request, owner or "")
        name = f"{owner}/{wanted['name']}"
        url = f"{self.endpoint}/{name}"
        with self.store.lock:
            if name in self.store.repos:
                return as_json(409, error="You already created this model repo", url=url)
            private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            self.store.create(name, private=private)
        return as_json(url=url, name=name)

    def _delete(self, request: Request) -> Answer:
        wanted = request.json()
        request.asked["repo"] = f"{wanted.get('organization') or request.user}/{wanted['name']}"
        repo = self._repo(request, write=True)
        with self.store.lock:
            del self.store.repos[repo.name]
            self.store.save()
        return as_json()

    def _settings(self, request: Request) -> Answer:
        repo, wanted = self._repo(request, write=True), request.json()
        with self.store.lock:
            if "visibility" in wanted or "private" in wanted:
                repo.private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
            repo.gated = wanted.get("gated", repo.gated)
            self.store.save()
        return as_json()

    def _info(self, request: Request) -> Answer:
        repo = self._repo(request)
        commit = self._commit_of(request, repo)
        siblings = []
        for path, entry in sorted(commit.files.items()):
            sibling: dict[str, Any] = {"rfilename": path}
            if "blobs" in request.query:
                sibling |= {"size": entry.size, "blobId": entry.oid}
                if entry.lfs:
                    pointer = len(entry.pointer)
                    sibling["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": pointer}
            siblings.append(sibling)
        facts = {"_id": git_like(repo.name), "id": repo.name, "modelId": repo.name, "sha": commit.sha, "tags": []}
        state = {"private": repo.private, "gated": repo.gated, "disabled": False, "lastModified": commit.date}
        return as_json(**facts, **state, downloads=0, likes=0, siblings=siblings)

    def _refs(self, request: Request) -> Answer:
        repo = self._repo(request)

        def listed(refs: Mapping[str, str], kind: str) -> list[dict[str, str]]:
            return [{"name": n, "ref": f"refs/{kind}/{n}", "targetCommit": sha} for n, sha in refs.items()]

        return as_json(branches=listed(repo.branches, "heads"), tags=listed(repo.tags, "tags"), converts=[])

    def _commits(self, request: Request) -> Answer:
        repo = self._repo(request)
        commit: Commit | None = self._commit_of(request, repo)
        found = []
        while commit:
            found.append({"id": commit.sha, "title": commit.title, "message": "", "authors": [], "date": commit.date})
            commit = repo.commits.get(commit.parent or "")
        return as_json(found)

    def _create_branch(self, request: Request) -> Answer:
        repo, name = self._repo(request, write=True), request.asked["rev"]
        with self.store.lock:
            if name in repo.branches:
                return as_json(409, error=f"Reference already exists: refs/heads/{name}")
            request.asked["rev"] = request.json().get("startingPoint", "main")
            repo.branches[name] = self._commit_of(request, repo).sha
            self.store.save()
        return as_json(201)

    def _delete_branch(self, request: Request) -> Answer:
        repo, name = self._repo(request, write=True), request.asked["rev"]
        if name == "main" or repo.branches.pop(name, None) is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {name}")
        self.store.save()
        return as_json()

    def _create_tag(self, request: Request) -> Answer:
        repo = self._repo(request, write=True)
        name = request.json()["tag"]
        if name in repo.tags:
            return as_json(409, error=f"Tag reference exists already: {name}")
        repo.tags[name] = self._commit_of(request, repo).sha
        self.store.save()
        return as_json(201)

    # Listings

    def _tree(self, request: Request) -> Answer:
        repo = self._repo(request)
        commit = self._commit_of(request, repo)
        below = request.asked.get("path", "").strip("/")
        below = f"{below}/" if below else ""
        deep = request.query.get("recursive", ["false"])[0].lower() in ("true", "1")
        found: dict[str, dict[str, Any]] = {}
        for path, entry in sorted(commit.files.items()):
            if not path.startswith(below):
                continue
            folders = path[len(below) :].split("/")[:-1]
            for depth in range(len(folders) if deep else min(1, len(folders))):
                name = below + "/".join(folders[: depth + 1])
                found.setdefault(name, {"type": "directory", "oid": git_like(name), "size": 0, "path": name})
            if deep or not folders:
                found[path] = _described(path, entry)
        if below and not found:
            raise Refused(404, "EntryNotFound", f"{below} does not exist")
        return as_json(list(found.values()))

    def _paths_info(self, request: Request) -> Answer:
        repo = self._repo(request)
        files = self._commit_of(request, repo).files
        body = request.body.decode()
        asked = request.json() if body.startswith("{") else parse_qs(body)
        return as_json([_described(path, files[path]) for path in asked["paths"] if path in files])

    # Uploads

    def _preupload(self, request: Request) -> Answer:
        repo = self._repo(request, write=True)
        files = self._commit_of(request, repo).files
        answers = []
        for file in request.json()["files"]:
            path, size = file["path"], file["size"]
            sample = base64.b64decode(file.get("sample", ""))
            large = path.endswith(LFS_SUFFIXES) or size >= LARGE or (b"\0" in sample and size > 100_000)
            there = files.get(path)
            oid = None if there is None else there.sha256 if there.lfs else there.oid
            mode = "lfs" if large else "regular"
            answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        return as_json(files=answers)

    def _lfs_batch(self, request: Request) -> Answer:
        self._repo(request, write=True)
        wanted = request.json()
        objects = []
        for item in wanted["objects"]:
            oid, size = item["oid"], item["size"]
            facts: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
            if not self.store.has(oid):
                facts["actions"] = {
                    "upload": self._upload_action(oid, size, "multipart" in wanted.get("transfers", [])),
                    "verify": {"href": f"{self.endpoint}/storage/{oid}/verify"},
                }
            objects.append(facts)
        return as_json(transfer="multipart" if self.chunk else "basic", objects=objects)

    def _upload_action(self, oid: str, size: int, multipart: bool) -> dict[str, Any]:
        href = f"{self.endpoint}/storage/{oid}"
        if not (self.chunk and multipart and size > self.chunk):
            return {"href": href}
        count = -(-size // self.chunk)
        header = {f"{i:05d}": f"{href}/{i}" for i in range(1, count + 1)}
        return {"href": f"{href}/complete", "header": {"chunk_size": str(self.chunk), **header}}

    def _upload(self, request: Request) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != request.asked["oid"]:
            raise Refused(400, "", "The content is not what was announced")
        self.store.put(request.body)
        return Answer()

    def _upload_part(self, request: Request) -> Answer:
        self.parts[request.asked["oid"], int(request.asked["part"])] = request.body
        return Answer(headers={"ETag": f'"{hashlib.md5(request.body).hexdigest()}"'})

    def _complete(self, request: Request) -> Answer:
        oid = request.asked["oid"]
        numbers = [part["partNumber"] for part in request.json()["parts"]]
        data = b"".join(self.parts.pop((oid, number)) for number in numbers)
        if hashlib.sha256(data).hexdigest() != oid:
            raise Refused(400, "", "The parts are not what was announced")
        self.store.put(data)
        return as_json(success=True)

    def _verify(self, request: Request) -> Answer:
        if not self.store.has(request.asked["oid"]):
            raise Refused(404, "", "The object was not uploaded")
        return as_json()

    def _commit(self, request: Request) -> Answer:
        repo, branch = self._repo(request, write=True), request.asked["rev"]
        if branch not in repo.branches:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {branch}")
        lines = [json.loads(line) for line in request.body.splitlines() if line]
        if not lines or lines[0]["key"] != "header":
            raise Refused(400, "", "A commit starts with its header")
        header = lines[0]["value"]
        with self.store.lock:
            if header.get("parentCommit") not in (None, repo.branches[branch]):
                raise Refused(412, "", "A commit has happened since. Please refresh and try again.")
            there = repo.commits[repo.branches[branch]].files
            changes: dict[str, Any] = {}
            for line in lines[1:]:
                key, value = line["key"], line["value"]
                if key == "file":
                    changes[value["path"]] = self.store.add(base64.b64decode(value["content"]))
                elif key == "lfsFile":
                    if not self.store.has(value["oid"]):
                        raise Refused(400, "", f"LFS pointer pointed to a file that does not exist: {value['path']}")
                    changes[value["path"]] = self.store.add(self.store.read(value["oid"]), lfs=True)
                elif key == "deletedFile":
                    if value["path"] not in there:
                        raise Refused(404, "EntryNotFound", "A file with this name doesn't exist")
                    changes[value["path"]] = None
                elif key == "deletedFolder":
                    changes |= {path: None for path in there if path.startswith(value["path"].rstrip("/") + "/")}
                else:
                    raise Refused(400, "", f"unknown key {key}")
            done = self.store.commit(repo, branch, header["summary"], changes)
        url = f"{self.endpoint}/{repo.name}/commit/{done.sha}"
        return as_json(success=True, commitUrl=url, commitOid=done.sha, hookOutput="")

    # Downloads

    def _resolve(self, request: Request) -> Answer:
        repo = self._repo(request, content=True)
        commit = self._commit_of(request, repo)
        entry = commit.files.get(request.asked["path"])
        if entry is None:
            refused = Refused(404, "EntryNotFound", "Entry not found")
            refused.answer.headers = {**refused.answer.headers, "X-Repo-Commit": commit.sha}
            raise refused
        headers = {"X-Repo-Commit": commit.sha, "Accept-Ranges": "bytes"}
        if not entry.lfs:
            return self._ranged(request, self.store.read(entry.sha256), {**headers, "ETag": f'"{entry.oid}"'})
        # As the Hub does: the content is on another host, where the token must not go.
        signature = secrets.token_hex(8)
        headers |= {
            "Location": f"http://localhost:{self.port}/cdn/{entry.sha256}?signature={signature}",
            "X-Linked-Size": str(entry.size),
            "X-Linked-ETag": f'"{entry.sha256}"',
        }
        return Answer(302, b"", headers)

    def _cdn(self, request: Request) -> Answer:
        if "signature" not in request.query or request.token:
            raise Refused(403, "", "This address needs a signature, and no token")
        if not self.store.has(request.asked["oid"]):
            raise Refused(404, "", "No such object")
        return self._ranged(request, self.store.read(request.asked["oid"]), {"ETag": f'"{request.asked["oid"][:32]}"'})

    def _elsewhere(self, request: Request) -> Answer:
        data = self.files.get(request.asked["path"])
        if data is None:
            return Answer(404)
        return self._ranged(request, data, {"ETag": f'"{hashlib.md5(data).hexdigest()}"'})

    def _ranged(self, request: Request, data: bytes, headers: Mapping[str, str]) -> Answer:
        """All of a file, or the part that a Range header asks for."""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
        if not (match and self.ranges):
            return Answer(200, data, headers)
        start, end = int(match[1]), min(int(match[2] or len(data) - 1), len(data) - 1)
        if start >= len(data):
            return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
        return Answer(206, data[start : end + 1], {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"})


def as_json(status_or_list: Any = 200, **facts: Any) -> Answer:
    """An answer in JSON: a list, or named facts with a status."""
    status, content = (200, status_or_list) if isinstance(status_or_list, list) else (status_or_list, facts)
    return Answer(status, json.dumps(content).encode(), {"Content-Type": "application/json; charset=utf-8"})


def git_like(text: str) -> str:
    return hashlib.sha1(text.encode()).hexdigest()


def _is_text(facts: Any, key: str) -> bool:
    return not isinstance(facts, dict) or isinstance(facts.get(key, ""), str)


def _described(path: str, entry: Any) -> dict[str, Any]:
    facts = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        facts["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": len(entry.pointer)}
    return facts
