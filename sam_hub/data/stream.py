"""SA-1B as a stream: WebDataset tars read from front to back, from a disk, a web server or the Hub.

SA-1B has WebDataset's layout: files of one sample share a name and follow each other in the tar. Any address that
``fsspec`` can open works: a path, ``https://...``, ``hf://datasets/...``. Nothing is stored on disk. The shuffled order
only depends on the seed, so a run can resume by skipping samples, and several processes can share a stream.
"""

import math
import re
import tarfile
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from http.client import HTTPException
from itertools import count
from lzma import LZMAError
from typing import BinaryIO
from urllib.request import urlopen

import fsspec
import numpy as np

from ..errors import DataError, ImageError
from .photos import read_photo
from .sa1b import IMAGE_SUFFIXES, Sample, read_document
from .tars import MEMBER_BYTES, BoundedTarInfo

RETRIES, PAUSE, TIMEOUT = 4, 0.5, 60
"""For tars on a network: number of retries, base of the delay in seconds (doubled each time), timeout in seconds."""

RATIO, HEAD = 50, 2**30
"""Maximum compression ratio of a tar, after its first bytes, against decompression bombs; photos hardly compress."""

MOST_SHARDS = 1_000_000

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand(address: str) -> list[str]:
    """``shard-{000..002}.tar`` -> three addresses, as in WebDataset; an address without braces is unchanged.

    raises: DataError for more than `MOST_SHARDS`
    """
    found = BRACES.findall(address)
    if math.prod(max(0, int(last[:20]) - int(first[:20]) + 1) for first, last in found) > MOST_SHARDS:
        raise DataError(f"{address} expands to more than {MOST_SHARDS:,} shards; give fewer at a time")
    return _expanded(address)


def _expanded(address: str) -> list[str]:
    found = BRACES.search(address)
    if not found:
        return [address]
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    names = (f"{address[: found.start()]}{n:0{len(first)}d}{address[found.end() :]}" for n in numbers)
    return [full for name in names for full in _expanded(name)]


class ShardStream(Iterable):
    """Endless samples from several tars: the tars are reshuffled every epoch, and a buffer shuffles their samples.

    Damaged samples are skipped and named in ``problems``; an unreadable tar is an error, so that dead links are
    noticed.
    shards: addresses; seed: of the order; buffer: number of samples in the shuffle buffer (images stay encoded)
    """

    def __init__(self, shards: Sequence[str], seed: int = 0, buffer: int = 64) -> None:
        if not shards:
            raise DataError("there is no shard to read; give at least one .tar")
        self.shards, self.seed, self.buffer = list(shards), seed, buffer
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Sample]:
        return (sample for _, sample in self.share(0, 1, 1))

    def share(self, process: int, processes: int, batch: int) -> Iterator[tuple[int, Sample]]:
        """One process's share of the stream: pairs of the sample's number in the whole stream, and the sample.

        process: from 0; batch: number of consecutive samples given to the same process
        """
        for number, pair in enumerate(self._pairs()):
            if number // batch % processes == process:
                yield from ((number, sample) for sample in self._decoded(pair))

    def _pairs(self) -> Iterator[tuple[str, bytes, bytes]]:
        for number in count():
            rng = np.random.default_rng([self.seed, number])
            found, held = 0, []
            for shard in rng.permutation(len(self.shards)):
                for pair in read_pairs(self.shards[shard]):
                    found += 1
                    held.append(pair)
                    if len(held) > self.buffer:
                        yield held.pop(int(rng.integers(len(held))))
            for index in rng.permutation(len(held)):
                yield held[index]
            if not found:
                raise DataError(f"{self.shards[0]} holds no image with a .json of the same name beside it")

    def _decoded(self, pair: tuple[str, bytes, bytes]) -> Iterator[Sample]:
        name, picture, text = pair
        try:
            annotations, size = read_document(text, name)
            yield Sample(name, read_photo(picture, size), annotations)
        except (ImageError, DataError) as e:
            why = str(e)
            self.problems.append(why if why.startswith(name) else f"{name}: {why}")


def read_pairs(shard: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, image file and JSON of each sample of a tar, read once from front to back.

    After a network failure, reopens the tar and continues after the last sample; more than `RETRIES` failures in a row
    are an error.

    raises: DataError if it cannot be opened or is truncated
    """
    done = failures = 0
    while True:
        try:
            for number, pair in enumerate(_pairs(shard)):
                if number >= done:
                    done, failures = number + 1, 0
                    yield pair
            return
        except TooMuch:
            raise
        except (
            OSError,
            EOFError,
            HTTPException,
            tarfile.TarError,
            ImportError,
            ValueError,
            zlib.error,
            LZMAError,
        ) as e:
            failures += 1
            gone = isinstance(e, FileNotFoundError | ImportError) or 400 <= getattr(e, "code", 0) < 500
            final = gone or "://" not in shard
            if final or failures > RETRIES:
                raise DataError(f"{shard} cannot be read to its end ({e}); check the address") from e
            time.sleep(PAUSE * 2**failures)


def _pairs(shard: str) -> Iterator[tuple[str, bytes, bytes]]:
    wanted = (*IMAGE_SUFFIXES, ".json")
    with (
        _opened(shard) as file,
        tarfile.open(fileobj=(packed := Counted(file)), mode="r|*", tarinfo=BoundedTarInfo) as tar,
    ):
        stem, parts = "", {}
        for member in tar:
            if not 0 <= member.size <= MEMBER_BYTES:
                raise TooMuch(
                    f"{shard}: {member.name} has more than {MEMBER_BYTES // 2**20} MiB; split the shard again"
                )
            if tar.offset > HEAD + RATIO * packed.bytes:
                raise TooMuch(
                    f"{shard} is {RATIO} times as large as its compressed bytes; photos do not compress that well"
                )
            if not member.isreg() or member.issparse():
                continue
            base, _, suffix = member.name.rpartition(".")
            if base != stem:
                stem, parts = base, {}
            kind = f".{suffix.lower()}"
            if kind not in wanted:
                continue
            parts[kind] = tar.extractfile(member).read()
            image = next((s for s in IMAGE_SUFFIXES if s in parts), None)
            if image and ".json" in parts:
                yield stem.rpartition("/")[2] + image, parts[image], parts[".json"]
                parts = {}


class TooMuch(DataError):
    """A tar exceeds a size limit; retrying would not help."""


class Counted:
    """A sequential file that counts the bytes read."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.bytes = file, 0

    def read(self, size: int = -1) -> bytes:
        found = self.file.read(size)
        self.bytes += len(found)
        return found


def _opened(shard: str) -> AbstractContextManager[BinaryIO]:
    """Open a sequential file; HTTP uses the standard library, as fsspec would need aiohttp."""
    if shard.startswith(("http://", "https://")):
        return urlopen(shard, timeout=TIMEOUT)
    return fsspec.open(shard, "rb")
