"""fal's queue: submit, then ask the addresses the answer names (providers/others.md A).

Those addresses cannot be derived from the application's name, so the upstream task id holds all
three, as paths below the upstream's own base URL, separated by spaces: response, status, cancel.
An address on any other host is never called.
"""

from __future__ import annotations

from dataclasses import replace

import httpx

from gateway.domain.errors import Sent, UpstreamError
from gateway.domain.model import Feature
from gateway.domain.upstream import (
    Accepted,
    Cancelled,
    Delivered,
    Job,
    PollAnswer,
    Running,
    UpstreamImage,
)
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._errors import (
    ErrorTable,
    caller,
    provider,
    read_fault,
    task_unknown,
    unreadable,
)
from gateway.upstreams._http import Answer
from gateway.upstreams._results import delivered, picture
from gateway.upstreams._wire import (
    Json,
    known,
    objects,
    picture_urls,
    segment,
    set_fields,
    task_id_of,
    text,
)

FACTS = Facts(can_cancel=True, scheme="Key")
PATH_CHARS_MAX = 500
_ERRORS_OF_THE_QUERY = frozenset({401, 402, 403, 404, 408, 429})
_ERRORS_OF_THE_INGRESS = frozenset({502, 503, 504})
_MODEL_HEADERS = ("x-fal-request-id", "x-fal-error-type", "x-fal-request-timeout-type")
_CANCEL_WORDS = frozenset({"request_cancelled", "client_cancelled"})

ERRORS = ErrorTable(
    caller("content_policy_violation"),
    provider("generation_timeout", "internal_server_error", "runner_disconnected"),
)


class Adapter(Base):
    """One fal account."""

    async def submit(self, job: Job) -> Accepted:
        """Put a request into the application's queue."""
        answer = await self.http.paid(
            f"/{job.offer.upstream_model}", wire_of(job), ERRORS, attempt_id=job.attempt_id
        )
        paths = self._paths(job, answer.body)
        if paths is None:
            self.http.refuse_if_fault(answer, ERRORS)
            raise unreadable("The upstream's answer has no request id.")
        return Accepted(" ".join(paths))

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """Query the status, and the result once there is one."""
        response_path, status_path, _ = _split(upstream_task_id)
        answer = await self.http.query("GET", f"{status_path}?logs=0", ERRORS)
        match text(answer.body.get("status")).upper():
            case "COMPLETED":
                return await self._ended(response_path, answer.body)
            case "":
                raise unreadable("The task has no status.", Sent.NO)
            case status:
                return Running(queued=status == "IN_QUEUE")

    async def cancel(self, upstream_task_id: str) -> bool:
        """Cancel a queued request. A running one only gets a signal and may still be billed."""
        _, _, cancel_path = _split(upstream_task_id)
        answer = await self.http.query("PUT", cancel_path, ERRORS, allow=(400, 404, 409))
        if answer.status >= 300:
            return False
        try:
            return isinstance(await self.poll(upstream_task_id), Cancelled)
        except UpstreamError as error:
            # A request that was removed from the queue is not known any more.
            return error.code == "task_unknown"

    def _paths(self, job: Job, body: Json) -> tuple[str, str, str] | None:
        """Give the three paths, the documented ones where the answer's cannot be used."""
        request_id = task_id_of(body.get("request_id"))
        if request_id is None:
            return None
        app = "/".join(job.offer.upstream_model.split("/")[:2])
        usual = f"/{app}/requests/{segment(request_id)}"
        response_path = self._own_path(body.get("response_url")) or usual
        status_path = self._own_path(body.get("status_url")) or f"{usual}/status"
        return (
            response_path,
            status_path,
            self._own_path(body.get("cancel_url")) or f"{usual}/cancel",
        )

    def _own_path(self, address: object) -> str | None:
        """Give the path of an address below our base URL; None for any other address."""
        if not isinstance(address, str) or len(address) > PATH_CHARS_MAX or ".." in address:
            return None
        try:
            base, url = httpx.URL(self.http.upstream.base_url), httpx.URL(address)
        except httpx.InvalidURL:
            return None
        same = (url.scheme, url.host, url.port) == (base.scheme, base.host, base.port)
        root, path = (each.raw_path.decode("ascii").partition("?")[0] for each in (base, url))
        root = root.rstrip("/")
        return path[len(root) :] if same and path.startswith(f"{root}/") else None

    async def _ended(self, response_path: str, status: Json) -> PollAnswer:
        """Fetch the result; its HTTP status tells whose fault a failure is."""
        said = read_fault(status, 200)
        if said.type in _CANCEL_WORDS:
            return Cancelled()
        answer = await self.http.query("GET", response_path, ERRORS, allow=range(400, 600))
        found = read_fault(answer.body, answer.status if answer.status >= 400 else 200)
        if not status.get("error") and not said.type:
            if answer.status < 400:
                return _delivered(answer.body)
            if "in progress" in found.message.lower():
                return Running()
            _raise_unless_the_models(answer)
        elif answer.status in _ERRORS_OF_THE_QUERY:
            found = said
        fault = replace(
            found,
            code=found.code or text(answer.headers.get("x-fal-error-type")),
            type=said.type or found.type,
            message=said.message or found.message,
        )
        raise self.http.task_failed(ERRORS, fault)


def _raise_unless_the_models(answer: Answer) -> None:
    """Raise where an error is about the query or fal's door, not the model's own answer."""
    if answer.status == 404:
        raise task_unknown()
    from_model = any(name in answer.headers for name in _MODEL_HEADERS)
    if answer.status in _ERRORS_OF_THE_QUERY or (
        answer.status in _ERRORS_OF_THE_INGRESS and not from_model
    ):
        raise unreadable(f"The result's address answered {answer.status}.", Sent.NO)


def _delivered(body: Json) -> Delivered:
    """Read the result; how long its links live is the account's setting, so nothing is said."""
    return delivered(_picture(entry) for entry in objects(body.get("images")))


def _picture(entry: Json) -> UpstreamImage | None:
    found = picture(text(entry.get("url")), None)
    if found is None:
        return None
    return replace(found, media_type=found.media_type or text(entry.get("content_type")) or None)


def _split(upstream_task_id: str) -> tuple[str, str, str]:
    paths = upstream_task_id.split(" ")
    if len(paths) != 3:
        raise task_unknown()
    return paths[0], paths[1], paths[2]


def wire_of(job: Job) -> Json:
    """Give the arguments of the application; names as fal's Wan applications have them."""
    request = job.request
    return set_fields(
        prompt=request.prompt,
        negative_prompt=known(job, Feature.NEGATIVE_PROMPT, request.negative_prompt),
        image_urls=picture_urls(request) or None,
        image_size={"width": job.size.width, "height": job.size.height},
        num_images=request.n,
        seed=known(job, Feature.SEED, request.seed),
        enable_prompt_expansion=known(job, Feature.REWRITE_PROMPT, request.rewrite_prompt),
    )
