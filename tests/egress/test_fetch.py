"""Pictures are downloaded within limits, and callers' addresses judged at intake."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from PIL import Image

from gateway.app.ports import FetchFailed
from gateway.domain.model import Secret, Upstream
from gateway.egress import fetch as fetch_module
from gateway.egress.clients import fetch_client
from gateway.egress.fetch import FetchRefused, GuardedFetcher
from gateway.egress.resolve import AddrInfo, Lookup
from tests.support.receivers import Answer, Canary, Received, ScriptedDns, receiver, reply


def picture(kind: str, side: int = 20) -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(made, kind)
    return made.getvalue()


PNG = picture("PNG")


@asynccontextmanager
async def fetcher_for(
    *allowed: str, dns: ScriptedDns | None = None, upstream: Upstream | None = None
) -> AsyncIterator[GuardedFetcher]:
    script = dns or ScriptedDns()
    upstreams = {upstream.name: upstream} if upstream else {}
    async with fetch_client(allowed, script.lookup()) as client:
        yield GuardedFetcher(
            client,
            fetch_allowed_hosts=allowed,
            upstreams=lambda: upstreams,
            lookup=script.lookup(),
        )


async def fetch(answer: Answer, *, bytes_max: int = 1_000_000, path: str = "/a.png"):
    async with receiver(answer) as server, fetcher_for(f"127.0.0.1:{server.port}") as fetcher:
        return await fetcher.fetch(f"http://127.0.0.1:{server.port}{path}", bytes_max=bytes_max)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("GIF", "image/gif"),
        ("BMP", "image/bmp"),
    ],
)
async def test_a_pictures_kind_is_read_off_its_bytes_whatever_the_server_says(
    kind: str, media_type: str
):
    content = picture(kind)

    fetched = await fetch(reply(200, content, content_type="text/html"))

    assert (fetched.content, fetched.media_type) == (content, media_type)


async def chunked(_: Received, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")
    for start in range(0, len(PNG), 10):
        part = PNG[start : start + 10]
        writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        await writer.drain()
    writer.write(b"0\r\n\r\n")


async def test_a_picture_of_unknown_length_is_read_to_its_end():
    assert (await fetch(chunked)).content == PNG


async def test_a_picture_of_exactly_the_limit_passes_and_one_byte_more_does_not():
    assert (await fetch(reply(200, PNG), bytes_max=len(PNG))).content == PNG
    for answer in (reply(200, PNG), chunked):
        with pytest.raises(FetchFailed, match="more than"):
            await fetch(answer, bytes_max=len(PNG) - 1)


async def test_an_endless_picture_is_given_up_at_the_limit():
    written = 0

    async def endless(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + PNG)
        for _step in range(20_000):
            writer.write(bytes(10_000))
            written += 10_000
            await writer.drain()

    with pytest.raises(FetchFailed, match="more than 100000 bytes"):
        await fetch(endless, bytes_max=100_000)
    assert written < 20_000_000


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(404), "answered 404"),
        (reply(500), "answered 500"),
        (reply(206, PNG), "answered 206"),
        (reply(302, location="http://127.0.0.1/"), "redirects"),
        (reply(200, b"<html>"), "no picture"),
        (reply(200, b""), "no picture"),
        (reply(200, gzip.compress(PNG), content_encoding="gzip"), "compressed"),
        (reply(200, b"x" * 100, content_encoding="br"), "compressed"),
    ],
    ids=["404", "500", "206", "302", "page", "nothing", "gzip", "br"],
)
async def test_anything_else_is_a_failure_in_words(answer: Answer, words: str):
    with pytest.raises(FetchFailed, match=words):
        await fetch(answer)


async def test_a_slow_picture_is_given_up_at_the_deadline(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch_module, "FETCH_S", 0.3)

    async def drip(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _step in range(100):
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    with pytest.raises(FetchFailed, match="within"):
        await fetch(drip)


async def test_a_redirect_into_the_network_is_not_followed():
    canary = Canary()
    with pytest.raises(FetchFailed):
        await fetch(reply(307, location=f"http://127.0.0.1:{canary.port}/"))
    assert canary.heard() == 0
    canary.close()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://inside.example.com:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "https://user@127.0.0.1:{port}/",
        "file:///etc/passwd",
        "ftp://127.0.0.1:{port}/",
    ],
)
async def test_a_callers_picture_inside_the_network_is_refused(url: str):
    canary = Canary()
    dns = ScriptedDns(**{"inside.example.com": [["127.0.0.1"]]})
    async with fetcher_for(dns=dns) as fetcher:
        with pytest.raises(FetchRefused):
            await fetcher.fetch(url.format(port=canary.port), bytes_max=1000)
    assert canary.heard() == 0
    canary.close()


def upstream_at(port: int, *, allow_private: bool) -> Upstream:
    base_url = f"http://comfy.internal:{port}/v1"
    return Upstream("comfy", "openai", base_url, Secret("k"), allow_private=allow_private)


async def test_a_private_upstreams_results_come_from_its_own_host():
    dns = ScriptedDns(**{"comfy.internal": [["127.0.0.1"]]})
    async with receiver(reply(200, PNG)) as files:
        upstream = upstream_at(1, allow_private=True)
        async with fetcher_for(dns=dns, upstream=upstream) as fetcher:
            fetched = await fetcher.fetch(
                f"http://comfy.internal:{files.port}/1.png", bytes_max=1000, upstream="comfy"
            )

    assert fetched.content == PNG


@pytest.mark.parametrize(
    ("host", "name", "allow_private"),
    [
        ("comfy.internal", "comfy", False),
        ("comfy.internal", "other", True),
        ("comfy.internal", None, True),
        ("other.internal", "comfy", True),
        ("127.0.0.2", "comfy", True),
    ],
)
async def test_nobody_else_gets_pictures_from_inside(
    host: str, name: str | None, allow_private: bool
):
    canary = Canary()
    dns = ScriptedDns(**{"comfy.internal": [["127.0.0.1"]], "other.internal": [["127.0.0.1"]]})
    upstream = upstream_at(canary.port, allow_private=allow_private)
    async with fetcher_for(dns=dns, upstream=upstream) as fetcher:
        with pytest.raises(FetchRefused):
            await fetcher.fetch(f"http://{host}:{canary.port}/", bytes_max=1000, upstream=name)
    assert canary.heard() == 0
    canary.close()


@pytest.mark.parametrize("purpose", ["callback", "image"])
@pytest.mark.parametrize(
    ("host", "refused"),
    [
        ("public.example.com", False),
        ("public6.example.com", False),
        ("inside.example.com", True),
        ("mixed.example.com", True),
        ("nat64.example.com", True),
        ("unknown.example.com", False),
        ("bücher.example.com", True),
        ("8.8.8.8", False),
        ("127.0.0.1", True),
        ("[::1]", True),
        ("localhost", True),
    ],
)
async def test_an_address_is_judged_by_everything_it_resolves_to(
    purpose: str, host: str, refused: bool
):
    dns = ScriptedDns(
        **{
            "public.example.com": [["93.184.215.14"]],
            "public6.example.com": [["2606:4700::1", "93.184.215.14"]],
            "inside.example.com": [["10.0.0.1"]],
            "mixed.example.com": [["93.184.215.14", "192.168.0.1"]],
            "nat64.example.com": [["64:ff9b::a00:1"]],
            "xn--bcher-kva.example.com": [["10.0.0.1"]],
        }
    )
    async with fetcher_for(dns=dns) as fetcher:
        reason = await fetcher.judge(f"https://{host}/x", purpose)

    assert (reason is not None) is refused
    assert reason is None or reason.startswith(f"The {purpose} URL must ")
    assert "10.0.0.1" not in str(reason)


async def test_each_purpose_has_its_own_allowed_hosts():
    dns = ScriptedDns(**{"a.internal": [["10.0.0.1"]], "b.internal": [["10.0.0.2"]]})
    async with fetch_client((), dns.lookup()) as client:
        fetcher = GuardedFetcher(
            client,
            fetch_allowed_hosts=["a.internal:443"],
            callback_allowed_hosts=["b.internal:8443"],
            lookup=dns.lookup(),
        )
        verdicts = {
            (url, purpose): await fetcher.judge(url, purpose) is None
            for url in ("https://a.internal/", "https://b.internal:8443/", "https://b.internal/")
            for purpose in ("image", "callback")
        }

    assert [key for key, passed in verdicts.items() if passed] == [
        ("https://a.internal/", "image"),
        ("https://b.internal:8443/", "callback"),
    ]


async def test_an_inline_picture_names_no_address_and_a_callback_cannot_be_inline():
    async with fetcher_for() as fetcher:
        assert await fetcher.judge("data:image/png;base64,AAAA", "image") is None
        assert await fetcher.judge("data:image/png;base64,AAAA", "callback")


async def test_many_questions_about_one_name_are_one_look_up():
    dns = ScriptedDns(**{"public.example.com": [["93.184.215.14"]]})
    async with fetcher_for(dns=dns) as fetcher:
        url = "https://public.example.com/"
        verdicts = await asyncio.gather(*(fetcher.judge(url, "callback") for _ in range(200)))

    assert set(verdicts) == {None}
    assert dns.asked == ["public.example.com"]


async def test_a_slow_name_server_does_not_hold_up_the_caller(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch_module, "JUDGE_S", 0.05)
    release = threading.Event()

    def slow(host: str, port: int, **_: object) -> list[AddrInfo]:
        release.wait(5)
        return [(2, 1, 6, "", ("10.0.0.1", port))]

    async with fetch_client() as client:
        fetcher = GuardedFetcher(client, lookup=Lookup(slow))
        at_first = await fetcher.judge("https://slow.example.com/", "callback")
        release.set()
        monkeypatch.setattr(fetch_module, "JUDGE_S", 5)
        later = await fetcher.judge("https://slow.example.com/", "callback")

    assert (at_first, later) == (None, "The callback URL must lead to a public address.")
