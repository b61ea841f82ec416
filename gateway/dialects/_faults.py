"""What went wrong, in seven kinds, whichever vendor said it in whichever word.

A task's error carries the vendor's own code. A caller must hear it in the words of the
caller's dialect: `fault_of` sorts the code into a kind, each dialect has a word per kind.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.domain.errors import Blame, GatewayError, InvalidRequest, Problem, UpstreamError
from gateway.domain.task import Task, TaskError, TaskStatus


class Fault(StrEnum):
    """Why a task failed, as far as a caller can act on it."""

    CONTENT = "content"
    PICTURE = "picture"
    PARAMETER = "parameter"
    RATE = "rate"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    PROVIDER = "provider"
    CANCELLED = "cancelled"


# Prefixes of lower-cased codes, from the blame tables of providers/*.md.
_CONTENT = (
    "datainspection",
    "ipinfringement",
    "customroleblocked",
    "faqruleblocked",
    "content_policy",
    "content_filter",
    "sensitive_",
    "moderation",
    "input_moderation",
    "invalid_messages",
)
_PICTURE = (
    "invalidimage",
    "invalidfile",
    "invalidurl",
    "invalidparameter.datainspection",
    "badrequest.inputdownloadfailed",
    "badrequest.toolarge",
    "image_processing_error",
    "image_dimension_mismatch",
    "invalid_image",
)
_UNAVAILABLE = (
    "no_healthy_upstream",
    "no_upstream",
    "model_unavailable",
    "modelunavailable",
    "service_unavailable",
    "serviceunavailable",
    "resource_exhausted",
    "upstream_unavailable",
)


def fault_of(error: TaskError | None) -> Fault:
    """Sort a task's error into a kind; no error means the task was cancelled."""
    if error is None:
        return Fault.CANCELLED
    code = error.code.lower()
    if code in ("request_cancelled", "cancelled", "canceled"):
        return Fault.CANCELLED
    if code.startswith(_CONTENT):
        return Fault.CONTENT
    if error.blame is Blame.CALLER:
        return Fault.PICTURE if code.startswith(_PICTURE) else Fault.PARAMETER
    if error.blame is Blame.RATE:
        return Fault.RATE
    if error.blame is Blame.ACCOUNT or code.startswith(_UNAVAILABLE):
        return Fault.UNAVAILABLE
    return Fault.TIMEOUT if "timeout" in code or "deadline" in code else Fault.PROVIDER


def failure(task: Task, code: str) -> GatewayError:
    """Give the error a synchronous caller gets for a failed or cancelled task.

    The caller's own faults are 400, everything else is 502; ``code`` is the dialect's word.
    """
    message = message_of(task)
    fault = fault_of(task.error)
    if fault in (Fault.CONTENT, Fault.PICTURE, Fault.PARAMETER, Fault.CANCELLED):
        return InvalidRequest(Problem("", message, code))
    blame = task.error.blame if task.error else Blame.PROVIDER
    return UpstreamError(message, blame=blame, code=code)


def message_of(task: Task) -> str:
    """Give the sentence a caller reads about a task that did not complete.

    Account faults are ours: the vendor's words about our account are nobody else's business.
    """
    if task.status is TaskStatus.CANCELLED or task.error is None:
        return "The task was cancelled; nothing was charged."
    if task.error.blame is Blame.ACCOUNT:
        return "No upstream could serve this request; nothing was charged."
    return task.error.message
