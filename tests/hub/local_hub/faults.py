"""What can go wrong on the way, on purpose."""

import re
from dataclasses import dataclass, field, fields


@dataclass
class Fault:
    """Hits requests whose method and path match, as often as ``times`` says, and then no more.

    path: a regular expression that is searched in the path; method: "GET", ...; empty for all
    times: of requests that are hit; negative for all of them
    skip: requests that match and are let through first
    status: this answer instead of the right one, with ``headers``; 0 for the right one
    drop_after: the connection closes after so many bytes of the body, sent or received
    flip: the byte at this place of the body is sent wrong
    rate: bytes in a second
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
        """Whether this request is hit; counts it."""
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
        """From a command line: ``path=resolve,status=503,times=2``, with ``retry_after`` as a short form."""
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
