"""What the guard lets through: exactly the exempt hosts, judged when the socket is opened."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest

from gateway.domain.model import Secret, Upstream
from gateway.egress.clients import callback_client, fetch_client, upstream_client
from gateway.egress.guard import AddressNotPublic, AddressRefused, Resolver
from tests.support.receivers import ScriptedDns, receiver, reply

PUBLIC = ["93.184.215.14"]
LOOPBACK = ["127.0.0.1"]


def upstream_at(base_url: str, *, allow_private: bool = True) -> Upstream:
    return Upstream("own", "openai", base_url, Secret("k"), allow_private=allow_private)


async def test_a_name_that_turns_private_after_it_was_judged_is_refused():
    dns = ScriptedDns(**{"rebind.example.com": [PUBLIC, LOOPBACK]})
    async with receiver(reply(200)) as server, fetch_client(lookup=dns.lookup()) as client:
        judged = await dns.lookup().addresses("rebind.example.com", 80)
        with pytest.raises(AddressRefused):
            await client.get(f"http://rebind.example.com:{server.port}/")

    assert judged == tuple(PUBLIC)
    assert dns.asked == ["rebind.example.com", "rebind.example.com"]
    assert server.connections == 0


async def test_the_address_that_was_judged_is_the_one_connected_to():
    dns = ScriptedDns(**{"rebind.example.com": [LOOPBACK, ["203.0.113.1"]]})
    async with receiver(reply(204)) as server:
        allowed = [f"rebind.example.com:{server.port}"]
        async with fetch_client(allowed, lookup=dns.lookup()) as client:
            answer = await client.get(f"http://rebind.example.com:{server.port}/")

    assert answer.status_code == 204
    assert dns.asked == ["rebind.example.com"]


async def test_one_bad_address_among_good_ones_refuses_the_name():
    dns = ScriptedDns(**{"mixed.example.com": [[*PUBLIC, *LOOPBACK]]})
    async with receiver(reply(200)) as server, fetch_client(lookup=dns.lookup()) as client:
        with pytest.raises(AddressRefused):
            await client.get(f"http://mixed.example.com:{server.port}/")

    assert server.connections == 0


@pytest.mark.parametrize("answer", [[*PUBLIC, *LOOPBACK], ["2606:4700::1", "fd00::1"]])
async def test_the_resolver_itself_refuses_such_a_name_before_any_socket(answer: list[str]):
    lookup = ScriptedDns(**{"mixed.example.com": [answer]}).lookup()

    with pytest.raises(AddressNotPublic):
        await Resolver(lookup, guarded=True).resolve("mixed.example.com", 443)
    unguarded = await Resolver(lookup, guarded=False).resolve("mixed.example.com", 443)

    assert [entry["host"] for entry in unguarded] == answer


async def test_a_listed_host_and_port_is_reached():
    dns = ScriptedDns(**{"hooks.internal": [LOOPBACK]})
    async with receiver(reply(200, b"hello")) as server:
        allowed = [f"hooks.internal:{server.port}"]
        async with callback_client(allowed, lookup=dns.lookup()) as client:
            answer = await client.post(f"http://hooks.internal:{server.port}/x", content=b"{}")

    assert answer.content == b"hello"
    assert server.requests[0].path == "/x"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "other.internal", "a.hooks.internal", "hooks.internal.evil.com"],
)
async def test_another_host_at_the_same_address_is_not(host: str):
    names = ["hooks.internal", "other.internal", "a.hooks.internal", "hooks.internal.evil.com"]
    dns = ScriptedDns(**{name: [LOOPBACK] for name in [*names, "localhost"]})
    async with receiver(reply(200)) as server:
        allowed = [f"hooks.internal:{server.port}"]
        async with callback_client(allowed, lookup=dns.lookup()) as client:
            await client.get(f"http://hooks.internal:{server.port}/")
            with pytest.raises(AddressRefused):
                await client.get(f"http://{host}:{server.port}/")

    assert server.connections == 1


async def test_another_port_of_a_listed_host_is_not():
    dns = ScriptedDns(**{"hooks.internal": [LOOPBACK]})
    async with receiver(reply(200)) as server:
        allowed = [f"hooks.internal:{server.port + 1}", "hooks.internal:443"]
        async with callback_client(allowed, lookup=dns.lookup()) as client:
            with pytest.raises(AddressRefused):
                await client.get(f"http://hooks.internal:{server.port}/")

    assert server.connections == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_into_the_network_is_not_followed(status: int):
    async with receiver(reply(200)) as inside:
        target = f"http://127.0.0.1:{inside.port}/"
        async with receiver(reply(status, location=target)) as server:
            allowed = [f"127.0.0.1:{server.port}"]
            async with fetch_client(allowed, lookup=ScriptedDns().lookup()) as client:
                answer = await client.get(f"http://127.0.0.1:{server.port}/")

    assert answer.status_code == status
    assert inside.connections == 0


async def test_a_private_upstream_reaches_its_own_host_on_any_port():
    dns = ScriptedDns(**{"comfy.internal": [LOOPBACK]})
    async with receiver(reply(200)) as api, receiver(reply(200, b"png")) as files:
        upstream = upstream_at(f"http://comfy.internal:{api.port}/v1")
        async with upstream_client(upstream, dns.lookup()) as client:
            submitted = await client.post("/images/generations", json={})
            by_name = await client.get(f"http://comfy.internal:{files.port}/1.png")
            by_address = await client.get(f"http://127.0.0.1:{files.port}/2.png")

    assert submitted.status_code == 200
    assert api.requests[0].path == "/v1/images/generations"
    assert by_name.content == by_address.content == b"png"


@pytest.mark.parametrize("host", ["127.0.0.2", "10.0.0.9", "other.internal", "[::1]"])
async def test_a_private_upstream_reaches_no_other_private_host(host: str):
    dns = ScriptedDns(**{"comfy.internal": [LOOPBACK], "other.internal": [LOOPBACK]})
    async with receiver(reply(200)) as server:
        upstream = upstream_at(f"http://comfy.internal:{server.port}")
        async with upstream_client(upstream, dns.lookup()) as client:
            with pytest.raises(AddressRefused):
                await client.get(f"http://{host}:{server.port}/")

    assert server.connections == 0


async def test_a_private_upstream_named_by_address_does_not_exempt_names():
    dns = ScriptedDns(localhost=[LOOPBACK])
    async with receiver(reply(200)) as server:
        upstream = upstream_at(f"http://127.0.0.1:{server.port}")
        async with upstream_client(upstream, dns.lookup()) as client:
            reached = await client.get("/")
            with pytest.raises(AddressRefused):
                await client.get(f"http://localhost:{server.port}/")

    assert reached.status_code == 200


async def test_an_upstream_that_is_not_private_is_refused_when_its_name_resolves_inside():
    dns = ScriptedDns(**{"api.vendor.com": [LOOPBACK]})
    async with receiver(reply(200)) as server:
        private = upstream_at(f"http://api.vendor.com:{server.port}")
        async with upstream_client(replace(private, allow_private=False), dns.lookup()) as client:
            with pytest.raises(httpx.ConnectError, match="not public"):
                await client.post("/images/generations", json={})

    assert server.connections == 0
