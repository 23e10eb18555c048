"""Safe reading of untrusted tar files: sizes are checked before anything is read."""

import tarfile

MEMBER_BYTES = 256 * 2**20
"""Maximum size of a file in a tar, in bytes; SA-1B's files have 10 MB."""

HEADER_BYTES = 2**20
"""Maximum size of a long name or other extended header, which `tarfile` reads into memory."""


class BoundedTarInfo(tarfile.TarInfo):
    """For ``tarfile.open(tarinfo=...)``: rejects entries with a negative size or an oversized extended header."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        info = super().frombuf(buf, encoding, errors)
        plain = info.type in tarfile.REGULAR_TYPES
        if info.size < 0 or not (plain or info.size <= HEADER_BYTES):
            raise tarfile.ReadError(f"an entry claims {info.size} bytes")
        return info
