"""Where an engine's unix socket lives: beside its data, or in /tmp when that path cannot be one.

A socket path is limited to 107 bytes on Linux and 103 on macOS, and PostgreSQL and asyncpg both
read commas and blanks in it as separators.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path

from gateway.embedded.errors import EmbeddedEngineError

SOCKET_PATH_LIMIT = 103
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+=@:-]+")


def socket_dir(home: Path) -> Path:
    """The directory for the socket of the engine whose data is in `home`; same in every process.

    Raises EmbeddedEngineError when the short directory in /tmp exists and is not private to the
    owner of `home` (or root), for anyone may create names there.
    """
    longest = os.fsencode(home / LONGEST_SOCKET_NAME)
    if len(longest) <= SOCKET_PATH_LIMIT and PLAIN_PATH.fullmatch(str(home)):
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    short = Path("/tmp") / f"image-gateway-{digest}"  # noqa: S108 - checked below
    try:
        found = short.lstat()
    except FileNotFoundError:
        return short
    owners = {0, home.stat().st_uid if home.exists() else os.geteuid()}
    if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077 or found.st_uid not in owners:
        raise EmbeddedEngineError(f"{short} is not a private directory of ours: remove it")
    return short
