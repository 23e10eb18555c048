"""Tar files from others: nothing in them is read before its size is checked."""

import tarfile

MEMBER_BYTES = 256 * 2**20
"""Most bytes of a file in a tar; SA-1B's have 10 MB."""

HEADER_BYTES = 2**20
"""Most bytes of a long name or of other facts about a file, which `tarfile` reads whole."""


class BoundedTarInfo(tarfile.TarInfo):
    """For ``tarfile.open(tarinfo=...)``: an entry that claims a negative size, or too long a name, is an error."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        plain = info.type in tarfile.REGULAR_TYPES
        if info.size < 0 or not (plain or info.size <= HEADER_BYTES):
            raise tarfile.ReadError(f"an entry claims {info.size} bytes")
        return info
