"""What adapters have in common: their facts and their skeleton."""

from __future__ import annotations

from dataclasses import dataclass

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

    async def cancel(self, upstream_task_id: str) -> bool:
        """Cancel nothing: this vendor has no call for it."""
        return False

    async def aclose(self) -> None:
        """Close the connections."""
        await self.http.aclose()
