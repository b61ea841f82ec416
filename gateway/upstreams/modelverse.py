"""UCloud Modelverse: a blocking call, and tasks by submit and status (providers/modelverse.md).

``offer.protocol`` ``images`` always blocks; ``tasks`` blocks only for groups of more than four
pictures, which no task takes (models.md D8). No idempotency, no cancel.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.model import Feature
from gateway.domain.upstream import (
    Accepted,
    Cancelled,
    Delivered,
    Job,
    PollAnswer,
    Running,
    SubmitAnswer,
)
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._dashscope_errors import ERRORS as TASK_ERRORS
from gateway.upstreams._errors import (
    MODEL,
    ErrorTable,
    Fault,
    account,
    caller,
    provider,
    rate,
    task_unknown,
    unreadable,
)
from gateway.upstreams._results import delivered, openai_delivery, picture
from gateway.upstreams._wire import (
    DAY_S,
    Json,
    json_object,
    known,
    picture_urls,
    set_fields,
    size_text,
    task_id_of,
    text,
    texts,
    unix_s,
)

FACTS = Facts()
TASK_COUNT_MAX = 4

ERRORS = ErrorTable(
    account("model_error", scope=MODEL),
    account("auth_error", "forbidden"),
    provider("websearch_error"),
    caller("param_error", "invalid_messages", "sensitive_check_error", "tokens_too_long"),
    rate("rate_limit"),
    provider("timeout", "gateway_timeout_error", sent=Sent.UNKNOWN),
    provider("internal_error", "model_server_error"),
    param_is_request_id=True,
)
_FAILURE = re.compile(r"^code=(?P<code>[^,]+),\s*message=(?P<message>.*)$", re.DOTALL)
_NO_TASK = re.compile(r"task.*not (?:found|exist)", re.IGNORECASE)
_SUCCESS = frozenset({"success", "succeeded", "completed"})
_FAILED = frozenset({"failure", "failed"})
_CANCELLED = frozenset({"cancelled", "canceled"})


class Adapter(Base):
    """One Modelverse account."""

    async def submit(self, job: Job) -> SubmitAnswer:
        """Submit a task, or wait for the pictures."""
        if job.offer.protocol == "images" or job.request.n > TASK_COUNT_MAX:
            return await self._generate(job)
        answer = await self.http.paid(
            "/tasks/submit", task_wire(job), ERRORS, attempt_id=job.attempt_id
        )
        body = answer.body
        for place in (body.get("output"), body, body.get("data")):
            task_id = task_id_of(json_object(place).get("task_id"))
            if task_id is not None:
                return Accepted(task_id)
        self.http.refuse_if_fault(answer, ERRORS)
        raise unreadable("The upstream's answer has no task id.")

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Query the task."""
        path = f"/tasks/status?task_id={quote(upstream_task_id, safe='')}"
        try:
            answer = await self.http.query("GET", path, ERRORS)
        except UpstreamError as error:
            if error.code == "param_error" and _NO_TASK.search(error.message):
                raise task_unknown() from None
            raise
        output = json_object(answer.body.get("output"))
        status = text(output.get("task_status")).lower()
        if status in _SUCCESS:
            return self._delivered(output)
        if status in _FAILED:
            message = text(output.get("error_message"))
            raise self.http.task_failed(TASK_ERRORS, failure_of(message))
        if status in _CANCELLED:
            return Cancelled()
        if not status:
            raise unreadable("The task has no status.", Sent.NO)
        return Running(queued=status == "pending")

    async def _generate(self, job: Job) -> Delivered:
        """Ask the blocking call; it answers links, base64, or both (§2)."""
        answer = await self.http.paid(
            "/images/generations",
            blocking_wire(job),
            ERRORS,
            attempt_id=job.attempt_id,
            blocking=True,
        )
        self.http.refuse_if_fault(answer, ERRORS)
        return openai_delivery(answer.body, self.http.now_s() + DAY_S)

    def _delivered(self, output: Json) -> Delivered:
        """The life of links is not stated; the model behind promises 24 hours (§6)."""
        expires_at = (unix_s(output.get("finish_time")) or self.http.now_s()) + DAY_S
        return delivered(picture(link, expires_at) for link in texts(output.get("urls")))


def failure_of(message: str) -> Fault:
    """Read ``code=…, message=…``, the code being DashScope's; other text blames the vendor."""
    found = _FAILURE.match(message)
    if found is None:
        return Fault(200, code="upstream_failed", message=message)
    return Fault(200, code=found["code"].strip(), message=found["message"])


def blocking_wire(job: Job) -> Json:
    """Give the JSON of the blocking call (§2)."""
    request, limits = job.request, job.offer.limits
    return set_fields(
        model=job.offer.upstream_model,
        prompt=request.prompt or None,
        images=picture_urls(request) or None,
        size=size_text(job, "x"),
        # Models that make one picture have no count (models.md §1, neighbours).
        n=None if limits.count.max == 1 and not request.group else request.n,
        # 0 means unset here; a real 0 cannot be said (models.md D17).
        seed=known(job, Feature.SEED, request.seed) or None,
        watermark=known(job, Feature.WATERMARK, request.watermark),
        thinking_mode=_thinking(job),
        enable_sequential=request.group or None,
    )


def task_wire(job: Job) -> Json:
    """Give the JSON of a task (§3), whose ``prompt_extend`` means thinking (rule R14)."""
    request = job.request
    source = set_fields(prompt=request.prompt or None, images=picture_urls(request) or None)
    parameters = set_fields(
        size=size_text(job, "x"),
        n=request.n,
        seed=known(job, Feature.SEED, request.seed) or None,
        watermark=known(job, Feature.WATERMARK, request.watermark),
        prompt_extend=_thinking(job),
        enable_sequential=request.group or None,
    )
    return {"model": job.offer.upstream_model, "input": source, "parameters": parameters}


def _thinking(job: Job) -> bool | None:
    """The model thinks unless told not to; this vendor's default is not to, so say it (D5)."""
    request = job.request
    if request.group or request.images:
        return None
    return known(job, Feature.THINKING, request.thinking is not False)
