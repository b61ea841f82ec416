"""Lua scripts: read once from ``lua/``, sent by their SHA-1."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One script as the server runs it. Its first argument is always a clock, see ``clock.lua``."""

    name: str
    source: str
    sha: str


def load(name: str) -> Script:
    """Give the script ``lua/NAME.lua`` with the common clock in front of it."""
    folder = files("gateway.stores.valkey") / "lua"
    parts = [(folder / f"{part}.lua").read_text(encoding="utf-8") for part in ("clock", name)]
    source = "\n".join(parts)
    # The server names scripts by their SHA-1; nothing is secured by it.
    sha = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
    return Script(name, source, sha)
