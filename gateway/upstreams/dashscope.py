"""Alibaba DashScope: two request shapes on four endpoints, one task API (providers/dashscope.md).

``offer.protocol`` names the endpoint: ``text2image`` and ``image2image`` (old shape), and
``image-generation`` (messages) are asynchronous, ``multimodal-generation`` (messages) is
synchronous. Names that differ by region come as ``offer.upstream_model``. The upstream option
``workspace`` is sent as the workspace id.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from urllib.parse import urlencode

from gateway.domain.errors import Sent
from gateway.domain.model import Feature
from gateway.domain.request import GenerationRequest
from gateway.domain.upstream import (
    Accepted,
    Cancelled,
    Delivered,
    Job,
    JobPage,
    PollAnswer,
    Running,
    SubmitAnswer,
)
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._dashscope_errors import ERRORS
from gateway.upstreams._errors import cannot_ask, read_fault, task_unknown, unreadable
from gateway.upstreams._lists import listed, whole
from gateway.upstreams._results import delivered, picture
from gateway.upstreams._wire import (
    DAY_S,
    Json,
    box_lists,
    exact_ratios,
    json_object,
    known,
    objects,
    picture_urls,
    segment,
    set_fields,
    size_text,
    task_id_of,
    text,
)

FACTS = Facts(can_cancel=True)
LIST_PAGE = 50
ZONES: tuple[tzinfo, ...] = (timezone(timedelta(hours=8)), UTC)
"""Whose clock the times of a list call are read by is not documented (§6): Beijing's, as in the
answers, or UTC. Both are asked, for an empty list is believed."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """Where a protocol is spoken: its path, its shape, and whether it answers a task."""

    path: str
    messages: bool
    is_async: bool = True


ENDPOINTS = {
    "text2image": _Endpoint("/services/aigc/text2image/image-synthesis", messages=False),
    "image2image": _Endpoint("/services/aigc/image2image/image-synthesis", messages=False),
    "image-generation": _Endpoint("/services/aigc/image-generation/generation", messages=True),
    "multimodal-generation": _Endpoint(
        "/services/aigc/multimodal-generation/generation", messages=True, is_async=False
    ),
}


class Adapter(Base):
    """One DashScope account in one region."""

    async def submit(self, job: Job) -> SubmitAnswer:
        """Create a task, or wait for the pictures where the protocol is synchronous."""
        endpoint = ENDPOINTS.get(job.offer.protocol)
        if endpoint is None:
            raise cannot_ask(f"DashScope has no protocol named {job.offer.protocol!r}.")
        headers = {}
        # The header is refused where it does not belong and demanded where it does (§11.8).
        if endpoint.is_async:
            headers["x-dashscope-async"] = "enable"
        workspace = self.http.upstream.options.get("workspace")
        if workspace:
            headers["x-dashscope-workspace"] = str(workspace)
        answer = await self.http.paid(
            endpoint.path,
            messages_wire(job) if endpoint.messages else plain_wire(job),
            ERRORS,
            attempt_id=job.attempt_id,
            headers=headers,
            blocking=not endpoint.is_async,
        )
        output = json_object(answer.body.get("output"))
        task_id = task_id_of(output.get("task_id"))
        if endpoint.is_async and task_id is not None:
            return Accepted(task_id)
        self.http.refuse_if_fault(answer, ERRORS)
        if not endpoint.is_async and isinstance(output.get("choices"), list):
            return self._delivered(output)
        raise unreadable("The upstream's answer has neither a task id nor pictures.")

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Query the task; every state comes with HTTP 200."""
        answer = await self.http.query("GET", f"/tasks/{segment(upstream_task_id)}", ERRORS)
        output = json_object(answer.body.get("output"))
        match text(output.get("task_status")).upper():
            case "SUCCEEDED":
                return self._delivered(output)
            case "FAILED":
                request_id = answer.body.get("request_id")
                fault = read_fault({**output, "request_id": request_id}, 200)
                raise self.http.task_failed(ERRORS, fault)
            case "CANCELED":
                return Cancelled()
            case "UNKNOWN":
                raise task_unknown()
            case "":
                raise unreadable("The task has no status.", Sent.NO)
            case status:
                return Running(queued=status == "PENDING")

    async def cancel(self, upstream_task_id: str) -> bool:
        """Cancel a task that is still PENDING; any later is a 400 (§6)."""
        answer = await self.http.query(
            "POST", f"/tasks/{segment(upstream_task_id)}/cancel", ERRORS, allow=(400, 404, 409)
        )
        return answer.status < 300

    def lists(self, protocol: str) -> bool:
        """Say whether the protocol makes tasks: a call that waits for pictures makes none."""
        return protocol in ENDPOINTS and ENDPOINTS[protocol].is_async

    async def list_jobs(self, since_ms: int, until_ms: int, cursor: str | None) -> JobPage:
        """List tasks by when they were made, within 24 hours (§6)."""
        zone, page = (0, 1) if cursor is None else (int(part) for part in cursor.split(":"))
        asked = {
            "page_no": page,
            "page_size": LIST_PAGE,
            "start_time": _clock(since_ms, ZONES[zone]),
            "end_time": _clock(until_ms, ZONES[zone]),
        }
        answer = await self.http.query("GET", f"/tasks?{urlencode(asked)}", ERRORS)
        jobs = listed(answer.body, "task_id", "model_name", "gmt_create")
        if page < whole(answer.body, "total_page"):
            return JobPage(jobs, f"{zone}:{page + 1}")
        return JobPage(jobs, f"{zone + 1}:1" if zone + 1 < len(ZONES) else None)

    def _delivered(self, output: Json) -> Delivered:
        """Flatten both result shapes; links live 24 hours unless they say otherwise (§10)."""
        expires_at = self.http.now_s() + DAY_S
        results = objects(output.get("results"))
        pictures = [
            picture(text(entry["url"]), expires_at, text(entry.get("actual_prompt")) or None)
            for entry in results
            if entry.get("url")
        ]
        pictures += [
            picture(text(item["image"]), expires_at)
            for choice in objects(output.get("choices"))
            for item in objects(json_object(choice.get("message")).get("content"))
            if item.get("image")
        ]
        faults = [entry for entry in results if not entry.get("url")]
        if faults and not any(pictures):
            raise self.http.task_failed(ERRORS, read_fault(faults[0], 200))
        return delivered(pictures, len(faults))


