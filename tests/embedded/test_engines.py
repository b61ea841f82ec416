"""The embedded engines: data kept, shared by processes, and every kind of death survived."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from gateway.embedded import EmbeddedEngineError, EmbeddedPostgres, EmbeddedValkey, attached, watch
from tests.support.engines import copy_server, execute

ROOT = Path(__file__).parents[2]
NAMES = ("postgres", "valkey")

# What another process does: attach, say so, then wait for its standard input to end.
HOLDER = """
import sys
from pathlib import Path
from gateway.embedded import attached
with attached(Path(sys.argv[1])) as engines:
    print(engines.postgres.pid, engines.valkey.pid, flush=True)
    sys.stdin.read()
"""


class Holder:
    """Another process that uses the engines of a data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        assert self.process.stdout
        self.pids = tuple(int(pid) for pid in self.process.stdout.readline().split())

    def leave(self) -> None:
        self.process.communicate()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def pids(data_dir: Path) -> tuple[int | None, int | None]:
    return EmbeddedPostgres(data_dir).pid, EmbeddedValkey(data_dir).pid


def query(url: str, statement: str) -> Any:
    async def run() -> Any:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return bool(client.ping())


@pytest.fixture
def used(tmp_path, blank_server):
    """A data directory whose engines ran and stopped once; nothing runs after the test."""
    data_dir = tmp_path / "data"
    copy_server(blank_server, data_dir)
    with attached(data_dir) as engines:
        assert engines.postgres
        execute(
            engines.postgres, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('yes')"
        )
        query(engines.postgres.url, "SELECT 1")
    yield data_dir
    for engine in (EmbeddedPostgres(data_dir), EmbeddedValkey(data_dir)):
        engine.stop()


def test_both_engines_answer_and_data_outlives_a_stop(used):
    with attached(used) as engines:
        assert engines.postgres
        assert engines.valkey
        assert query(engines.postgres.url_of("postgres"), "SELECT word FROM kept") == "yes"
        assert query(engines.postgres.url, "SELECT current_database()") == "gateway"
        assert query(engines.postgres.url, "SHOW server_version_num") > "180000"
        assert ping(engines.valkey.url)

    assert pids(used) == (None, None)


def test_the_index_engine_saves_nothing_and_never_evicts(own_valkey):
    with redis.Redis.from_url(own_valkey.url) as client:
        settings = client.config_get("save", "appendonly", "maxmemory-policy", "port")

    assert settings == {
        "save": "",
        "appendonly": "no",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }


def test_the_truth_engine_listens_on_no_port_and_is_durable(own_postgres):
    assert query(own_postgres.url, "SHOW listen_addresses") == ""
    assert query(own_postgres.url, "SHOW fsync") == "on"
    assert query(own_postgres.url, "SHOW synchronous_commit") == "on"
    assert query(own_postgres.url, "SHOW data_checksums") == "on"
    assert query(own_postgres.url, "SHOW server_encoding") == "UTF8"


def test_a_second_process_attaches_and_leaves_the_engines_running(used):
    with attached(used):
        first = pids(used)
        other = Holder(used)
        other.leave()

        assert other.pids == first
        assert pids(used) == first


def test_engines_started_by_a_short_command_stay_for_the_long_one(used):
    command = Holder(used)
    with attached(used) as engines:
        command.leave()

        assert pids(used) == command.pids
        assert engines.valkey
        assert ping(engines.valkey.url)
    assert pids(used) == (None, None)


def test_many_processes_starting_at_once_share_one_pair(used):
    holders = [Holder(used) for _ in range(4)]

    assert len({holder.pids for holder in holders}) == 1
    for holder in holders:
        holder.leave()
    assert pids(used) == (None, None)


def test_a_killed_user_leaves_engines_that_the_next_one_takes_over(used):
    user = Holder(used)
    user.kill()
    assert pids(used) == user.pids

    with attached(used):
        assert pids(used) == user.pids
    assert pids(used) == (None, None)


def test_unclaimed_engines_can_be_swept_and_claimed_ones_cannot(used):
    user = Holder(used)
    EmbeddedValkey(used).stop_unclaimed()
    assert pids(used) == user.pids

    user.kill()
    EmbeddedValkey(used).stop_unclaimed()
    assert pids(used) == (user.pids[0], None)


