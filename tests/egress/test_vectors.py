"""Every known way to name this machine or its network, each watched by a canary that must hear
nothing: through callbacks, through picture downloads, and through the socket guard alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from gateway.callbacks.sender import HttpCallbackSender
from gateway.domain.callback import Callback
from gateway.egress.clients import callback_client, fetch_client
from gateway.egress.guard import AddressRefused, open_public_socket
from gateway.egress.resolve import Lookup
from tests.support.receivers import Canary, ScriptedDns


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


V4_LITERALS = words(
    "127.0.0.1 127.0.0.2 127.1.2.3 127.255.255.254 127.1 127.0.1 127.0.0.01 0127.0.0.1 0177.0.0.1 "
    "0177.0.0.01 0177.1 017700000001 00000000177.0.0.1 2130706433 2130706434 02130706433 "
    "0x7f000001 0X7F000001 0x7f.0.0.1 0x7f.0x0.0x0.0x1 0x7f.1 0x7f.0.1 0x000000007f.1 127.0x1 "
    "0x7f000001. 127.0.0.1. 127.0.0.1.. 6425673729 0 0.0.0.0 0.0.0.1 00.00.00.00 0x0 0x0.0x0 0. "
    "10.0.0.1 10.255.255.255 012.0.0.1 0xa000001 167772161 172.16.0.1 172.31.255.255 0xac100001 "
    "192.168.0.1 192.168.1.1 0xc0a80101 3232235777 192.168.257 169.254.169.254 0xa9fea9fe "
    "2852039166 0251.0376.0251.0376 169.254.43518 100.64.0.1 100.100.100.200 168.63.129.16 "
    "192.0.0.192 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 "
    "240.0.0.1 255.255.255.255"
)

V6_LITERALS = words(
    "[::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0.0.0.1] [::] [::0] "
    "[0:0:0:0:0:0:0:0] [::ffff:127.0.0.1] [::ffff:7f00:1] [::FFFF:127.0.0.1] [::ffff:0.0.0.0] "
    "[0:0:0:0:0:ffff:7f00:1] [::ffff:10.0.0.1] [::ffff:192.168.1.1] [::ffff:169.254.169.254] "
    "[::ffff:0:127.0.0.1] [::127.0.0.1] [::7f00:1] [64:ff9b::127.0.0.1] [64:ff9b::7f00:1] "
    "[64:ff9b::a9fe:a9fe] [64:ff9b:1::127.0.0.1] [2002:7f00:1::] [2002:a9fe:a9fe::1] "
    "[2001:0:4136:e378:8000:63bf:80ff:fffe] [2a00:1450::5efe:127.0.0.1] [fe80::1] [fe80::1%25lo] "
    "[fe80::1%25eth0] [fe80::a9fe:a9fe] [fec0::1] [fc00::1] [fd00::2] [fd00:ec2::254] "
    "[fd20:ce::254] [ff02::1] [ff01::1] [100::1] [2001:db8::1] [3fff::1] [5f00::1] [2001:2::1] "
    "[2001:10::1] [127.0.0.1] [::1%25lo] [::1]. [v1.7f00:1] [::ffff:127.1]"
)

NAMES = words(
    "localhost LOCALHOST localhost. any.localhost localhost.localdomain loop.example.com "
    "loop6.example.com mapped.example.com any.example.com any6.example.com ten.example.com "
    "metadata.example.com metadata6.example.com nat64.example.com sixtofour.example.com "
    "teredo.example.com cgnat.example.com ula.example.com link.example.com mixed.example.com "
    "mixed6.example.com multicast.example.com broadcast.example.com LOOP.example.com "
    "loop.example.com. metadata.google.internal metadata host.docker.internal db printer.local "
    "127.0.0.1.nip.example.com"
)

LOOK_ALIKES = (
    "１２７.０.０.１",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "①②⑦.⓪.⓪.①",
    "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "ｌｏｃａｌｈｏｓｔ",
    "loc\u00adalhost",
    "loca\u200blhost",
    "ſocalhost",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "localhost%00",
    "%6cocalhost",
)

# What stands before the port; the canary's port is appended, or put where {port} stands.
USER_INFO = (
    "hooks.example.com@127.0.0.1",
    "hooks.example.com:443@127.0.0.1",
    "hooks.example.com%40127.0.0.1",
    "127.0.0.1:{port}@127.0.0.1",
    "127.0.0.1:{port}\\@hooks.example.com",
    "127.0.0.1:{port}#@hooks.example.com",
    "127.0.0.1:{port}?@hooks.example.com",
    "127.0.0.1:{port}/@hooks.example.com",
    "127.0.0.1:{port}%2f@hooks.example.com",
    "@127.0.0.1",
    ":@127.0.0.1",
    "127.0.0.1:80:{port}",
    "127.0.0.1:{port};.example.com",
    "127.0.0.1:{port}%20.example.com",
    "127.0.0.1:{port}\t.example.com",
    "127.0.0.1\r\n",
    " 127.0.0.1",
    "/127.0.0.1",
    "\\127.0.0.1",
)

AUTHORITIES = (*V4_LITERALS, *V6_LITERALS, *NAMES, *LOOK_ALIKES, *USER_INFO)

# These do reach the canary when nothing guards them: the proof that it listens.
DANGEROUS = words(
    "127.0.0.1 127.0.0.2 127.255.255.254 0.0.0.0 0x7f000001 localhost [::1] [::] "
    "[0:0:0:0:0:0:0:1] loop.example.com loop6.example.com any.example.com any6.example.com"
)


@pytest.fixture
def dns() -> ScriptedDns:
    dns = ScriptedDns()
    for name, answer in {
        "localhost": ["127.0.0.1", "::1"],
        "LOCALHOST": ["127.0.0.1"],
        "any.localhost": ["127.0.0.1"],
        "localhost.localdomain": ["127.0.0.1"],
        "loop.example.com": ["127.0.0.1"],
        "LOOP.example.com": ["127.0.0.1"],
        "loop6.example.com": ["::1"],
        "mapped.example.com": ["::ffff:127.0.0.1"],
        "any.example.com": ["0.0.0.0"],
        "any6.example.com": ["::"],
        "ten.example.com": ["10.0.0.1"],
        "metadata.example.com": ["169.254.169.254"],
        "metadata6.example.com": ["fd00:ec2::254"],
        "nat64.example.com": ["64:ff9b::7f00:1"],
        "sixtofour.example.com": ["2002:7f00:1::"],
        "teredo.example.com": ["2001:0:4136:e378:8000:63bf:80ff:fffe"],
        "cgnat.example.com": ["100.100.100.200"],
        "ula.example.com": ["fd00::2"],
        "link.example.com": ["fe80::1%lo"],
        "mixed.example.com": ["8.8.8.8", "127.0.0.1"],
        "mixed6.example.com": ["2606:4700:4700::1111", "::1"],
        "multicast.example.com": ["224.0.0.1"],
        "broadcast.example.com": ["255.255.255.255"],
        "metadata.google.internal": ["169.254.169.254"],
        "metadata": ["169.254.169.254"],
        "host.docker.internal": ["172.17.0.1"],
        "db": ["10.0.0.5"],
        "printer.local": ["192.168.1.9"],
        "127.0.0.1.nip.example.com": ["127.0.0.1"],
    }.items():
        dns.set(name, answer)
    return dns


@pytest.fixture
def canary() -> Iterator[Canary]:
    canary = Canary()
    yield canary
    canary.close()


@pytest.fixture
def lookup(dns: ScriptedDns) -> Lookup:
    return dns.lookup()


class StoppedClock:
    def now_ms(self) -> int:
        return 1_800_000_000_000


def url_of(scheme: str, authority: str, port: int) -> str:
    if "{port}" in authority:
        return f"{scheme}://{authority.format(port=port)}/"
    return f"{scheme}://{authority}:{port}/"


def test_there_are_at_least_120_different_vectors():
    assert len(set(AUTHORITIES)) >= 120


@pytest.mark.parametrize("authority", AUTHORITIES)
async def test_a_callback_never_reaches_the_canary(authority: str, canary: Canary, lookup: Lookup):
    async with callback_client(lookup=lookup) as client:
        sender = HttpCallbackSender(client, StoppedClock())
        url = url_of("https", authority, canary.port)
        callback = Callback("msg_1", "t", "team", url, "completed", 0, ("whsec_" + "A" * 43 + "=",))
        result = await sender.send(callback, b"{}")

    assert canary.heard() == 0
    assert result.status is None
    assert result.error
    assert not result.delivered


@pytest.mark.parametrize("authority", AUTHORITIES)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_socket_guard_alone_keeps_every_vector_from_the_canary(
    scheme: str, authority: str, canary: Canary, lookup: Lookup
):
    async with fetch_client(lookup=lookup) as client:
        with pytest.raises((httpx.TransportError, httpx.InvalidURL)) as caught:
            await client.get(url_of(scheme, authority, canary.port))

    assert canary.heard() == 0
    if isinstance(caught.value, httpx.TransportError):
        assert "127.0.0" not in str(caught.value)


@pytest.mark.parametrize("authority", DANGEROUS)
async def test_without_the_guard_the_canary_does_hear(
    authority: str, canary: Canary, lookup: Lookup
):
    host = httpx.URL(url_of("http", authority, canary.port)).host
    allowed = [f"[{host}]:{canary.port}" if ":" in host else f"{host}:{canary.port}"]

    async with fetch_client(allowed, lookup=lookup) as client:
        with pytest.raises(httpx.TransportError):
            await client.get(url_of("http", authority, canary.port), timeout=0.3)

    assert canary.heard() == 1


@pytest.mark.parametrize(
    "authority", [*DANGEROUS, "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "mapped.example.com"]
)
async def test_the_guard_says_that_it_refused(authority: str, canary: Canary, lookup: Lookup):
    async with fetch_client(lookup=lookup) as client:
        with pytest.raises(AddressRefused, match=r"^the address is not public$"):
            await client.get(url_of("http", authority, canary.port))

    assert canary.heard() == 0


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "10.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo"]
)
def test_no_socket_is_made_for_a_bad_address(address: str):
    with pytest.raises(OSError, match="not public"):
        open_public_socket((2, 1, 6, "", (address, 443)))


def test_a_socket_is_made_for_a_public_address():
    with open_public_socket((2, 1, 6, "", ("8.8.8.8", 443))) as made:
        assert made.fileno() >= 0
