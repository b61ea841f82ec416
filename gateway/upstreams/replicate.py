"""Replicate predictions (providers/others.md B).

``offer.upstream_model`` is ``owner/name``, or a version id for models that have no route of
their own. The ``Prefer: wait`` header is not used: the task machine waits better.
"""

from __future__ import annotations

from urllib.parse import quote

from gateway.domain.errors import Sent
from gateway.domain.model import Feature
from gateway.domain.upstream import Accepted, Cancelled, Job, PollAnswer, Running
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._errors import ErrorTable, Fault, caller, unreadable
from gateway.upstreams._results import delivered, picture
from gateway.upstreams._wire import (
    HOUR_S,
    Json,
    known,
    picture_urls,
    segment,
    set_fields,
    task_id_of,
    text,
    texts,
)

FACTS = Facts(can_cancel=True)
ERRORS = ErrorTable()
TASK_ERRORS = ErrorTable(
    # A failed prediction has no code, only the model's own sentence.
    caller(message=r"nsfw|safety|flagged|sensitive content|content policy|moderation"),
)
_ENDED_EARLY = frozenset({"canceled", "aborted"})


class Adapter(Base):
    """One Replicate account."""

    async def submit(self, job: Job) -> Accepted:
        """Create a prediction."""
        path, body = wire_of(job)
        answer = await self.http.paid(path, body, ERRORS, attempt_id=job.attempt_id)
        task_id = task_id_of(answer.body.get("id"))
        if task_id is not None:
            return Accepted(task_id)
        raise unreadable("The upstream's answer has no prediction id.")

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Query the prediction."""
        answer = await self.http.query("GET", f"/predictions/{segment(upstream_task_id)}", ERRORS)
        body = answer.body
        match text(body.get("status")).lower():
            case "succeeded":
                expires_at = self.http.now_s() + HOUR_S
                return delivered(picture(link, expires_at) for link in texts(body.get("output")))
            case "failed":
                fault = Fault(200, message=text(body.get("error")))
                raise self.http.task_failed(TASK_ERRORS, fault)
            case "canceled" | "aborted":
                return Cancelled()
            case "":
                raise unreadable("The prediction has no status.", Sent.NO)
            case status:
                return Running(queued=status == "starting")

    async def cancel(self, upstream_task_id: str) -> bool:
        """Cancel; True when it had not started, since running time is billed (§B: by time)."""
        path = f"/predictions/{segment(upstream_task_id)}/cancel"
        answer = await self.http.query("POST", path, ERRORS, allow=(400, 404, 409, 422))
        ended = text(answer.body.get("status")).lower() in _ENDED_EARLY
        return answer.status < 300 and ended and not answer.body.get("started_at")


def wire_of(job: Job) -> tuple[str, Json]:
    """Give path and body; input names as Replicate's Wan models have them."""
    request = job.request
    source = set_fields(
        prompt=request.prompt,
        negative_prompt=known(job, Feature.NEGATIVE_PROMPT, request.negative_prompt),
        images=picture_urls(request) or None,
        size=job.size.text("*"),
        num_outputs=request.n if request.n > 1 else None,
        seed=known(job, Feature.SEED, request.seed),
        enable_prompt_expansion=known(job, Feature.REWRITE_PROMPT, request.rewrite_prompt),
    )
    model = job.offer.upstream_model
    if "/" in model and ":" not in model:
        return f"/models/{quote(model)}/predictions", {"input": source}
    return "/predictions", {"version": model, "input": source}
