"""A TCP proxy whose first connections are cut once the request has gone through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit


@asynccontextmanager
async def cutting_proxy(
    url: str, when: Callable[[], Awaitable[None]], cuts: int = 1
) -> AsyncIterator[str]:
    """Give an address in front of ``url``; a cut comes when ``when`` returns."""
    target = urlsplit(url)
    left = cuts

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal left
        left -= 1
        inward, outward = await asyncio.open_connection(target.hostname, target.port)
        ways = [asyncio.create_task(relay(reader, outward))]
        if left >= 0:
            await when()
            outward.transport.abort()
            writer.transport.abort()
        else:
            ways.append(asyncio.create_task(relay(inward, writer)))
        await asyncio.gather(*ways)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.close()
