"""Which schema a database has and which this code needs, without loading Alembic."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

import asyncpg

from gateway.domain.errors import Unavailable
from gateway.stores.postgres.database import Database

_REVISION = re.compile(r'^(revision|down_revision)(?:: [^=]+)? = "?(\w+)"?$', re.MULTILINE)


@cache
def head() -> str:
    """Give the newest revision: the one that no other names as its predecessor."""
    found: set[str] = set()
    replaced: set[str] = set()
    for entry in files("migrations.versions").iterdir():
        if entry.name.endswith(".py"):
            facts = dict(_REVISION.findall(entry.read_text(encoding="utf-8")))
            found |= {facts["revision"]} if "revision" in facts else set()
            replaced.add(facts.get("down_revision", ""))
    (newest,) = found - replaced
    return newest


async def stored(database: Database) -> str | None:
    """Give the revision a database is at, None for an empty one. Raises StoreUnavailable."""
    try:
        rows = await database.read("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    return rows[0]["version_num"] if rows else None


async def require_current(database: Database) -> None:
    """Raise Unavailable, with what to do, when the schema is not the one this code needs."""
    found = await stored(database)
    if found != head():
        state = f"is at revision {found}" if found else "is not set up"
        raise Unavailable(f"The database {state}, this version needs {head()}: gateway migrate")
