"""SA-1B as a stream: WebDataset tars read from front to back, from a disk, a web server or the Hub.

The layout is WebDataset's (files of one sample share a name and follow each other in the tar), which SA-1B has. Any
address that ``fsspec`` opens will do: a path, ``https://...``, ``hf://datasets/...``. Nothing is stored; what was
shuffled depends on the seed alone, so that a run can be resumed by skipping.
"""

import json
import re
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from http.client import HTTPException
from itertools import count
from typing import BinaryIO
from urllib.request import urlopen

import fsspec
import numpy as np

from ..errors import DataError, ImageError
from ..ops.images import read_image
from .sa1b import IMAGE_SUFFIXES, Sample

RETRIES, PAUSE, TIMEOUT = 4, 0.5, 60
"""Of a tar that comes over a network: tries, seconds before the first (doubled each time), seconds of silence."""

BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expand(address: str) -> list[str]:
    """``shard-{000..002}.tar`` -> three addresses, as in WebDataset; an address without braces is itself."""
    found = BRACES.search(address)
    if not found:
        return [address]
    first, last = found.groups()
    numbers = range(int(first), int(last) + 1)
    names = (f"{address[: found.start()]}{n:0{len(first)}d}{address[found.end() :]}" for n in numbers)
    return [full for name in names for full in expand(name)]


class ShardStream(Iterable):
    """Samples of some tars, for ever: the order of the tars changes with each round, and a buffer mixes neighbours.

    Damaged samples are passed over and named in ``problems``; a tar that cannot be read is an error, as silence about
    a dead link would be.
    shards: addresses; seed: of the order; buffer: samples that are mixed (their images are kept as they are stored)
    """

    def __init__(self, shards: Sequence[str], seed: int = 0, buffer: int = 64) -> None:
        if not shards:
            raise DataError("there is no shard to read; give at least one .tar")
        self.shards, self.seed, self.buffer = list(shards), seed, buffer
        self.problems: list[str] = []

    def __iter__(self) -> Iterator[Sample]:
        for number in count():
            rng = np.random.default_rng([self.seed, number])
            found, held = 0, []
            for shard in rng.permutation(len(self.shards)):
                for pair in read_pairs(self.shards[shard]):
                    found += 1
                    held.append(pair)
                    if len(held) > self.buffer:
                        yield from self._decoded(held.pop(int(rng.integers(len(held)))))
            for index in rng.permutation(len(held)):
                yield from self._decoded(held[index])
            if not found:
                raise DataError(f"{self.shards[0]} holds no image with a .json of the same name beside it")

    def _decoded(self, pair: tuple[str, bytes, bytes]) -> Iterator[Sample]:
        name, picture, text = pair
        try:
            annotations = json.loads(text)["annotations"]
            if not all("segmentation" in a for a in annotations):
                raise ValueError("an annotation has no segmentation")
            yield Sample(name, read_image(picture), annotations)
        except (ImageError, ValueError, KeyError, TypeError) as e:
            self.problems.append(f"{name}: {e}")


def read_pairs(shard: str) -> Iterator[tuple[str, bytes, bytes]]:
    """Name, image file and JSON of each sample of a tar, read once from front to back.

    Where a network fails, the tar is opened again and goes on behind the last sample; more than `RETRIES` failures in a
    row are an error.

    raises: DataError when it cannot be opened or is cut short
    """
    done = failures = 0
    while True:
        try:
            for number, pair in enumerate(_pairs(shard)):
                if number >= done:
                    done, failures = number + 1, 0
                    yield pair
            return
        except (OSError, HTTPException, tarfile.TarError, ImportError, ValueError) as e:
            failures += 1
            gone = isinstance(e, FileNotFoundError | ImportError) or 400 <= getattr(e, "code", 0) < 500
            final = gone or "://" not in shard
            if final or failures > RETRIES:
                raise DataError(f"{shard} cannot be read to its end ({e}); check the address") from e
            time.sleep(PAUSE * 2**failures)


def _pairs(shard: str) -> Iterator[tuple[str, bytes, bytes]]:
    with _opened(shard) as file, tarfile.open(fileobj=file, mode="r|*") as tar:
        stem, parts = "", {}
        for member in tar:
            if not member.isfile():
                continue
            base, _, suffix = member.name.rpartition(".")
            if base != stem:
                stem, parts = base, {}
            parts[f".{suffix.lower()}"] = tar.extractfile(member).read()
            image = next((s for s in IMAGE_SUFFIXES if s in parts), None)
            if image and ".json" in parts:
                yield stem.rpartition("/")[2] + image, parts[image], parts[".json"]
                parts = {}


def _opened(shard: str) -> AbstractContextManager[BinaryIO]:
    """A file to read from front to back; from a web server by the standard library, as fsspec would need aiohttp."""
    if shard.startswith(("http://", "https://")):
        return urlopen(shard, timeout=TIMEOUT)
    return fsspec.open(shard, "rb")
