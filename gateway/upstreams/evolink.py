"""EvoLink: asynchronous tasks, idempotent submits, no cancel (providers/evolink.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.model import Feature
from gateway.domain.upstream import (
    Accepted,
    Cancelled,
    Delivered,
    Job,
    JobPage,
    PollAnswer,
    Running,
)
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._errors import (
    MODEL,
    ErrorTable,
    account,
    caller,
    provider,
    rate,
    read_fault,
    unreadable,
)
from gateway.upstreams._lists import listed, whole
from gateway.upstreams._results import delivered, picture
from gateway.upstreams._wire import (
    DAY_S,
    Json,
    known,
    objects,
    percent,
    picture_urls,
    segment,
    set_fields,
    task_id_of,
    text,
    texts,
    unix_s,
)

FACTS = Facts(idempotent=True)
NO_BATCH = (404, 405)
LIST_PAGE = 50

ERRORS = ErrorTable(
    # The vendor may hold a task under this key: its body or its outcome differs (§7).
    provider("idempotency_conflict", "paid_outcome_unknown", sent=Sent.UNKNOWN, repeatable=False),
    caller(
        "invalid_parameters",
        "invalid_task_id",
        "content_policy_violation",
        "content_filter",
        "sensitive_content",
        "moderation_blocked",
        "input_moderation_failed",
    ),
    account("key_model_not_allowed", scope=MODEL),
    account("key_disabled", "key_expired", "user_disabled"),
    # Spent for today: an hour between trials instead of five minutes.
    account("token_daily_quota_exceeded", "key_daily_quota_exhausted", retry_after_s=3600.0),
    account(
        "insufficient_quota",
        "insufficient_user_quota",
        "quota_not_enough",
        "account_balance_insufficient",
        "insufficient_token_quota",
        "key_quota_exhausted",
        "insufficient_quota_error",
    ),
    rate("rate_limited", "rate_limit_error"),
    provider(
        "no_available_channel",
        "model_unavailable",
        "channel_selection_failed",
        "service_unavailable",
        "upstream_error",
        "internal_server_error",
    ),
    caller("invalid_request_error", "request_too_large_error"),
    account("authentication_error", "permission_error"),
    account("not_found_error", scope=MODEL),
)
TASK_ERRORS = ErrorTable(
    caller(
        "content_policy_violation",
        "invalid_parameters",
        "image_processing_error",
        "image_dimension_mismatch",
        "request_cancelled",
    ),
    # A limit of the backend, not of our account (§7).
    rate("quota_exceeded"),
    provider(
        "generation_failed_no_content",
        "service_error",
        "generation_timeout",
        "resource_exhausted",
        "service_unavailable",
        "resource_not_found",
        "model_unavailable",
        "upstream_error",
        "rate_limited",
        "unknown_error",
    ),
)


class Adapter(Base):
    """One EvoLink account."""

    async def submit(self, job: Job) -> Accepted:
        """Create a task; the attempt id makes a repetition harmless."""
        answer = await self.http.paid(
            "/images/generations",
            wire_of(job),
            ERRORS,
            attempt_id=job.attempt_id,
        )
        task_id = task_id_of(answer.body.get("id"))
        if task_id is not None:
            return Accepted(task_id)
        self.http.refuse_if_fault(answer, ERRORS)
        raise unreadable("The upstream's answer has no task id.")

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Query the task."""
        answer = await self.http.query("GET", f"/tasks/{segment(upstream_task_id)}", ERRORS)
        return self._state(answer.body)

    @property
    def polls_max(self) -> int:
        """The vendor answers about fifty tasks at once (§1)."""
        return 50

    async def poll_many(
        self, upstream_task_ids: Sequence[str]
    ) -> Mapping[str, PollAnswer | UpstreamError]:
        """Query up to fifty tasks; those the answer lacks are left out.

        Where the call itself is unknown (a relay that imitates the vendor), all are left out.
        """
        wanted = {"task_ids": list(upstream_task_ids)}
        answer = await self.http.query("POST", "/tasks/batch", ERRORS, body=wanted, allow=NO_BATCH)
        found: dict[str, PollAnswer | UpstreamError] = {}
        for task in objects(answer.body.get("data")):
            if (task_id := text(task.get("id"))) in upstream_task_ids:
                try:
                    found[task_id] = self._state(task)
                except UpstreamError as error:
                    found[task_id] = error
        return found

    def lists(self, protocol: str) -> bool:
        """Say yes: every job is a task (§1)."""
        return True

    async def list_jobs(self, since_ms: int, until_ms: int, cursor: str | None) -> JobPage:
        """List tasks (§4). It cannot be asked for a time: it is read until it is older than that,
        or to its end where it is not sorted from new to old.

        The cursor is the page, how many tasks came before it, and when the last of them was made.
        """
        page, seen, last_ms = (1, 0, -1) if cursor is None else map(int, cursor.split(":"))
        path = f"/tasks?page={page}&page_size={LIST_PAGE}"
        body = (await self.http.query("GET", path, ERRORS)).body
        jobs = listed(body, "id", "model", "created_at")
        times = [*([last_ms] if seen else ()), *(job.created_ms for job in jobs)]
        is_sorted = times == sorted(times, reverse=True)
        seen += len(jobs)
        if seen >= whole(body, "total") or (is_sorted and times[-1] < since_ms):
            return JobPage(jobs)
        # No time is before this one: a list out of order once is read to its end.
        return JobPage(jobs, f"{page + 1}:{seen}:{times[-1] if is_sorted else 0}")

    def _state(self, body: Json) -> PollAnswer:
        """Read a task. Raises UpstreamError for one that failed."""
        match text(body.get("status")).lower():
            case "completed":
                return self._delivered(body)
            case "failed":
                fault = read_fault({"error": body.get("error")}, 200)
                raise self.http.task_failed(TASK_ERRORS, fault)
            case "cancelled":
                return Cancelled()
            case "":
                raise unreadable("The task has no status.", Sent.NO)
            case status:
                return Running(queued=status == "pending", progress=percent(body.get("progress")))

    def _delivered(self, body: Json) -> Delivered:
        """Links live 24 hours (§8); counted from the task's creation, they never live shorter."""
        links = texts(body.get("results")) or [
            text(entry.get("image_url")) for entry in objects(body.get("result_data"))
        ]
        expires_at = (unix_s(body.get("created")) or self.http.now_s()) + DAY_S
        return delivered(picture(link, expires_at) for link in links)


def wire_of(job: Job) -> Json:
    """Give the JSON of a create call (§3)."""
    request = job.request
    return set_fields(
        model=job.offer.upstream_model,
        prompt=request.prompt,
        size=job.size.text("x"),
        n=request.n,
        prompt_extend=known(job, Feature.REWRITE_PROMPT, request.rewrite_prompt),
        image_urls=picture_urls(request) or None,
    )
