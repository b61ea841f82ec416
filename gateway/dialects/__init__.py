"""The wire protocols we accept from clients, one file each; adding a file adds a dialect.

Every module of this package without a leading underscore is a dialect and offers itself as
``DIALECT``. Modules with one are shared parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from gateway.app.dialect import Dialect


def discover() -> Mapping[str, Dialect]:
    """Give every dialect by its name."""
    found: dict[str, Dialect] = {}
    for module in iter_modules(__path__):
        if not module.name.startswith("_"):
            dialect: Dialect = import_module(f"{__name__}.{module.name}").DIALECT
            found[dialect.name] = dialect
    return MappingProxyType(found)


DIALECTS = discover()
