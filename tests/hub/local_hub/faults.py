"""Injected network and server faults."""

import re
from dataclasses import dataclass, field, fields


@dataclass
class Fault:
    """Affects the next ``times`` requests whose method and path match.

    path: a regular expression, searched in the path; method: "GET", ...; empty: all
    times: number of affected requests; negative: all
    skip: matching requests that are let through first
    status: respond with this status and ``headers``; 0: the normal response
    drop_after: close the connection after this many bytes of the body, sent or received
    flip: corrupt the byte at this offset of the body
    rate: bytes per second
    """

    path: str = ""
    method: str = ""
    times: int = 1
    skip: int = 0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    flip: int | None = None
    rate: int = 0
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        """Whether this request is affected; counts it."""
        if (self.method and self.method != method) or not re.search(self.path, path) or not self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        self.hits += 1
        return True

    @classmethod
    def parse(cls, text: str) -> "Fault":
        """Parse a command line option: ``path=resolve,status=503,times=2``; ``retry_after`` is a short form."""
        known = {f.name: f.type for f in fields(cls)}
        fault = cls()
        for part in text.split(","):
            name, _, value = part.partition("=")
            if name == "retry_after":
                fault.headers["Retry-After"] = value
            elif name in known and name not in ("headers", "hits"):
                setattr(fault, name, value if known[name] is str else int(value))
            else:
                raise ValueError(f"unknown part {name!r}; a fault has retry_after and {', '.join(known)}")
        return fault
