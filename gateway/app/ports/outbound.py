"""What goes out: calls to upstreams, callbacks, pictures that callers name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.callback import Callback, TryResult
from gateway.domain.errors import Problem, UpstreamError
from gateway.domain.request import InputImage
from gateway.domain.upstream import Job, JobPage, PollAnswer, SubmitAnswer


class HttpAnswer(Protocol):
    """An HTTP answer whose head is there: names and values of ``raw_headers`` as they came."""

    @property
    def status(self) -> int:
        """The status."""
        ...

    @property
    def raw_headers(self) -> Sequence[tuple[bytes, bytes]]:
        """The headers, in their order."""
        ...

    async def read(self) -> bytes:
        """Give the next part of the body, empty at its end. Raises as `HttpClient.opened` does."""
        ...


class HttpClient(Protocol):
    """Sends HTTP requests under the address guard, each once and without following redirects."""

    @property
    def is_closed(self) -> bool:
        """Whether `aclose` was called."""
        ...

    def opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        times: Mapping[str, float | None] | None = None,
    ) -> AbstractAsyncContextManager[HttpAnswer]:
        """Send a request; what its answer still holds when the context ends is not read.

        ``times`` are seconds for ``pool``, ``connect``, ``write`` and ``read``, else the client's
        own; the caller bounds the whole. Raises httpx.InvalidURL, httpx.TransportError; of those
        only ConnectError, ConnectTimeout, PoolTimeout and UnsupportedProtocol say that nothing was
        sent.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class UpstreamAdapter(Protocol):
    """Code that speaks one provider's API to one upstream. Raises UpstreamError only."""

    async def submit(self, job: Job) -> SubmitAnswer:
        """Send the job once. ``UpstreamError.sent`` says how far a failure got."""
        ...

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Ask how a job stands. An UpstreamError with ``sent=REFUSED`` ends the attempt;
        ``sent=NO`` or ``UNKNOWN`` means the query itself failed and is repeated.
        """
        ...

    @property
    def polls_max(self) -> int:
        """How many jobs one query may ask about; 1 where the vendor has no such call."""
        ...

    async def poll_many(
        self, upstream_task_ids: Sequence[str]
    ) -> Mapping[str, PollAnswer | UpstreamError]:
        """Ask how up to ``polls_max`` jobs stand; a job that the vendor left out is left out.

        Raises what `poll` raises, when nothing was learnt about any of them.
        """
        ...

    def lists(self, protocol: str) -> bool:
        """Whether `list_jobs` shows what is sent by this protocol, soon after it was."""
        ...

    async def list_jobs(self, since_ms: int, until_ms: int, cursor: str | None) -> JobPage:
        """Give a page of what was made at the account in a time of at most a day, others too.

        ``cursor`` is the page before's, None for the first. The pages together miss nothing.
        """
        ...

    async def cancel(self, upstream_task_id: str) -> bool:
        """Ask to cancel; True when the vendor confirms that nothing will be billed."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


class ImageFetcher(Protocol):
    """Fetches pictures under the address guard, with byte and time caps."""

    async def fetch(self, url: str, *, bytes_max: int, upstream: str | None = None) -> FetchedImage:
        """Give a picture's bytes. ``upstream`` exempts that upstream's own hosts when its
        configuration allows private addresses. Raises FetchFailed.
        """
        ...

    async def judge(self, url: str, purpose: str) -> str | None:
        """Give why an address named by a caller is refused, None when it is public.
        ``purpose`` is ``callback`` or ``image``.
        """
        ...


class FetchFailed(Exception):
    """A picture could not be fetched; the message says why, without addresses resolved."""


@dataclass(frozen=True, slots=True)
class FetchedImage:
    """A fetched picture; ``media_type`` sniffed from its bytes."""

    content: bytes
    media_type: str


class CallbackSender(Protocol):
    """Sends one signed callback under the address guard."""

    async def send(self, callback: Callback, body: bytes) -> TryResult:
        """Make one try."""
        ...


class ImageInspector(Protocol):
    """Looks at the header of an input picture."""

    async def inspect(self, image: InputImage, field: str) -> InputImage | Problem:
        """Give the picture with its facts, or what is wrong with it."""
        ...
