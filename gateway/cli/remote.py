"""A gateway over HTTP, for commands that a team's member runs with a key."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.cli.output import fail

if TYPE_CHECKING:
    import httpx

LOOPBACK = ("127.0.0.1", "localhost", "::1")
TIMEOUT_S = 30.0
# A large file is judged line by line, linked pictures included, before it is answered.
UPLOAD_TIMEOUT_S = 900.0
TRIES = 5
PAUSE_S = 1.0


class Away(Exception):
    """The gateway did not answer, or said that it cannot serve now."""


class Refused(Exception):
    """The gateway answered with an error; the text is its message."""


@dataclass(slots=True)
class Remote:
    """Calls to one gateway with one key."""

    client: httpx.Client

    def call(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """Give the JSON of an answer. Raises Away, Refused."""
        import httpx

        try:
            answer = self.client.request(method, path, **options)
        except httpx.TransportError as error:
            raise Away(f"{self.client.base_url}: {error}") from None
        return _judged(answer)

    def upload(self, path: str, content: bytes, key: str, **query: str) -> dict[str, Any]:
        """POST a file under an Idempotency-Key, again when it is not known what became of it.

        Raises Away, Refused.
        """
        headers = {"content-type": "application/jsonl", "idempotency-key": key}
        for left in reversed(range(TRIES)):
            try:
                return self.call(
                    "POST",
                    path,
                    content=content,
                    params=query,
                    headers=headers,
                    timeout=UPLOAD_TIMEOUT_S,
                )
            except Away:
                if not left:
                    raise
                time.sleep(PAUSE_S)
        raise AssertionError

    def lines(self, path: str) -> Iterator[str]:
        """Give the lines of an answer as they come. Raises Away, Refused."""
        import httpx

        try:
            with self.client.stream("GET", path) as answer:
                if answer.status_code != 200:
                    answer.read()
                    _judged(answer)
                yield from answer.iter_lines()
        except httpx.TransportError as error:
            raise Away(f"{self.client.base_url}: {error}") from None


def _judged(answer: httpx.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(f"HTTP {answer.status_code}, and no JSON object: is this a gateway?")
    if answer.status_code == 200:
        return body
    error = body.get("error")
    message = error.get("message") if isinstance(error, dict) else None
    text = f"HTTP {answer.status_code}: {message or body}"
    if answer.status_code in (502, 503, 504):
        raise Away(text)
    raise Refused(text)


@contextmanager
def remote(url: str, key: str | None, *, as_json: bool) -> Generator[Remote]:
    """Give a gateway; its failures inside the block become one line and exit code 1."""
    import httpx

    if not key:
        fail("no key: say --key, or set IGW_KEY", as_json=as_json)
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        fail(f"--url: {url!r} is not an http:// or https:// address", as_json=as_json)
    with httpx.Client(
        base_url=url.rstrip("/"),
        headers={"authorization": f"Bearer {key}"},
        timeout=TIMEOUT_S,
        trust_env=parts.hostname not in LOOPBACK,
    ) as client:
        try:
            yield Remote(client)
        except (Away, Refused) as error:
            fail(str(error), as_json=as_json)
