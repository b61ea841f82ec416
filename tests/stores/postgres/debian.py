"""Debian's own PostgreSQL 15, where it is installed: the oldest version the gateway supports."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql/15/bin")


@contextmanager
def debian_postgres() -> Iterator[str]:
    """A new cluster on a loopback port; gives its TCP URL."""
    home = Path(tempfile.mkdtemp(prefix="pg15-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = _unprivileged()
    if user is not None:
        os.chown(home, user.pw_uid, user.pw_gid)
    initdb = [BINARIES / "initdb", "-D", home / "data", "-U", "gateway", "--auth=trust", "-N"]
    options = f"-h 127.0.0.1 -p {port} -k '' -F"
    start = [BINARIES / "pg_ctl", "-D", home / "data", "-w", "-l", home / "log", "-o", options]
    try:
        for argv in (initdb, [*start, "start"]):
            _run(argv, user)
        yield f"postgresql://gateway@127.0.0.1:{port}/postgres"
    finally:
        _run([BINARIES / "pg_ctl", "-D", home / "data", "-m", "immediate", "stop"], user)
        shutil.rmtree(home, ignore_errors=True)


def _run(argv: list[object], user: pwd.struct_passwd | None) -> None:
    subprocess.run(
        [str(part) for part in argv],
        check=True,
        user=user.pw_uid if user else None,
        group=user.pw_gid if user else None,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _unprivileged() -> pwd.struct_passwd | None:
    """The user to run as when we are root, whom PostgreSQL refuses."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None