def test_everything_killed_at_once_is_recovered_with_its_data(used):
    user = Holder(used)
    for pid in user.pids:
        os.kill(pid, signal.SIGKILL)
    user.kill()

    with attached(used) as engines:
        assert engines.postgres
        assert engines.valkey
        assert query(engines.postgres.url_of("postgres"), "SELECT word FROM kept") == "yes"
        assert ping(engines.valkey.url)


@pytest.mark.parametrize("name", NAMES)
def test_kill_and_restart_change_the_process_and_keep_the_address(used, name):
    with attached(used) as engines:
        engine = getattr(engines, name)
        url, first = engine.url, engine.pid
        engine.kill()
        assert not engine.running

        assert engine.ensure() == url
        second = engine.pid
        engine.restart()

        assert len({first, second, engine.pid}) == 3
        assert engine.url == url


def test_committed_work_survives_a_kill_with_clients_connected(own_postgres):
    async def commit_then_die() -> None:
        connection = await asyncpg.connect(own_postgres.url)
        await connection.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (7)")
        await asyncio.to_thread(own_postgres.kill)
        gone = (asyncpg.PostgresError, OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
        with pytest.raises(gone):
            await connection.fetchval("SELECT 1")
        connection.terminate()

    asyncio.run(commit_then_die())
    own_postgres.ensure()

    assert query(own_postgres.url, "SELECT n FROM t") == 7


@pytest.mark.parametrize("stale_pid", ["1", "self", "999999999"])
def test_a_stale_pid_file_is_not_believed(used, stale_pid):
    pid = str(os.getpid()) if stale_pid == "self" else stale_pid
    lines = [pid, str(used / "postgres"), "1", "5432", str(used / "postgres"), "", "1 1", "ready"]
    (used / "postgres" / "postmaster.pid").write_text("\n".join(lines) + "\n")
    (used / "run" / "postgres.alive").write_text(pid)
    assert EmbeddedPostgres(used).pid is None

    with attached(used) as engines:
        assert engines.postgres
        assert query(engines.postgres.url, "SELECT 1") == 1


def test_a_first_start_killed_halfway_starts_over(tmp_path):
    half = tmp_path / "data" / "postgres.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")

    with attached(tmp_path / "data", valkey=False) as engines:
        assert engines.valkey is None
        assert engines.postgres
        assert query(engines.postgres.url, "SELECT 1") == 1
    assert not half.exists()


def test_an_engine_that_dies_is_started_again_while_watched(used):
    async def die_and_wait() -> None:
        with attached(used) as engines:
            assert engines.valkey
            watching = asyncio.create_task(watch(engines, interval_s=0.05))
            first = engines.valkey.pid
            engines.valkey.kill()
            async with asyncio.timeout(10):
                while engines.valkey.pid in (None, first):
                    await asyncio.sleep(0.02)
            watching.cancel()

    asyncio.run(die_and_wait())


def test_ctrl_c_in_the_terminal_does_not_reach_the_engines(used):
    starter = Holder(used)
    with attached(used):
        os.killpg(starter.process.pid, signal.SIGINT)
        starter.process.communicate()

        assert pids(used) == starter.pids


@pytest.mark.parametrize("odd", ["deep/" * 30, "with blank, comma", "ünï"])
def test_any_data_directory_gets_a_usable_socket(tmp_path, blank_server, odd):
    copy_server(blank_server, tmp_path / odd)

    with attached(tmp_path / odd) as engines:
        assert engines.postgres
        assert engines.valkey
        assert len(os.fsencode(engines.valkey.socket_path)) < 104
        assert query(engines.postgres.url, "SELECT 1") == 1
        assert ping(engines.valkey.url)
        sockets = engines.valkey.socket_path.parent
        assert sockets != engines.valkey.home
    assert not sockets.exists()


def test_a_broken_data_directory_is_explained_with_the_engines_own_words(used):
    (used / "postgres" / "PG_VERSION").write_text("9.6\n")

    with pytest.raises(EmbeddedEngineError, match=r"initialized by PostgreSQL version 9\.6"):
        EmbeddedPostgres(used).ensure()
