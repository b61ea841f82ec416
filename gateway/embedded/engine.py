"""What the embedded PostgreSQL and Valkey share: claims, start, stop, kill, recovery.

Three small lock files in `DATA_DIR/run` carry everything, and the kernel drops a lock however its
holder dies, so no stale file can mislead:

* `NAME.alive` is locked by the engine's own processes (an inherited descriptor) and holds its pid:
  "is it running" is "is it locked", whatever pid files say, and a reused pid cannot fool it;
* `NAME.claims` is lock-shared by every process that uses the engine: the last to release stops it;
* `NAME.lock` is held while one process starts or stops the engine.

The engine runs in a session of its own: Ctrl-C in a terminal reaches the gateway, never the engine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from gateway.embedded.errors import EmbeddedEngineError
from gateway.embedded.sockets import socket_dir

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.005
LOG_LIMIT_BYTES = 5_000_000
LAUNCHER = Path(__file__).with_name("_launch.py")
SYSTEM_USERS = ("postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """The system user an engine runs as."""

    uid: int
    gid: int


class EmbeddedEngine(ABC):
    """One engine of one data directory, shared by every process on this machine that uses it.

    `ensure()` claims the engine and starts it if need be; `release()` gives the claim back and
    stops the engine if nobody else holds one. Both block; call them through a thread from a loop.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    leftovers: ClassVar[tuple[str, ...]] = ()
    """Files beside data or socket that a killed engine leaves, untrue once none of it lives."""

    def __init__(self, data_dir: Path, options: Mapping[str, str] | None = None) -> None:
        """Describe the engine of `data_dir`; `options` override its settings. Starts nothing."""
        self.data_dir = data_dir.resolve()
        self.home = self.data_dir / self.name
        self.options = dict(options or {})
        self._run = self.data_dir / "run"
        self._claim: int | None = None

    # -- what each engine says about itself ----------------------------------------------------

    @property
    @abstractmethod
    def url(self) -> str:
        """The address clients use, whether or not the engine is running."""

    @abstractmethod
    def _argv(self, account: Account | None, socket_directory: Path) -> Sequence[str]:
        """The engine's command line, run as `account` (None: as we are)."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Whether the running engine answers."""

    def _initialise(self, account: Account | None) -> None:
        """Create the engine's files in `home` on first use."""
        self._own_directory(self.home, account)

    # -- the public verbs ------------------------------------------------------------------------

    @property
    def running(self) -> bool:
        """Whether any process of the engine is alive."""
        with self._open("alive") as fd:
            return not _try_lock(fd, fcntl.LOCK_SH)

    @property
    def pid(self) -> int | None:
        """The engine's main process, or None when it is not running."""
        if not self.running:
            return None
        text = (self._run / f"{self.name}.alive").read_text()
        return int(text) if text else None

    @property
    def log_path(self) -> Path:
        """Where the engine writes its own log."""
        return self._run / f"{self.name}.log"

    def ensure(self) -> str:
        """Claim the engine, start it unless it runs, wait until it answers; its URL.

        Repeating it is cheap, and heals an engine that died. Raises EmbeddedEngineError.
        """
        with self._mutex():
            if self._claim is None:
                self._claim = self._open_fd("claims")
                fcntl.flock(self._claim, fcntl.LOCK_SH)
            self._start()
        return self.url

    def release(self) -> None:
        """Give the claim back; the last to do so stops the engine. Repeating it does nothing."""
        if self._claim is None:
            return
        with self._mutex():
            claim, self._claim = self._claim, None
            last = _try_lock(claim, fcntl.LOCK_EX)
            os.close(claim)
            if last:
                self._stop()

    def stop_unclaimed(self) -> None:
        """Stop the engine if no process claims it: what a kill -9 of its last user leaves."""
        with self._mutex(), self._open("claims") as claims:
            if _try_lock(claims, fcntl.LOCK_EX):
                self._stop()

    def stop(self) -> None:
        """Stop the engine cleanly now, whoever uses it. Claims stay."""
        with self._mutex():
            self._stop()

    def restart(self) -> None:
        """Stop the engine cleanly and start it again. Claims stay."""
        with self._mutex():
            self._stop()
            self._start()

    def kill(self) -> None:
        """SIGKILL the engine's main process and wait until all its processes are gone."""
        with self._mutex():
            self._signal(signal.SIGKILL)
            self._wait_dead(STOP_TIMEOUT_S)

    # -- starting and stopping, under the mutex -----------------------------------------------

    def _start(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        launched = False
        while not (self.running and self._is_ready()):
            if not self.running:
                if launched:
                    raise self._failure("ended while starting")
                self._launch(deadline)
                launched = True
            if time.monotonic() > deadline:
                raise self._failure(f"did not answer within {START_TIMEOUT_S:.0f} s")
            time.sleep(POLL_S)

    def _launch(self, deadline: float) -> None:
        account = engine_account(self.home)
        self._initialise(account)
        sockets = socket_dir(self.home)
        self._own_directory(sockets, account)
        for folder in (self.home, sockets):
            for leftover in self.leftovers:
                (folder / leftover).unlink(missing_ok=True)
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT_BYTES:
            os.truncate(self.log_path, 0)
        argv = self._argv(account, sockets)
        with self._open("alive") as alive:
            while not _try_lock(alive, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    raise self._failure("is held by a process that does not answer")
                time.sleep(POLL_S)
            os.set_inheritable(alive, True)
            needs = (argv[0], str(self.home))
            with self.log_path.open("ab") as log:
                launched = run_as(account, argv, needs=needs, lock_fd=alive, output=log.fileno())
        if launched.returncode != 0:
            raise self._failure("could not be launched")

    def _stop(self) -> None:
        if not self.running:
            return
        self._signal(self.stop_signal)
        if not self._wait_dead(STOP_TIMEOUT_S):
            self._signal(signal.SIGKILL)
            if not self._wait_dead(STOP_TIMEOUT_S):
                raise self._failure("does not stop, even when killed")
        sockets = socket_dir(self.home)
        if sockets != self.home:
            with contextlib.suppress(OSError):
                sockets.rmdir()

    def _signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _wait_dead(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.running:
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    # -- files ------------------------------------------------------------------------------------

    def _own_directory(self, path: Path, account: Account | None) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account is None:
            return
        for entry in (path, *path.rglob("*")) if path.stat().st_uid == 0 else ():
            os.chown(entry, account.uid, account.gid, follow_symlinks=False)

    @contextlib.contextmanager
    def _mutex(self) -> Iterator[None]:
        with self._open("lock") as fd:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _open(self, suffix: str) -> Iterator[int]:
        fd = self._open_fd(suffix)
        try:
            yield fd
        finally:
            os.close(fd)

    def _open_fd(self, suffix: str) -> int:
        try:
            self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
            return os.open(self._run / f"{self.name}.{suffix}", os.O_RDWR | os.O_CREAT, 0o600)
        except PermissionError as error:
            raise EmbeddedEngineError(
                f"{error.filename} belongs to another user: run this as the user who owns "
                f"{self.data_dir}, or choose another GATEWAY_DATA_DIR"
            ) from error

    def _failure(self, what: str) -> EmbeddedEngineError:
        tail = self.log_path.read_text(errors="replace")[-2000:] if self.log_path.exists() else ""
        return EmbeddedEngineError(f"embedded {self.name} {what} (log: {self.log_path})\n{tail}")


def engine_account(home: Path) -> Account | None:
    """The user an engine whose files are in `home` must run as, or None to stay who we are.

    Only root changes: to the owner of existing files, else to a system user, for PostgreSQL refuses
    to run as root.
    """
    if home.exists() and home.stat().st_uid not in (0, os.geteuid()) and os.geteuid() != 0:
        raise EmbeddedEngineError(
            f"{home} belongs to another user: run this as that user, "
            "or choose another GATEWAY_DATA_DIR"
        )
    if os.geteuid() != 0:
        return None
    if home.exists() and home.stat().st_uid != 0:
        status = home.stat()
        return Account(status.st_uid, status.st_gid)
    for name in SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedEngineError(
        "PostgreSQL does not run as root, and this system has no user postgres or nobody to run it "
        "as: start the gateway as an ordinary user, or set GATEWAY_DATABASE_URL and "
        "GATEWAY_REDIS_URL"
    )


def run_as(
    account: Account | None,
    argv: Sequence[str],
    *,
    needs: Sequence[str],
    output: int,
    lock_fd: int | None = None,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run `argv` as `account` in a session of its own, its output to the descriptor `output`.

    With `lock_fd` the program is detached and inherits it; without, this waits for the program.
    """
    spec = {
        "argv": list(argv),
        "uid": account.uid if account else None,
        "gid": account.gid if account else None,
        "needs": list(needs),
        "lock_fd": lock_fd,
    }
    return subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(spec)],
        input=stdin,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=() if lock_fd is None else (lock_fd,),
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        check=False,
    )


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
