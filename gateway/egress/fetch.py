"""Downloads of pictures, and the judgement of addresses that callers name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from gateway.app.ports import FetchedImage, FetchFailed
from gateway.domain.address import (
    AllowedHosts,
    callback_target,
    check_callback_url,
    check_image_url,
    image_target,
    refusal,
)
from gateway.domain.model import Upstream
from gateway.domain.picture import PictureHeader, read_header, sniff
from gateway.egress.guard import AddressRefused
from gateway.egress.resolve import Lookup
from gateway.egress.transport import OWN_HOST

FETCH_S = 60.0
GLANCE_S = 5.0
JUDGE_S = 2.0
# How long an answer about a name is reused at intake; the guard asks again when it connects.
VERDICT_S = 10.0
VERDICTS_MAX = 4096
# A JPEG's size stands behind embedded previews and colour profiles.
HEADER_BYTES_MAX = 1024 * 1024
HEADER_BYTES_MIN = 64 * 1024


class FetchRefused(FetchFailed):
    """The guard refused the picture's address."""


@dataclass(frozen=True, slots=True)
class Glance:
    """What the start of a picture says; ``header`` None when it is no picture we know."""

    header: PictureHeader | None
    byte_count: int


class GuardedFetcher:
    """Fetches pictures through a guarded client (`gateway.egress.clients.fetch_client`).

    The allowed hosts are the operator's ``host:port`` entries; ``upstreams`` gives the upstreams
    now configured, whose own hosts are exempt where they allow private addresses.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        fetch_allowed_hosts: Iterable[str] = (),
        callback_allowed_hosts: Iterable[str] = (),
        upstreams: Callable[[], Mapping[str, Upstream]] = dict,
        lookup: Lookup | None = None,
    ) -> None:
        self._client = client
        self._fetch_allowed = AllowedHosts.of(fetch_allowed_hosts)
        self._callback_allowed = AllowedHosts.of(callback_allowed_hosts)
        self._upstreams = upstreams
        self._lookup = lookup or Lookup()
        self._verdicts: dict[str, tuple[float, asyncio.Task[bool]]] = {}

    async def fetch(self, url: str, *, bytes_max: int, upstream: str | None = None) -> FetchedImage:
        """Give a picture's bytes, within FETCH_S. Raises FetchFailed.

        ``upstream`` names whose result it is; without it the rules on callers' URLs hold too.
        """
        if upstream is None and (reason := check_image_url(url, self._fetch_allowed)):
            raise FetchRefused(reason)
        content = bytearray()
        async with self._answer(url, FETCH_S, self._own_host(upstream)) as answer:
            _require_room(answer, bytes_max)
            async for chunk in answer.aiter_raw():
                content += chunk
                if len(content) > bytes_max:
                    raise FetchFailed(f"it has more than {bytes_max} bytes")
        media_type = sniff(bytes(content[:16]))
        if media_type is None:
            raise FetchFailed("it is no picture")
        return FetchedImage(bytes(content), media_type)

    async def glance(self, url: str, *, bytes_max: int) -> Glance:
        """Look at a caller's picture, within GLANCE_S. Raises FetchFailed.

        Reads only its header when the server says how long it is, else all of it, to count.
        """
        start = bytearray()
        count = 0
        header: PictureHeader | None = None
        enough = HEADER_BYTES_MIN
        async with self._answer(url, GLANCE_S) as answer:
            declared = _declared_length(answer)
            async for chunk in answer.aiter_raw():
                count += len(chunk)
                if len(start) < enough <= HEADER_BYTES_MAX:
                    start += chunk
                    if len(start) >= enough:
                        header = read_header(bytes(start))
                        enough = 0 if header else 2 * len(start)
                if count > bytes_max or (header and declared is not None):
                    break
        return Glance(header or read_header(bytes(start)), declared or count)

    async def judge(self, url: str, purpose: str) -> str | None:
        """Give why a caller's ``callback`` or ``image`` URL is refused, else None.

        A name that does not resolve within JUDGE_S is not refused here: name servers have bad
        moments, and the guard judges again when a connection is opened. Inline pictures name no
        address.
        """
        if purpose == "image" and url.startswith("data:"):
            return None
        if purpose == "callback":
            allowed, check, target = self._callback_allowed, check_callback_url, callback_target
        else:
            allowed, check, target = self._fetch_allowed, check_image_url, image_target
        if reason := check(url, allowed):
            return reason
        leads = target(url, allowed)
        if allowed.cover(leads.host, leads.port):
            return None
        try:
            host = httpx.URL(url).raw_host.decode("ascii")
        except httpx.InvalidURL:
            return f"The {purpose} URL must name a host that exists."
        if refusal(host) is None or not await self._leads_inside(host):
            return None
        return f"The {purpose} URL must lead to a public address."

    async def _leads_inside(self, host: str) -> bool:
        """Whether a name has an address that is not public; simultaneous questions are one."""
        now = asyncio.get_running_loop().time()
        known = self._verdicts.get(host)
        if known is None or known[0] < now:
            if len(self._verdicts) >= VERDICTS_MAX:
                self._verdicts.clear()
            known = now + VERDICT_S, asyncio.create_task(self._any_private(host))
            self._verdicts[host] = known
        try:
            async with asyncio.timeout(JUDGE_S):
                return await asyncio.shield(known[1])
        except TimeoutError:
            return False

    async def _any_private(self, host: str) -> bool:
        try:
            addresses = await self._lookup.addresses(host, 443)
        except OSError:
            return False
        return any(refusal(address) for address in addresses)

    def _own_host(self, upstream: str | None) -> str | None:
        """Give the host an upstream's results may come from whatever its addresses are."""
        configured = self._upstreams().get(upstream) if upstream else None
        if configured is None or not configured.allow_private:
            return None
        return httpx.URL(configured.base_url).raw_host.decode("ascii")

    @asynccontextmanager
    async def _answer(
        self, url: str, seconds: float, own_host: str | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Give a 200 answer whose body is as it was stored, everything within ``seconds``."""
        timeout = httpx.Timeout(seconds, connect=seconds / 2)
        extensions = {OWN_HOST: own_host} if own_host else None
        try:
            async with (
                asyncio.timeout(seconds),
                self._client.stream("GET", url, timeout=timeout, extensions=extensions) as answer,
            ):
                _require_plain_success(answer)
                yield answer
        except AddressRefused as error:
            raise FetchRefused(str(error)) from None
        except TimeoutError:
            raise FetchFailed(f"it did not arrive within {seconds:g} seconds") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise FetchFailed(str(error)) from None


def _require_plain_success(answer: httpx.Response) -> None:
    if 300 <= answer.status_code < 400:
        raise FetchFailed("its server redirects, which is not followed")
    if answer.status_code != 200:
        raise FetchFailed(f"its server answered {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed("its server sent it compressed, which was not asked for")


def _declared_length(answer: httpx.Response) -> int | None:
    text = answer.headers.get("content-length", "")
    return int(text) if text.isdecimal() else None


def _require_room(answer: httpx.Response, bytes_max: int) -> None:
    if (_declared_length(answer) or 0) > bytes_max:
        raise FetchFailed(f"it has more than {bytes_max} bytes")
