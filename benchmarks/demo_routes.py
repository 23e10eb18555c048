"""The routes of the web page's server that its guard allows, as listed by the running server."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from sam_hub.demo.guard import is_reachable

PART = re.compile(r"\{[^}]*\}")


def reachable(server: Any) -> list[tuple[str, str]]:
    """(method, path) of every reachable route; parts in braces are variable.

    server: must be launched, so that Gradio's own routes exist
    """
    found = {(method, path) for method, path in _all(server.routes) if is_reachable(PART.sub("x", path))}
    return sorted(found)


def _all(routes: Iterable[Any], before: str = "") -> Iterator[tuple[str, str]]:
    for route in routes:
        path = before + getattr(route, "path", "")
        if inner := getattr(getattr(route, "original_router", route), "routes", None):
            yield from _all(inner, path)
        elif path:
            yield from ((method, path) for method in getattr(route, "methods", None) or ("POST",))


def uncalled(routes: Iterable[tuple[str, str]], calls: Iterable[tuple[str, str]]) -> list[str]:
    """Routes without a call (method, path). HEAD counts as GET; a trailing slash is ignored."""

    def method_of(name: str) -> str:
        return "GET" if name == "HEAD" else name

    calls = {(method_of(method), path.rstrip("/")) for method, path in calls}
    missing = []
    for method, path in sorted({(method_of(method), path.rstrip("/")) for method, path in routes}):
        parts = PART.split(path)
        pattern = re.compile(".+".join(map(re.escape, parts)))
        if not any(called == method and pattern.fullmatch(where) for called, where in calls):
            missing.append(f"{method} {path or '/'}")
    return missing
