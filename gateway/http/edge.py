"""The edge: a dialect's call goes straight to its handler, everything else to the framework.

The framework costs a third of an accept (docs/decisions/0009-plain-asgi-on-the-hot-path.md). Its
router has the same endpoints, for what is not found here: other methods, unknown addresses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

_PARAMETER = "{}"
_Found = tuple[ASGIApp, tuple[str, ...]]


class Table:
    """Endpoints by method and path; a literal segment beats a parameter."""

    def __init__(self, entries: Iterable[tuple[str, str, ASGIApp]]) -> None:
        """Take (method, path, endpoint); a ``{parameter}`` stands for one whole segment."""
        self._literal: dict[tuple[str, str], ASGIApp] = {}
        self._tree: dict[str, _Node] = {}
        for method, path, endpoint in entries:
            if "{" in path:
                self._tree.setdefault(method, _Node()).add(path.split("/"), endpoint)
            else:
                self._literal[method, path] = endpoint

    def find(self, method: str, path: str) -> tuple[ASGIApp, Mapping[str, str]] | None:
        """Give the endpoint of a path and the values of its parameters, None without one."""
        if (literal := self._literal.get((method, path))) is not None:
            return literal, {}
        tree = self._tree.get(method)
        found = tree.find(path.split("/"), 0, ()) if tree is not None else None
        if found is None:
            return None
        (endpoint, names), values = found
        return endpoint, dict(zip(names, values, strict=True))


class _Node:
    """What follows after a segment."""

    __slots__ = ("endpoint", "next")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.endpoint: _Found | None = None

    def add(self, segments: list[str], endpoint: ASGIApp) -> None:
        """Add an endpoint below this node."""
        node = self
        for segment in segments:
            node = node.next.setdefault(_PARAMETER if "{" in segment else segment, _Node())
        names = tuple(segment[1:-1] for segment in segments if "{" in segment)
        node.endpoint = (endpoint, names)

    def find(
        self, segments: list[str], at: int, values: tuple[str, ...]
    ) -> tuple[_Found, tuple[str, ...]] | None:
        """Give the endpoint at the end of the segments from ``at`` on, with its values."""
        if at == len(segments):
            return None if self.endpoint is None else (self.endpoint, values)
        segment = segments[at]
        if (node := self.next.get(segment)) is not None:
            found = node.find(segments, at + 1, values)
            if found is not None:
                return found
        if segment and (node := self.next.get(_PARAMETER)) is not None:
            return node.find(segments, at + 1, (*values, segment))
        return None


class Edge:
    """Sends each call to its endpoint in the table, or to the framework."""

    def __init__(self, table: Table, framework: ASGIApp) -> None:
        """Take the table and what answers everything that is not in it."""
        self._table = table
        self._framework = framework

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Give what serves one connection event."""
        found = None
        if scope["type"] == "http" and not scope.get("root_path"):
            found = self._table.find(scope["method"], scope["path"])
        if found is None:
            return self._framework(scope, receive, send)
        endpoint, scope["path_params"] = found
        return endpoint(scope, receive, send)
