"""Streams of tars: processes share one without repeating samples, and compressed ones are bounded."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from sam_hub.data.sa1b import Sa1bDataset
from sam_hub.data.stream import ShardStream, expand, read_pairs
from sam_hub.errors import DataError
from sam_hub.ops.masks import mask_to_rle
from sam_hub.training.episodes import EpisodeStream, ViewPreparation, collate
from sam_hub.training.recipe import FINE_TUNING

SIDE = 64


def shard(path: Path, count: int, mode: str = "w", broken: int | None = None) -> Path:
    """Photos of one grey level each, by which they are identified."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10:50, 10:50] = True
    text = json.dumps({"annotations": [{"segmentation": mask_to_rle(mask), "bbox": [10, 10, 40, 40]}]}).encode()
    with tarfile.open(path, mode) as tar:
        for i in range(count):
            picture = io.BytesIO()
            Image.new("RGB", (SIDE, SIDE), (5 * i + 5,) * 3).save(picture, "PNG")
            content = b"broken" if i == broken else picture.getvalue()
            for suffix, data in ((".png", content), (".txt", b"x"), (".json", text)):
                info = tarfile.TarInfo(f"a/{i}{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def test_processes_share_a_stream_by_whole_batches(tmp_path: Path):
    shard(tmp_path / "s.tar", 12, broken=3)
    stream = lambda: ShardStream([str(tmp_path / "s.tar")], seed=1, buffer=4)  # noqa: E731

    def taken(process: int, processes: int, batch: int) -> dict[int, str]:
        part = stream().share(process, processes, batch)
        return {n: s.name for (n, s), _ in zip(part, range(11 // processes), strict=False)}

    whole = taken(0, 1, 2)
    assert len(set(whole.values())) == 11
    parts = [taken(i, 3, 2) for i in range(3)]
    for i, part in enumerate(parts):
        assert len(part) == 3 and all(n // 2 % 3 == i and whole.get(n, name) == name for n, name in part.items())
    assert [s.name for s, _ in zip(stream(), range(11), strict=False)] == list(whole.values())


@pytest.mark.parametrize("plain", [False, True], ids=["a stream of tars", "any iterable"])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, plain: bool):
    """Real worker processes: the same batches in the same order, none twice."""
    shard(tmp_path / "s.tar", 8)
    preparation = ViewPreparation(SIDE, SIDE, (127.0,) * 3, (128.0,) * 3)
    source = list(Sa1bDataset(tmp_path / "s.tar")) if plain else ShardStream([str(tmp_path / "s.tar")], buffer=3)

    def seen(workers: int) -> list[list[float]]:
        episodes = EpisodeStream(source, FINE_TUNING, 8, preparation)
        loader = DataLoader(episodes, batch_size=FINE_TUNING.images, num_workers=workers, collate_fn=collate)
        return [batch["seeds"].tolist() + batch["pixel_values"].mean((1, 2, 3)).tolist() for batch in loader]

    alone = seen(0)
    assert len(alone) == 4 and len({seed for batch in alone for seed in batch[:2]}) == 8
    assert seen(2) == alone and seen(5) == alone


def bomb(path: Path, size: int, kind: bytes = tarfile.REGTYPE) -> Path:
    """A compressed tar with one entry of many zeros."""
    info = tarfile.TarInfo("a.png")
    info.size, info.type = size, kind
    with gzip.open(path, "wb", 1) as packed:
        packed.write(info.tobuf())
        for _ in range(0, size, 2**20):
            packed.write(bytes(min(2**20, size)))
        packed.write(bytes(1024))
    return path


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE])
def test_an_entry_of_a_tar_is_bounded_before_it_is_read(tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam_hub.data.stream.MEMBER_BYTES", 2**20)
    path = bomb(tmp_path / "s.tar.gz", 8 * 2**20, kind)
    with pytest.raises(DataError, match=r"s\.tar\.gz.*(more than|claims)"):
        next(read_pairs(str(path)))
    (tmp_path / "s.tar").write_bytes(gzip.decompress(path.read_bytes()))
    if kind != tarfile.REGTYPE:
        with pytest.raises(DataError, match="claims"):
            Sa1bDataset(tmp_path / "s.tar")


def test_a_packed_tar_is_bounded_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Many small entries that pack to nearly nothing."""
    monkeypatch.setattr("sam_hub.data.stream.HEAD", 2**20)
    with tarfile.open(tmp_path / "s.tar.gz", "w:gz") as tar:
        for i in range(200):
            info = tarfile.TarInfo(f"{i}.txt")
            info.size = 2**16
            tar.addfile(info, io.BytesIO(bytes(2**16)))
    with pytest.raises(DataError, match="times as large"):
        list(read_pairs(str(tmp_path / "s.tar.gz")))


def test_packed_tars_of_photos_are_read(tmp_path: Path):
    plain = list(read_pairs(str(shard(tmp_path / "s.tar", 5))))
    assert list(read_pairs(str(shard(tmp_path / "s.tar.gz", 5, "w:gz")))) == plain and len(plain) == 5


def test_shards_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("sam_hub.data.stream.MOST_SHARDS", 100)
    assert len(expand("s-{0..9}{0..9}.tar")) == 100
    with pytest.raises(DataError, match="shards"):
        expand("s-{0..9}{00..10}.tar")


@pytest.mark.parametrize("address", ["s-{0..99999999}.tar", "{0..9999}{0..9999}.tar", "{0..1" + "0" * 400 + "}.tar"])
def test_braces_are_bounded(address: str):
    with pytest.raises(DataError, match="more than 1,000,000 shards"):
        expand(address)
