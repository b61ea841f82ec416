"""One try of one callback: a POST of ten seconds at most, no redirects (seed 001)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import httpx

from gateway.app.ports import Clock, HttpAnswer, HttpClient
from gateway.callbacks.signing import signed_headers
from gateway.domain.address import AllowedHosts, check_callback_url
from gateway.domain.callback import TIMEOUT_S, Callback, TryResult

ANSWER_BYTES_MAX = 16 * 1024


class HttpCallbackSender:
    """Sends callbacks through a client that guards addresses (`gateway.egress.clients`).

    ``allowed_hosts`` are the ``host:port`` entries that client exempts. Errors are told without
    resolved addresses, since teams read them.
    """

    def __init__(self, client: HttpClient, clock: Clock, allowed_hosts: Iterable[str] = ()) -> None:
        self._client = client
        self._clock = clock
        self._allowed = AllowedHosts.of(allowed_hosts)

    async def send(self, callback: Callback, body: bytes) -> TryResult:
        """Make one try; its result says how it went, nothing is raised for a bad receiver."""
        started_ms = self._clock.now_ms()
        if refusal := check_callback_url(callback.url, self._allowed):
            return TryResult(None, refusal, started_ms, 0)
        status, error = await self._post(callback, body, started_ms)
        return TryResult(status, error, started_ms, self._clock.now_ms() - started_ms)

    async def _post(
        self, callback: Callback, body: bytes, now_ms: int
    ) -> tuple[int | None, str | None]:
        headers = signed_headers(callback.id, now_ms // 1000, body, callback.secrets)
        status: int | None = None
        error: str | None = None
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._client.opened(
                    "POST", callback.url, {**headers, "content-type": "application/json"}, body
                ) as answer,
            ):
                status = answer.status
                await _read_some(answer)
        except TimeoutError:
            error = f"no answer within {TIMEOUT_S:g} seconds"
        except httpx.TransportError as failure:
            error = str(failure)
        except httpx.InvalidURL:
            error = "the URL is not usable"
        return (None, error) if status is None else (status, _complaint(status))


async def _read_some(answer: HttpAnswer) -> None:
    """Read a short answer, so that its connection can serve again; drop a long one."""
    seen = 0
    while part := await answer.read():
        seen += len(part)
        if seen > ANSWER_BYTES_MAX:
            return


def _complaint(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"
