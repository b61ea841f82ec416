"""OpenAI Images and everything compatible with it: blocking calls only (providers/openai.md).

Pictures that came inline are sent as multipart, as the vendor's own SDK does; pictures that are
links go as JSON, because an adapter does not fetch what a caller named. ``response_format`` is
never sent: GPT image models refuse it, others answer links without it. The upstream options
``organization`` and ``project`` are sent as the vendor's headers.
"""

from __future__ import annotations

from gateway.domain.model import Feature
from gateway.domain.request import GenerationRequest, InputImage
from gateway.domain.upstream import Delivered, Job, PollAnswer
from gateway.upstreams._adapter import Base, Facts
from gateway.upstreams._errors import (
    MODEL,
    ErrorTable,
    account,
    caller,
    cannot_ask,
    provider,
    rate,
    task_unknown,
)
from gateway.upstreams._http import BODY_BYTES_MAX, FilePart, Form
from gateway.upstreams._results import decoded, openai_delivery
from gateway.upstreams._wire import HOUR_S, Json, known, set_fields, size_text

FACTS = Facts()
PICTURE_BYTES_MAX = 32 * 1024 * 1024
"""The most one picture may weigh in an answer, in base64."""
_SUFFIXES = {"image/jpeg": "jpg", "image/webp": "webp", "image/bmp": "bmp", "image/gif": "gif"}

ERRORS = ErrorTable(
    account("billing_hard_limit_reached", "billing_limit_user_error", "insufficient_quota"),
    caller("content_policy_violation", "moderation_blocked", "image_generation_user_error"),
    account("invalid_api_key", "account_deactivated", "unsupported_country_region_territory"),
    account(status=(403,), message=r"must be verified", scope=MODEL),
    account("model_not_found", scope=MODEL),
    caller(
        "invalid_value",
        "invalid_size",
        "unknown_parameter",
        "missing_required_parameter",
        "string_above_max_length",
        "invalid_image_format",
    ),
    rate("rate_limit_exceeded"),
    provider("server_error", "overloaded", "engine_overloaded"),
)


class Adapter(Base):
    """One OpenAI, or OpenAI-compatible, account."""

    async def submit(self, job: Job) -> Delivered:
        """Generate or edit, and wait for the pictures."""
        path, body = wire_of(job)
        answer = await self.http.paid(
            path,
            body,
            ERRORS,
            attempt_id=job.attempt_id,
            blocking=True,
            headers=self._account_headers(),
            bytes_max=BODY_BYTES_MAX + job.request.n * PICTURE_BYTES_MAX,
        )
        self.http.refuse_if_fault(answer, ERRORS)
        return openai_delivery(answer.body, self.http.now_s() + HOUR_S)

    def _account_headers(self) -> dict[str, str]:
        options = self.http.upstream.options
        names = ("organization", "project")
        return {f"openai-{name}": str(options[name]) for name in names if options.get(name)}

    async def poll(self, upstream_task_id: str) -> PollAnswer:
        """There are no tasks here, so none is known."""
        raise task_unknown()


def wire_of(job: Job) -> tuple[str, Json | Form]:
    """Give path and body of the call (§3, §4)."""
    request = job.request
    fields = set_fields(
        model=job.offer.upstream_model,
        prompt=request.prompt,
        n=request.n,
        size=_size(job),
        seed=known(job, Feature.SEED, request.seed),
        negative_prompt=known(job, Feature.NEGATIVE_PROMPT, request.negative_prompt),
    )
    options = job.offer.limits.options
    fields |= {name: value for name, value in request.options.items() if name in options}
    if not request.images:
        return "/images/generations", fields
    pictures = [*request.images, *((request.mask,) if request.mask else ())]
    if all(image.is_inline for image in pictures):
        words = {name: _form_text(value) for name, value in fields.items()}
        return "/images/edits", Form(words, _files(request))
    fields["images"] = [{"image_url": image.url} for image in request.images]
    if request.mask:
        fields["mask"] = {"image_url": request.mask.url}
    return "/images/edits", fields


def _size(job: Job) -> str | None:
    """``auto`` is the model's own default; a caller who asked for nothing gets that."""
    request, rule = job.request, job.offer.limits.size
    said = request.size or request.tier or request.aspect_ratio
    return "auto" if rule.default == "auto" and not said else size_text(job, "x")


def _form_text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _files(request: GenerationRequest) -> tuple[FilePart, ...]:
    """One picture is ``image``, several are ``image[]`` each (§4)."""
    field = "image" if len(request.images) == 1 else "image[]"
    files = [_file(field, f"image-{no}", image) for no, image in enumerate(request.images, 1)]
    if request.mask is not None:
        files.append(_file("mask", "mask", request.mask))
    return tuple(files)


def _file(field: str, stem: str, image: InputImage) -> FilePart:
    try:
        content, sniffed = decoded(image.url)
    except ValueError:
        raise cannot_ask("A picture of the request is not base64.") from None
    media_type = image.media_type or sniffed or "image/png"
    return FilePart(field, f"{stem}.{_SUFFIXES.get(media_type, 'png')}", content, media_type)
