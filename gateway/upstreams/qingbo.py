"""Qingbo / WaveAPI: tasks, idempotent submits, cancel while queued (providers/qingbo.md).

The wire changed twice in 2026. Answers of all three generations are understood; requests are
written for generations A and B, or for C (lower-case resolution, two actions) when the
upstream's option ``generation`` is ``"C"``.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from gateway.domain.errors import Sent
from gateway.domain.model import Feature
from gateway.domain.request import GenerationRequest, Mode
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, PollAnswer, Running
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._errors import (
    MODEL,
    ErrorTable,
    account,
    caller,
    cannot_ask,
    provider,
    rate,
    read_fault,
    unreadable,
)
from gateway.upstreams._results import delivered, picture
from gateway.upstreams._wire import (
    DAY_S,
    Json,
    box_lists,
    exact_ratios,
    json_object,
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

FACTS = Facts(idempotent=True, can_cancel=True)
RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")

ERRORS = ErrorTable(
    # The gateway knows the model, so a stranger to this account is no caller's fault [inferred].
    account(
        "invalid_request", message=r"\bmodel\b.*\b(?:not exist|not found|unknown)", scope=MODEL
    ),
    caller("invalid_request", "capability_violation", "task_not_cancellable"),
    account("quota_window_exceeded"),
    account("price_not_configured", scope=MODEL),
)
TASK_ERRORS = ErrorTable(
    # The gateway knows the model, so a stranger to this account is no caller's fault [inferred].
    account(
        "invalid_request", message=r"\bmodel\b.*\b(?:not exist|not found|unknown)", scope=MODEL
    ),
    provider("upstream_unavailable"),
    rate("upstream_rate_limited"),
    caller("upstream_bad_request"),
    provider("task_failed"),
)
_ACTIONS = {
    Mode.GENERATE: "generate",
    Mode.EDIT: "edit",
    Mode.REFERENCE: "reference",
    Mode.GROUP: "group",
    Mode.INTERACTIVE_EDIT: "interactive_edit",
}


class Adapter(Base):
    """One Qingbo account."""

    async def submit(self, job: Job) -> Accepted:
        """Create a task; the attempt id makes a repetition harmless for 24 hours."""
        answer = await self.http.paid(
            "/tasks",
            wire_of(job),
            ERRORS,
            attempt_id=job.attempt_id,
        )
        task_id = task_id_of(answer.body.get("task_id"))
        if task_id is not None:
            return Accepted(task_id)
        self.http.refuse_if_fault(answer, ERRORS)
        raise unreadable("The upstream's answer has no task id.")

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Query the task."""
        answer = await self.http.query("GET", f"/tasks/{segment(upstream_task_id)}", ERRORS)
        body = answer.body
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
                return Running(queued=status == "queued", progress=percent(body.get("progress")))

    async def cancel(self, upstream_task_id: str) -> bool:
        """Cancel a task that is still queued; any later is a 400 (§3)."""
        path = f"/tasks/{segment(upstream_task_id)}/cancel"
        answer = await self.http.query("POST", path, ERRORS, allow=(400, 404, 409))
        refunded = answer.body.get("refunded") is not False
        return answer.status < 300 and answer.body.get("status") == "cancelled" and refunded

    def _delivered(self, body: Json) -> Delivered:
        """Flatten the double list; a link without a date lives 24 hours (seed 003)."""
        ended_s = unix_s(body.get("completed_at")) or self.http.now_s()
        entries = objects(json_object(body.get("result")).get("images"))
        return delivered(
            picture(link, unix_s(entry.get("expires_at")) or ended_s + DAY_S)
            for entry in entries
            for link in texts(entry.get("url"))
        )


def wire_of(job: Job) -> Json:
    """Give the JSON of a create call (§2); what has no effect in a mode is left out."""
    request = job.request
    newest = job.upstream.options.get("generation") == "C"
    tier, ratio = resolution_of(job)
    wire = set_fields(
        model=job.offer.upstream_model,
        action=_action(request, newest=newest),
        prompt=request.prompt,
        negative_prompt=known(job, Feature.NEGATIVE_PROMPT, request.negative_prompt),
        n=request.n,
        seed=known(job, Feature.SEED, request.seed),
        resolution=tier.lower() if newest else tier,
        aspect_ratio=ratio,
        image_urls=picture_urls(request) or None,
        watermark=known(job, Feature.WATERMARK, request.watermark),
    )
    if request.group:
        return wire | {"enable_sequential": True}
    thinking = known(job, Feature.THINKING, request.thinking)
    if thinking is not None and not request.images:
        wire["thinking_mode"] = thinking
    if request.palette:
        shares = zip(request.palette, exact_ratios(request.palette), strict=True)
        wire["color_palette"] = [
            {"hex": color.hex, "ratio": _number(share)} for color, share in shares
        ]
    if any(request.boxes):
        wire["bbox_list"] = box_lists(request)
    return wire


def resolution_of(job: Job) -> tuple[str, str]:
    """Give resolution and aspect ratio; this vendor knows no pixel sizes.

    A shape nobody asked for becomes the nearest ratio. Raises UpstreamError (``sent=NO``) for a
    shape the caller did ask for and that is none of the seven: another upstream can make it.
    """
    request, size = job.request, job.size
    if request.aspect_ratio in RATIOS:
        return job.tier, request.aspect_ratio
    asked = Fraction(size.width, size.height)
    nearest = min(RATIOS, key=lambda ratio: max(asked / _value(ratio), _value(ratio) / asked))
    if _value(nearest) != asked and (request.size or request.aspect_ratio):
        raise cannot_ask(f"Qingbo has no aspect ratio for {size.text()}.")
    return job.tier, nearest


def _value(ratio: str) -> Fraction:
    width, _, height = ratio.partition(":")
    return Fraction(int(width), int(height))


def _number(share: Decimal) -> int | float:
    """The seed knows whole numbers only; later pages allow decimals (models.md D9)."""
    whole = int(share)
    return whole if whole == share else float(share)


def _action(request: GenerationRequest, *, newest: bool) -> str:
    if not newest:
        return _ACTIONS[request.mode]
    return "edit" if request.images else "generate"
