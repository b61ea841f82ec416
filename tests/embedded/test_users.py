"""Whoever runs the gateway: root, an ordinary user, and root after an ordinary user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.embedded import (
    EmbeddedEngineError,
    EmbeddedPostgres,
    EmbeddedValkey,
    attached,
    programs,
)
from gateway.embedded.engine import Account, run_as
from tests.support.engines import copy_server

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")

USE = f"""
import sys
sys.path[:0] = {[str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]!r}
from pathlib import Path
from gateway.embedded import attached
for _ in range(2):
    with attached(Path(sys.argv[1])) as engines:
        assert engines.postgres.running and engines.valkey.running
"""


@pytest.fixture
def ordinary() -> Account:
    """A user who is neither root nor the one root's engines run as."""
    entry = pwd.getpwnam("nobody")
    return Account(entry.pw_uid, entry.pw_gid)


@pytest.fixture
def data_dir(ordinary: Account) -> Iterator[Path]:
    """A directory of the ordinary user's, in a place that user can reach."""
    path = Path(tempfile.mkdtemp(prefix="gateway-user-"))
    os.chown(path, ordinary.uid, ordinary.gid)
    yield path / "data"
    for engine in (EmbeddedPostgres(path / "data"), EmbeddedValkey(path / "data")):
        engine.stop()
    shutil.rmtree(path)


@pytest.fixture
def prepared(data_dir: Path, blank_server: Path) -> Path:
    """The same directory with a stopped PostgreSQL in it that root's engine user owns."""
    copy_server(blank_server, data_dir)
    return data_dir


def use_as(account: Account, data_dir: Path) -> subprocess.CompletedProcess[bytes]:
    """Attach twice as `account`. The interpreter may be root's own, so it must stay reachable."""
    program = [sys.executable, "-c", USE, str(data_dir)]
    with tempfile.TemporaryFile() as output:
        done = run_as(account, program, needs=(sys.executable, str(ROOT)), output=output.fileno())
        output.seek(0)
        done.stdout = output.read()
    return done


def owner(path: Path) -> int:
    return path.stat().st_uid


def test_an_ordinary_user_runs_engines_that_belong_to_that_user(ordinary, data_dir):
    done = use_as(ordinary, data_dir)

    assert (done.returncode, done.stdout) == (0, b"")
    assert owner(data_dir / "postgres") == ordinary.uid
    assert owner(data_dir / "valkey") == ordinary.uid


def test_root_runs_an_ordinary_users_engines_as_that_user(ordinary, prepared):
    subprocess.run(["chown", "-R", f"{ordinary.uid}:{ordinary.gid}", prepared], check=True)
    use_as(ordinary, prepared)

    with attached(prepared) as engines:
        assert engines.postgres
        assert owner(Path(f"/proc/{engines.postgres.pid}")) == ordinary.uid
    done = use_as(ordinary, prepared)
    assert (done.returncode, done.stdout) == (0, b"")


def test_roots_own_engines_run_as_a_system_user_even_in_a_private_place(tmp_path, blank_server):
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    copy_server(blank_server, private / "data")

    with attached(private / "data") as engines:
        assert engines.postgres
        assert engines.valkey
        for engine in (engines.postgres, engines.valkey):
            assert owner(Path(f"/proc/{engine.pid}")) != 0
            assert owner(engine.home) != 0
    assert private.stat().st_mode & 0o777 == 0o700


def test_roots_postgres_runs_from_an_environment_that_only_root_can_enter(
    tmp_path, blank_server, monkeypatch
):
    package = programs.binary("postgres").parents[2]
    private = tmp_path / "site-packages"
    for folder in (f"{package.name}/pginstall{programs.MAJOR_VERSION}", f"{package.name}.libs"):
        if (package.parent / folder).exists():
            shutil.copytree(package.parent / folder, private / folder, symlinks=True)
    install = private / package.name / f"pginstall{programs.MAJOR_VERSION}"
    private.chmod(0o700)
    cache = Path(tempfile.mkdtemp(prefix="gateway-cache-"))
    monkeypatch.setattr(programs, "CACHE", cache)
    monkeypatch.setattr(programs, "binary", lambda name: install / "bin" / name)
    copy_server(blank_server, tmp_path / "data")

    for _ in range(2):
        with attached(tmp_path / "data", valkey=False) as engines:
            assert engines.postgres
            running = Path(f"/proc/{engines.postgres.pid}/exe").resolve()
            assert cache in running.parents

    assert len(list(cache.iterdir())) == 1
    assert private.stat().st_mode & 0o777 == 0o700
    shutil.rmtree(cache)


def test_an_engine_in_a_reachable_place_keeps_no_capability(prepared):
    prepared.parent.chmod(0o755)

    with attached(prepared) as engines:
        assert engines.valkey
        status = Path(f"/proc/{engines.valkey.pid}/status").read_text()

    reachable = not any(p.stat().st_mode & 0o001 == 0 for p in Path(sys.prefix).parents)
    effective = next(line for line in status.splitlines() if line.startswith("CapEff"))
    assert int(effective.split()[1], 16) == (0 if reachable else 1 << 1)


def test_a_preparedectory_copied_by_root_is_handed_to_the_engines_user(prepared, tmp_path):
    with attached(prepared):
        pass
    copied = tmp_path / "copied"
    subprocess.run(["cp", "-r", prepared, copied], check=True)
    assert owner(copied / "postgres") == 0

    with attached(copied) as engines:
        assert engines.postgres
        assert engines.postgres.running
    assert owner(copied / "postgres" / "base") != 0


def test_somebody_elses_preparedectory_is_refused_in_plain_words(ordinary, prepared):
    with attached(prepared):
        pass

    done = use_as(ordinary, prepared)

    assert done.returncode != 0
    assert EmbeddedEngineError.__name__.encode() in done.stdout
    assert b"belongs to another user" in done.stdout
