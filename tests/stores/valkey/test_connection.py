from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from redis.exceptions import ResponseError

from gateway.domain.errors import IndexUnavailable
from gateway.domain.health import Signal, SignalKind
from gateway.stores.valkey import connection as connection_module
from gateway.stores.valkey import scripts
from gateway.stores.valkey.budgets import UpstreamLimits, ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.health import ValkeyHealthBoard
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from tests.stores.valkey.helpers import FakePostgres, a_task, ended, until_back

REDIS_SERVER = shutil.which("redis-server")


@contextmanager
def redis_7(folder: Path, *options: str) -> Iterator[Path]:
    """The system's Redis server, for one test; gives its unix socket."""
    if REDIS_SERVER is None:
        pytest.skip("no redis-server on this system")
    socket = folder / "redis.sock"
    command = [REDIS_SERVER, "--unixsocket", str(socket), "--save", "", "--dir", str(folder)]
    with subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL) as server:
        yield socket
        server.terminate()


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(today - timedelta(days=1))
    builder = builder.not_valid_after(today + timedelta(days=1)).add_extension(here, critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    paths = folder / "cert.pem", folder / "key.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    paths[0].write_bytes(certificate.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return paths


async def test_concurrent_commands_each_get_their_own_reply(server):
    replies = await asyncio.gather(*(server.execute("ECHO", str(no)) for no in range(1_000)))
    assert replies == [str(no).encode() for no in range(1_000)]


async def test_an_error_of_one_command_stays_with_that_command(server):
    await server.execute("SET", "text", "x")
    commands = (("ECHO", "1"), ("INCR", "text"), ("ECHO", "2"))
    calls = [server.execute(*command) for command in commands]
    replies = await asyncio.gather(*calls, return_exceptions=True)
    assert (replies[0], replies[2]) == (b"1", b"2")
    assert isinstance(replies[1], ResponseError)


async def test_callers_cancelled_at_any_moment_never_disturb_others(server):
    async def impatient(no: int) -> None:
        try:
            async with asyncio.timeout(no % 7 / 10_000):
                assert await server.execute("ECHO", f"i{no}") == f"i{no}".encode()
        except TimeoutError:
            pass

    async def patient(no: int) -> None:
        assert await server.execute("ECHO", f"p{no}") == f"p{no}".encode()

    for _ in range(20):
        await asyncio.gather(*(impatient(no) for no in range(50)), *map(patient, range(50)))


async def test_scripts_are_loaded_again_after_the_server_forgot_them(server, live, now):
    await live.enqueue(a_task(1), now.ms)
    await server.execute("SCRIPT", "FLUSH")
    await asyncio.gather(
        *(live.enqueue(a_task(no), now.ms) for no in range(2, 9)), live.claim(0, 1)
    )
    assert len(await live.claim(10, 1_000)) == 8


async def test_commands_fail_at_once_while_the_server_is_away_and_work_when_it_is_back(own_valkey):
    connection = Valkey(own_valkey.url)
    await connection.ping()
    await asyncio.to_thread(own_valkey.kill)
    for _ in range(3):
        with pytest.raises(IndexUnavailable):
            await connection.execute("ECHO", "1")
    await asyncio.to_thread(own_valkey.restart)
    await until_back(connection)
    assert await connection.execute("ECHO", "1") == b"1"
    assert (await connection.run(scripts.load("figures"), ["igw:due"])) == [0, 0, 0]
    await connection.aclose()


async def test_an_absent_server_is_not_stormed_with_connects(monkeypatch):
    connects = 0

    async def count(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connects
        connects += 1
        writer.close()
        await writer.wait_closed()

    listener = await asyncio.start_server(count, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    monkeypatch.setattr(connection_module, "AWAY_PAUSE_S", 60.0)
    connection = Valkey(f"redis://127.0.0.1:{port}/0")
    for _ in range(200):
        with pytest.raises(IndexUnavailable):
            await connection.ping()
    assert 1 <= connects <= 2
    listener.close()
    await connection.aclose()


async def test_a_server_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(connection_module, "REPLY_TIMEOUT_S", 0.1)
    released = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    connection = Valkey(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    with pytest.raises(IndexUnavailable):
        await connection.ping()
    released.set()
    listener.close()
    await connection.aclose()


async def test_everything_works_on_redis_7_with_a_database_number(tmp_path, database):
    with redis_7(tmp_path, "--port", "0") as socket:
        await live_a_life(f"unix://{socket}?db=3", database)


async def test_everything_works_over_tls_with_a_password(tmp_path, unused_tcp_port, database):
    certificate, key = self_signed(tmp_path)
    files = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    client = ("--tls-ca-cert-file", str(certificate), "--tls-auth-clients", "no")
    port = str(unused_tcp_port)
    options = ("--port", "0", "--tls-port", port, "--bind", "127.0.0.1", *files, *client)
    with redis_7(tmp_path, *options, "--requirepass", "p@ss"):
        address = f"127.0.0.1:{port}/0?ssl_ca_certs={certificate}"
        await live_a_life(f"rediss://:p%40ss@{address}", database)
        stranger = Valkey(f"rediss://:wrong@{address}")
        with pytest.raises(IndexUnavailable):
            await stranger.ping()
        await stranger.aclose()


async def live_a_life(url: str, database: FakePostgres) -> None:
    """Do everything that the stores do with a server."""
    connection = Valkey(url)
    live = ValkeyLiveTasks(connection, database.get)
    await until_back(connection)
    await live.enqueue(a_task(), connection.now_ms())
    waiting = asyncio.create_task(live.wait(a_task().id, asyncio.timeout(20)))
    (lease,) = await live.claim(1, 10_000)
    await live.renew([lease], 10_000)
    assert await live.save(lease, ended(a_task()), None)
    assert await waiting == ended(a_task())
    assert await live.epoch_lost()
    await live.mark_epoch()
    assert not await live.epoch_lost()
    board = ValkeyHealthBoard(connection)
    await board.observe("u", "m", Signal(SignalKind.ACCOUNT), connection.now_ms())
    assert ("u", "m") in await ValkeyHealthBoard(connection).circuits()
    limits = {"u": UpstreamLimits(1, Decimal(5), Decimal(20))}
    budgets = ValkeyBudgets(connection, lambda: limits)
    assert [await budgets.take_submit("u", "a"), await budgets.take_query("u", 20)] == [0, 0]
    assert await budgets.take_query("u") > 0
    assert await budgets.in_flight() == {"u": 1}
    await live.aclose()
    await connection.aclose()


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    ],
    ids=["a replica after a failover", "out of memory"],
)
async def test_a_server_that_takes_no_writes_counts_as_away(
    own_valkey, database, break_it, mend_it
):
    connection = Valkey(own_valkey.url)
    live = ValkeyLiveTasks(connection, database.get)
    await connection.execute(*break_it)
    with pytest.raises(IndexUnavailable):
        await live.enqueue(a_task(), connection.now_ms())
    await connection.execute(*mend_it)
    await live.enqueue(a_task(), connection.now_ms())
    assert await live.get(a_task().id) == a_task()
    await connection.aclose()


async def test_a_closed_connection_takes_no_more_commands(redis_url):
    connection = Valkey(redis_url)
    await connection.aclose()
    with pytest.raises(IndexUnavailable):
        await connection.ping()
