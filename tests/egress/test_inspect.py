"""What the gateway learns of an input picture before it accepts a request."""

from __future__ import annotations

import asyncio
import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from gateway.domain.errors import Problem
from gateway.domain.request import InputImage
from gateway.egress import fetch as fetch_module
from gateway.egress import inspect as inspect_module
from gateway.egress.clients import fetch_client
from gateway.egress.fetch import GuardedFetcher
from gateway.egress.inspect import HeaderInspector
from tests.support.receivers import Answer, Received, ScriptedDns, receiver, reply


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = (300, 200), **options) -> bytes:
    made = io.BytesIO()
    drawn = Image.effect_noise(size, 90).convert(mode)
    if mode == "RGBA":
        drawn.putalpha(128)
    drawn.save(made, kind, **options)
    return made.getvalue()


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


async def inspect(url: str, *allowed: str) -> InputImage | Problem:
    dns = ScriptedDns(
        **{"inside.example.com": [["10.0.0.1"]], "rebind.example.com": [["8.8.8.8"], ["10.0.0.1"]]}
    )
    async with fetch_client(allowed, dns.lookup()) as client:
        fetcher = GuardedFetcher(client, fetch_allowed_hosts=allowed, lookup=dns.lookup())
        return await HeaderInspector(fetcher).inspect(InputImage(url), "images[0]")


async def inspect_served(answer: Answer) -> tuple[InputImage | Problem, str]:
    async with receiver(answer) as server:
        url = f"http://127.0.0.1:{server.port}/a.png"
        return await inspect(url, f"127.0.0.1:{server.port}"), url


@pytest.mark.parametrize(
    ("kind", "mode", "media_type", "alpha"),
    [
        ("PNG", "RGB", "image/png", False),
        ("PNG", "RGBA", "image/png", True),
        ("JPEG", "RGB", "image/jpeg", False),
        ("WEBP", "RGB", "image/webp", False),
        ("WEBP", "RGBA", "image/webp", True),
        ("BMP", "RGB", "image/bmp", False),
        ("GIF", "P", "image/gif", False),
    ],
)
async def test_an_inline_and_a_fetched_picture_have_the_same_facts(
    kind: str, mode: str, media_type: str, alpha: bool
):
    content = picture(kind, mode)
    inline_url = data_url(content, "image/x-whatever")

    inline = await inspect(inline_url)
    fetched, url = await inspect_served(reply(200, content))

    assert inline == InputImage(inline_url, media_type, 300, 200, len(content), alpha)
    assert fetched == InputImage(url, media_type, 300, 200, len(content), alpha)


async def test_only_the_start_of_a_large_picture_is_read_when_its_length_is_told():
    content = picture("PNG") + bytes(20_000_000)
    written = 0

    async def large(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content))
        for start in range(0, len(content), 50_000):
            writer.write(content[start : start + 50_000])
            written += 50_000
            await writer.drain()

    seen, _ = await inspect_served(large)

    assert isinstance(seen, InputImage)
    assert (seen.width, seen.height, seen.byte_count) == (300, 200, len(content))
    assert written < len(content)


async def test_a_picture_of_untold_length_is_counted_to_its_end():
    content = picture("PNG", size=(600, 600))

    async def untold(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + content)

    seen, _ = await inspect_served(untold)

    assert isinstance(seen, InputImage)
    assert (seen.width, seen.byte_count) == (600, len(content))


async def test_a_header_behind_a_large_profile_is_found():
    content = picture("JPEG", icc_profile=bytes(400_000))

    seen, _ = await inspect_served(reply(200, content))

    assert isinstance(seen, InputImage)
    assert (seen.media_type, seen.width, seen.height) == ("image/jpeg", 300, 200)


@pytest.mark.parametrize("step", [1, 40, 1000])
async def test_transparency_is_not_missed_when_bytes_come_slowly(step: int):
    made = io.BytesIO()
    Image.new("P", (30, 20)).save(made, "PNG", transparency=0)
    content = made.getvalue()

    async def slow(_: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content))
        for start in range(0, len(content), step):
            writer.write(content[start : start + step])
            await writer.drain()
            await asyncio.sleep(0)

    seen, _ = await inspect_served(slow)

    assert isinstance(seen, InputImage)
    assert seen.has_alpha is True


async def test_too_many_bytes_are_the_callers_mistake(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inspect_module, "INPUT_BYTES_MAX", 5000)
    content = picture("PNG")
    assert len(content) > 5000

    inline = await inspect(data_url(content))
    fetched, _ = await inspect_served(reply(200, content))

    for problem in (inline, fetched):
        assert isinstance(problem, Problem)
        assert problem.field == "images[0]"
        assert "5000 bytes" in str(problem)


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,iVBORw0KGgo",
        "data:image/png;base64,iVBO Rw0K",
        "data:image/png;base64,iVBORw0KGgo=\n",
        "data:image/png,rawbytes",
        "data:,x",
        "data:",
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        data_url(b"\x89PNG\r\n\x1a\n"),
        data_url(b"GIF89a"),
        data_url(b"%PDF-1.7"),
    ],
)
async def test_an_inline_text_that_is_no_picture_is_the_callers_mistake(url: str):
    problem = await inspect(url)

    assert isinstance(problem, Problem)
    assert (problem.field, problem.code) == ("images[0]", "invalid_image")
    assert problem.message.startswith("images[0] ")


async def test_a_page_instead_of_a_picture_is_the_callers_mistake():
    problem, _ = await inspect_served(reply(200, b"<html>" * 1000))

    assert isinstance(problem, Problem)
    assert problem.code == "invalid_image"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/a.png",
        "http://localhost/a.png",
        "https://inside.example.com/a.png",
        "https://169.254.169.254/latest/",
        "ftp://example.com/a.png",
        "not a url",
    ],
)
async def test_an_address_that_is_not_public_is_the_callers_mistake(url: str):
    problem = await inspect(url)

    assert isinstance(problem, Problem)
    assert (problem.field, problem.code) == ("images[0]", "invalid_image_url")
    assert "10.0.0.1" not in str(problem)


async def test_an_address_that_turns_private_at_the_last_moment_is_too():
    problem = await inspect("https://rebind.example.com/a.png")

    assert problem == Problem(
        "images[0]", "The image URL must lead to a public address.", "invalid_image_url"
    )


@pytest.mark.parametrize("status", [302, 403, 404, 500])
async def test_a_picture_we_cannot_get_is_left_for_the_vendor_to_judge(status: int):
    seen, url = await inspect_served(reply(status))

    assert seen == InputImage(url)


async def test_a_host_we_cannot_find_is_left_for_the_vendor_to_judge():
    url = "https://nowhere.example.com/a.png"

    assert await inspect(url) == InputImage(url)


async def test_a_slow_server_is_left_for_the_vendor_to_judge(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetch_module, "GLANCE_S", 0.2)

    async def silent(_: Received, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    seen, url = await inspect_served(silent)

    assert seen == InputImage(url)


async def test_facts_replace_what_was_believed_before():
    content = picture("PNG")
    believed = replace(InputImage(data_url(content)), media_type="image/webp", width=1)
    async with fetch_client() as client:
        seen = await HeaderInspector(GuardedFetcher(client)).inspect(believed, "mask")

    assert isinstance(seen, InputImage)
    assert (seen.media_type, seen.width) == ("image/png", 300)
