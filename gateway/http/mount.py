"""Where each dialect's routes live: always under its prefix, at the root where it owns the path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from starlette.routing import Route as HttpRoute

from gateway.app.core import Core
from gateway.app.dialect import Dialect, Route
from gateway.http.edge import Table
from gateway.http.handlers import HANDLERS, Endpoint
from gateway.http.waits import Waits

NATIVE = "evolink"
NATIVE_ROOT = "/v1"
REST = "{rest}"


@dataclass(frozen=True, slots=True)
class Mounted:
    """One address: the full path and the dialect's route behind it."""

    path: str
    dialect: Dialect
    route: Route


def mounted(core: Core) -> Iterator[Mounted]:
    """Give every address of every dialect; literal paths come before parameters."""
    found: dict[tuple[str, str], Mounted] = {}
    for dialect in core.dialects.values():
        for route in dialect.routes:
            if route.operation not in HANDLERS:
                continue
            bases = [dialect.prefix, *([dialect.root] if route.at_root else [])]
            for base in bases:
                entry = Mounted(base + route.path, dialect, route)
                clash = found.setdefault((route.method, entry.path), entry)
                if clash is not entry:
                    raise ValueError(
                        f"{route.method} {entry.path} is claimed by "
                        f"{clash.dialect.name} and {dialect.name}"
                    )
    return iter(sorted(found.values(), key=lambda entry: _specificity(entry.path)))


def _specificity(path: str) -> tuple[list[int], str]:
    """Order literal segments before parameters, so ``/tasks/status`` beats ``/tasks/{id}``."""
    return [1 if "{" in segment else 0 for segment in path.split("/")], path


def endpoints(core: Core, waits: Waits) -> list[tuple[Mounted, Endpoint]]:
    """Give what answers at every address; callers wait among ``waits``."""
    return [
        (entry, Endpoint(core, entry.dialect, entry.route, entry.path, waits))
        for entry in mounted(core)
    ]


def edge_table(found: Sequence[tuple[Mounted, Endpoint]]) -> Table:
    """Give the edge's table; an address of any length is left to the framework."""
    return Table(
        (entry.route.method, entry.path, endpoint)
        for entry, endpoint in found
        if REST not in entry.path
    )


def http_routes(found: Sequence[tuple[Mounted, Endpoint]]) -> list[HttpRoute]:
    """Give the Starlette routes of all dialects."""
    return [
        HttpRoute(
            entry.path.replace(REST, "{rest:path}"),
            endpoint,
            methods=[entry.route.method],
            name=f"{entry.dialect.name}:{entry.route.operation.value}:{entry.path}",
        )
        for entry, endpoint in found
    ]


def dialect_at(core: Core, path: str) -> Dialect:
    """Give the dialect whose error shape fits an address that no route matched."""
    for dialect in core.dialects.values():
        if path.startswith(dialect.prefix + "/"):
            return dialect
    for dialect in core.dialects.values():
        if dialect.root != NATIVE_ROOT and path.startswith(dialect.root + "/"):
            return dialect
    return core.dialects[NATIVE]