def _clock(at_ms: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at_ms // 1000, zone).strftime("%Y%m%d%H%M%S")


def plain_wire(job: Job) -> Json:
    """Give the JSON of the old shape (§3.1, §3.2): the negative prompt is part of the input."""
    request = job.request
    pictures = picture_urls(request)
    source = set_fields(
        prompt=request.prompt,
        negative_prompt=known(job, Feature.NEGATIVE_PROMPT, request.negative_prompt),
    )
    if "function" in job.offer.limits.options:
        source |= _edit_function(request)
    elif pictures:
        source["images"] = pictures
    return {
        "model": job.offer.upstream_model,
        "input": source,
        "parameters": _parameters(job),
    }


def _edit_function(request: GenerationRequest) -> Json:
    """Give the input of wanx2.1-imageedit, which names its function (models.md §1)."""
    usual = "description_edit_with_mask" if request.mask else "description_edit"
    return set_fields(
        function=request.options.get("function", usual),
        base_image_url=request.images[0].url if request.images else None,
        mask_image_url=request.mask.url if request.mask else None,
    )


def messages_wire(job: Job) -> Json:
    """Give the JSON of the new shape (§3.3): one message, everything else in the parameters."""
    request = job.request
    content: list[Json] = [{"image": url} for url in picture_urls(request)]
    content.append({"text": request.prompt})
    parameters = _parameters(job) | set_fields(
        negative_prompt=known(job, Feature.NEGATIVE_PROMPT, request.negative_prompt)
    )
    if request.interleave:
        parameters |= {"enable_interleave": True, "n": 1, "max_images": request.n}
    return {
        "model": job.offer.upstream_model,
        "input": {"messages": [{"role": "user", "content": content}]},
        "parameters": parameters | _wan27_parameters(job),
    }


def _parameters(job: Job) -> Json:
    """Give what both shapes have. n is never left out: the vendor's default is up to 12 (§11.1)."""
    request = job.request
    return set_fields(
        size=size_text(job, "*"),
        n=request.n,
        prompt_extend=known(job, Feature.REWRITE_PROMPT, request.rewrite_prompt),
        watermark=known(job, Feature.WATERMARK, request.watermark),
        seed=known(job, Feature.SEED, request.seed),
    )


def _wan27_parameters(job: Job) -> Json:
    """Give wan2.7's own parameters; those without effect in a mode are left out (R1, R2)."""
    request = job.request
    parameters: Json = {}
    if request.group:
        parameters["enable_sequential"] = True
    elif request.palette:
        shares = zip(request.palette, exact_ratios(request.palette), strict=True)
        parameters["color_palette"] = [
            {"hex": color.hex, "ratio": f"{ratio}%"} for color, ratio in shares
        ]
    thinking = known(job, Feature.THINKING, request.thinking)
    if thinking is not None and not request.group and not request.images:
        parameters["thinking_mode"] = thinking
    if any(request.boxes):
        parameters["bbox_list"] = box_lists(request)
    return parameters
