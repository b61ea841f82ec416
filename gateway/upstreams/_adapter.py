"""What adapters have in common: their facts and their skeleton."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.domain.errors import UpstreamError
from gateway.domain.upstream import JobPage, PollAnswer
from gateway.upstreams._http import UpstreamHttp


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of an adapter whatever the upstream.

    ``idempotent``: a submit repeated with the same attempt id gives the same task and one bill.
    ``can_cancel``: the vendor has a call for it. ``scheme`` stands before the key in the
    Authorization header.
    """

    idempotent: bool = False
    can_cancel: bool = False
    scheme: str = "Bearer"


class Base:
    """What every adapter is made of: the calls, and no cancel unless the vendor has one."""

    def __init__(self, http: UpstreamHttp) -> None:
        """Take the calls to the upstream."""
        self.http = http

    @property
    def polls_max(self) -> int:
        """How many jobs one query may ask about."""
        return 1

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Ask how a job stands."""
        raise NotImplementedError

    async def poll_many(
        self, upstream_task_ids: Sequence[str]
    ) -> Mapping[str, PollAnswer | UpstreamError]:
        """Ask about one after the other: this vendor has no call for many."""
        found: dict[str, PollAnswer | UpstreamError] = {}
        for task_id in upstream_task_ids:
            try:
                found[task_id] = await self.poll(task_id)
            except UpstreamError as error:
                found[task_id] = error
        return found

    def lists(self, protocol: str) -> bool:
        """Say no: this vendor has no list of tasks, or none that tells when they were made."""
        return False

    async def list_jobs(self, since_ms: int, until_ms: int, cursor: str | None) -> JobPage:
        """List the jobs made in a time."""
        raise NotImplementedError

    async def cancel(self, upstream_task_id: str) -> bool:
        """Cancel nothing: this vendor has no call for it."""
        return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()
