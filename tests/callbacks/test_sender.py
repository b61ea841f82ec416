"""One try of a callback against real TLS receivers, good and bad."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from standardwebhooks import Webhook

from gateway.callbacks import sender as sender_module
from gateway.callbacks.sender import HttpCallbackSender
from gateway.domain.callback import Callback, TryResult
from gateway.egress import clients as clients_module
from gateway.egress.clients import callback_client
from tests.support.certificates import Authority, authority
from tests.support.receivers import (
    Answer,
    Received,
    Receiver,
    ScriptedDns,
    receiver,
    reply,
)

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
BODY = json.dumps({"id": "task_1", "status": "completed", "提示": "猫"}).encode()
HOST = "hooks.internal"


class WallClock:
    def now_ms(self) -> int:
        return int(time.time() * 1000)


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


def callback_to(url: str) -> Callback:
    return Callback("msg_1", "task_1", "team_1", url, "completed", 0, (SECRET,))


async def send(
    ca: Authority, server: Receiver, *, url: str | None = None, trust: bool = True
) -> TryResult:
    allowed = [f"{HOST}:{server.port}"]
    dns = ScriptedDns(**{HOST: [["127.0.0.1"]]})
    async with callback_client(allowed, ca.ca_file if trust else None, dns.lookup()) as client:
        callback = callback_to(url or f"https://{HOST}:{server.port}/done?x=1")
        return await HttpCallbackSender(client, WallClock(), allowed).send(callback, BODY)


async def test_a_receiver_gets_the_signed_body_over_tls(ca: Authority):
    async with receiver(reply(200, b"ok"), ca.server(HOST)) as server:
        result = await send(ca, server)

    [request] = server.requests
    assert result.delivered
    assert (result.status, result.error) == (200, None)
    assert (request.method, request.path, request.body) == ("POST", "/done?x=1", BODY)
    assert Webhook(SECRET).verify(request.body, request.headers)["id"] == "task_1"
    headers = {k: v for k, v in request.headers.items() if not k.startswith("webhook-")}
    assert headers == {
        "host": f"{HOST}:{server.port}",
        "accept": "*/*",
        "accept-encoding": "identity",
        "connection": "keep-alive",
        "user-agent": "image-gateway/0.1.0",
        "content-type": "application/json",
        "content-length": str(len(BODY)),
    }


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_a_success(ca: Authority, status: int):
    async with receiver(reply(status), ca.server(HOST)) as server:
        result = await send(ca, server)

    assert result.delivered
    assert result.status == status


@pytest.mark.parametrize("status", [400, 401, 404, 410, 429, 500, 503])
async def test_any_other_answer_is_a_failure_that_names_its_status(ca: Authority, status: int):
    async with receiver(reply(status), ca.server(HOST)) as server:
        result = await send(ca, server)

    assert not result.delivered
    assert (result.status, result.error) == (status, f"answered {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure_and_is_not_followed(ca: Authority, status: int):
    async with receiver(reply(200)) as other:
        answer = reply(status, location=f"http://127.0.0.1:{other.port}/")
        async with receiver(answer, ca.server(HOST)) as server:
            result = await send(ca, server)

    assert (result.status, result.delivered) == (status, False)
    assert "redirects are not followed" in str(result.error)
    assert other.connections == 0


async def test_a_receiver_whose_authority_is_unknown_is_a_failure(ca: Authority):
    async with receiver(reply(200), ca.server(HOST)) as server:
        result = await send(ca, server, trust=False)

    assert result.status is None
    assert "certificate is not trusted" in str(result.error)
    assert server.requests == []


@pytest.mark.parametrize(
    ("name", "expired", "words"),
    [("other.internal", False, "mismatch"), (HOST, True, "expired")],
)
async def test_a_certificate_that_is_not_the_receivers_is_a_failure(
    ca: Authority, name: str, expired: bool, words: str
):
    async with receiver(reply(200), ca.server(name, expired=expired)) as server:
        result = await send(ca, server)

    assert words in str(result.error)
    assert server.requests == []


async def test_a_receiver_without_tls_is_a_failure(ca: Authority):
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 This is not TLS\r\n\r\n")
        await reader.read()
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        result = await send(ca, Receiver(server.sockets[0].getsockname()[1]))

    assert (result.status, result.error) == (None, "the TLS handshake failed")


async def test_plain_http_is_refused_even_for_a_listed_receiver(ca: Authority):
    async with receiver(reply(200)) as server:
        result = await send(ca, server, url=f"http://{HOST}:{server.port}/")

    assert result.error == "The callback URL must start with https://."
    assert server.connections == 0


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "TIMEOUT_S", 0.3)


async def nothing(_: Received, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def drip_header(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nx-drip: ")
    for _step in range(100):
        writer.write(b".")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("answer", [nothing, drip_header])
@pytest.mark.usefixtures("short_timeout")
async def test_the_whole_try_has_one_deadline(ca: Authority, answer: Answer):
    async with receiver(answer, ca.server(HOST)) as server:
        result = await send(ca, server)

    assert (result.status, result.error) == (None, "no answer within 0.3 seconds")
    assert len(server.requests) == 1


async def drop(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def garbage(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")


@pytest.mark.parametrize("answer", [drop, garbage])
async def test_a_broken_answer_is_a_failure(ca: Authority, answer: Answer):
    async with receiver(answer, ca.server(HOST)) as server:
        result = await send(ca, server)

    assert result.status is None
    assert result.error


async def test_a_closed_port_is_a_failure_that_names_no_address(ca: Authority):
    async with receiver(reply(200), ca.server(HOST)) as server:
        pass
    result = await send(ca, server)

    assert result.status is None
    assert "Connection refused" in str(result.error)
    assert "127.0.0.1" not in str(result.error)


async def test_an_endless_answer_is_a_success_of_which_little_is_read(ca: Authority):
    written = 0

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        for _step in range(20_000):
            writer.write(b"x" * 10_000)
            written += 10_000
            await writer.drain()

    async with receiver(endless, ca.server(HOST)) as server:
        result = await send(ca, server)

    assert result.delivered
    assert written < 20_000_000


@pytest.mark.usefixtures("short_timeout")
async def test_an_answer_whose_body_never_ends_counts_by_its_status(ca: Authority):
    async def half(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oh\r\ncontent-length: 10\r\n\r\nhalf")
        await writer.drain()
        await asyncio.sleep(30)

    async with receiver(half, ca.server(HOST)) as server:
        result = await send(ca, server)

    assert (result.status, result.error) == (500, "answered 500")


async def test_a_receiver_inside_the_network_that_is_not_listed_is_refused(ca: Authority):
    async with receiver(reply(200), ca.server("localhost")) as server:
        dns = ScriptedDns(**{"hooks.example.com": [["127.0.0.1"]]})
        async with callback_client((), ca.ca_file, dns.lookup()) as client:
            sender = HttpCallbackSender(client, WallClock())
            result = await sender.send(
                callback_to(f"https://hooks.example.com:{server.port}/"), BODY
            )

    assert (result.status, result.error) == (None, "the address is not public")
    assert server.connections == 0


@pytest.fixture
async def tries(ca: Authority) -> AsyncIterator[list[Received]]:
    async with receiver(reply(500), ca.server(HOST)) as server:
        for tried in range(3):
            allowed = [f"{HOST}:{server.port}"]
            dns = ScriptedDns(**{HOST: [["127.0.0.1"]]})
            async with callback_client(allowed, ca.ca_file, dns.lookup()) as client:
                callback = callback_to(f"https://{HOST}:{server.port}/")
                sender = HttpCallbackSender(client, WallClock(), allowed)
                await sender.send(replace(callback, tries=tried), BODY)
        yield server.requests


async def test_every_try_has_the_same_id_and_a_signature_of_its_own_time(tries: list[Received]):
    assert {request.headers["webhook-id"] for request in tries} == {"msg_1"}
    for request in tries:
        Webhook(SECRET).verify(request.body, request.headers)


def test_an_extra_authority_is_trusted_beside_the_usual_ones(ca: Authority):
    usual = clients_module._tls(None).get_ca_certs()
    extended = clients_module._tls(str(ca.ca_file)).get_ca_certs()

    assert len(usual) > 50
    assert len(extended) == len(usual) + 1
