"""The Hub's storage: blobs by sha256, and repositories of commits."""

import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

LFS_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".onnx", ".pte", ".msgpack", ".h5", ".npz", ".zip", ".gz")
LARGE = 10 * 2**20
"""Files of at least this size go to LFS, as on the Hub."""

GITATTRIBUTES = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LFS_SUFFIXES).encode()


@dataclass(frozen=True)
class Entry:
    """A file in a commit. oid: of git: of the content, or of the pointer of a file in LFS."""

    sha256: str
    size: int
    lfs: bool
    oid: str

    @property
    def pointer(self) -> bytes:
        return pointer(self.sha256, self.size)


@dataclass
class Commit:
    sha: str
    parent: str | None
    title: str
    date: str
    files: dict[str, Entry]


@dataclass
class Repo:
    """A model. gated: False, "auto" or "manual"; allowed: users who have accepted the terms"""

    name: str
    private: bool = False
    gated: str | bool = False
    allowed: list[str] = field(default_factory=list)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)

    @property
    def owner(self) -> str:
        return self.name.split("/")[0]

    def resolve(self, revision: str) -> Commit | None:
        """A branch, a tag or a commit."""
        sha = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(sha)


def pointer(sha256: str, size: int) -> bytes:
    """What git keeps of a file in LFS."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


def git_oid(data: bytes) -> str:
    """git's name of a blob."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class Store:
    """All repositories, in a folder that can be reused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.repos: dict[str, Repo] = {}
        state = folder / "repositories.json"
        if state.exists():
            for kept in json.loads(state.read_text()):
                commits = kept.pop("commits")
                repo = Repo(**kept)
                for sha, commit in commits.items():
                    files = {path: Entry(**entry) for path, entry in commit.pop("files").items()}
                    repo.commits[sha] = Commit(**commit, files=files)
                self.repos[repo.name] = repo

    def save(self) -> None:
        aside = self.folder / f".{secrets.token_hex(4)}"
        aside.write_text(json.dumps([asdict(repo) for repo in self.repos.values()]))
        os.replace(aside, self.folder / "repositories.json")

    def create(self, name: str, private: bool = False) -> Repo:
        """A repository with the first commit that the Hub makes."""
        with self.lock:
            repo = self.repos[name] = Repo(name, private)
            self.commit(repo, "main", "initial commit", {".gitattributes": self.add(GITATTRIBUTES)})
            return repo

    def commit(self, repo: Repo, branch: str, title: str, changes: Mapping[str, Entry | None]) -> Commit:
        """Files added or replaced, or removed where the entry is None."""
        with self.lock:
            parent = repo.resolve(branch)
            files = dict(parent.files) if parent else {}
            for path, entry in changes.items():
                if entry is None:
                    files.pop(path, None)
                else:
                    files[path] = entry
            date = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            facts = [
                repo.name,
                branch,
                title,
                date,
                parent and parent.sha,
                sorted(f"{p} {e}" for p, e in files.items()),
            ]
            sha = hashlib.sha1(json.dumps(facts).encode()).hexdigest()
            repo.commits[sha] = done = Commit(sha, parent and parent.sha, title, date, files)
            repo.branches[branch] = sha
            self.save()
            return done

    def add(self, data: bytes, lfs: bool = False) -> Entry:
        """Keep a blob."""
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256):
            self.put(data)
        oid = git_oid(pointer(sha256, len(data)) if lfs else data)
        return Entry(sha256, len(data), lfs, oid)

    def put(self, data: bytes) -> str:
        sha256 = hashlib.sha256(data).hexdigest()
        aside = self.blobs / f".{secrets.token_hex(8)}"
        aside.write_bytes(data)
        os.replace(aside, self.blobs / sha256)
        return sha256

    def has(self, sha256: str) -> bool:
        return (self.blobs / sha256).is_file()

    def read(self, sha256: str) -> bytes:
        return (self.blobs / sha256).read_bytes()
