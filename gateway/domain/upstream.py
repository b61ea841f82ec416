"""What an adapter is given and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.domain.lost import ListedJob
from gateway.domain.model import Offer, Upstream
from gateway.domain.request import GenerationRequest, Size


@dataclass(frozen=True, slots=True)
class Job:
    """One picture job for one upstream.

    ``size`` is the concrete pixel size (defaults, tiers and aspect ratios resolved) and
    ``tier`` its tier. ``request.size``/``tier`` still say what the caller wrote.
    ``attempt_id`` is the Idempotency-Key where the vendor takes one.
    """

    attempt_id: str
    request: GenerationRequest
    offer: Offer
    upstream: Upstream
    size: Size
    tier: str


@dataclass(frozen=True, slots=True)
class UpstreamImage:
    """One picture as the vendor gave it: a link, or the bytes when it answered inline."""

    url: str | None = None
    content: bytes | None = None
    expires_at: int | None = None
    revised_prompt: str | None = None
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The vendor took the job; poll it under this id (opaque text)."""

    upstream_task_id: str
    poll_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The vendor is still working. ``queued`` while it can still cancel."""

    queued: bool = False
    progress: int | None = None
    poll_after_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    """The vendor finished: ``images`` it made, ``failed`` pictures it could not make."""

    images: tuple[UpstreamImage, ...]
    failed: int = 0
    upstream_task_id: str | None = None


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The vendor says the job was cancelled."""


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of a vendor's task list; ``next_cursor`` is None where the list ends."""

    jobs: tuple[ListedJob, ...]
    next_cursor: str | None = None


PollAnswer = Running | Delivered | Cancelled
SubmitAnswer = Accepted | Delivered
