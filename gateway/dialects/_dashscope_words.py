"""DashScope's words: statuses, error codes with their HTTP statuses, and Beijing time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from gateway.dialects._faults import Fault, fault_of
from gateway.domain.errors import (
    AuthenticationFailed,
    BodyTooLarge,
    GatewayError,
    InsufficientCredits,
    InvalidRequest,
    ModelNotFound,
    NoHealthyUpstream,
    NotAllowed,
    RateLimited,
    RouteNotFound,
    TaskNotFound,
    TooLateToCancel,
    Unavailable,
    UpstreamError,
    WaitExpired,
)
from gateway.domain.task import Task, TaskStatus

BEIJING = timezone(timedelta(hours=8))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

STATUSES = {
    TaskStatus.PENDING: "PENDING",
    TaskStatus.PROCESSING: "RUNNING",
    TaskStatus.COMPLETED: "SUCCEEDED",
    TaskStatus.FAILED: "FAILED",
    # One L: the SDK keeps polling on any word it does not know.
    TaskStatus.CANCELLED: "CANCELED",
}
UNKNOWN = "UNKNOWN"

_FAULTS = {
    Fault.CONTENT: "DataInspectionFailed",
    Fault.PICTURE: "InvalidParameter",
    Fault.PARAMETER: "InvalidParameter",
    Fault.RATE: "Throttling.RateQuota",
    Fault.TIMEOUT: "InternalError.Timeout",
    Fault.UNAVAILABLE: "ModelUnavailable",
    Fault.PROVIDER: "InternalError.Algo",
    Fault.CANCELLED: "UnsupportedOperation",
}

# Codes a task of a DashScope upstream may carry to its caller unchanged (dashscope.md §9);
# account faults are not among them.
_OWN_WORDS = (
    "InvalidParameter",
    "BadRequest.",
    "DataInspectionFailed",
    "IPInfringementSuspect",
    "CustomRoleBlocked",
    "FaqRuleBlocked",
    "InvalidImage",
    "InvalidInputLength",
    "InvalidFile.",
    "InvalidURL",
    "Throttling.RateQuota",
    "InternalError",
    "SystemError",
    "ModelServiceFailed",
    "RewriteFailed",
    "RequestTimeOut",
)

# The first class that fits gives HTTP status and code. Unpaid is a 400 here, as at DashScope.
_ERRORS: tuple[tuple[type[GatewayError], int, str], ...] = (
    (InvalidRequest, 400, "InvalidParameter"),
    (BodyTooLarge, 413, "BadRequest.TooLarge"),
    (AuthenticationFailed, 401, "InvalidApiKey"),
    (InsufficientCredits, 400, "Arrearage"),
    (NotAllowed, 403, "AccessDenied"),
    (ModelNotFound, 404, "ModelNotFound"),
    (TaskNotFound, 404, "NotFound"),
    (RouteNotFound, 404, "NotFound"),
    (TooLateToCancel, 400, "UnsupportedOperation"),
    (RateLimited, 429, "Throttling.RateQuota"),
    (NoHealthyUpstream, 503, "ModelUnavailable"),
    (Unavailable, 503, "ServiceUnavailable"),
    (WaitExpired, 504, "GatewayTimeout"),
    (UpstreamError, 500, "InternalError.Algo"),
)


def failure_code(task: Task) -> str:
    """Give DashScope's code for why a task failed: the vendor's own if it is one of theirs."""
    error = task.error
    fault = fault_of(error if task.status is TaskStatus.FAILED else None)
    if error and error.code.startswith(_OWN_WORDS) and fault is not Fault.UNAVAILABLE:
        return error.code
    return _FAULTS[fault]


def error_words(error: GatewayError) -> tuple[int, str]:
    """Give the HTTP status and the code of an error."""
    for kind, status, code in _ERRORS:
        if isinstance(error, kind):
            return status, error.code if error.code.startswith(_OWN_WORDS) else code
    if 400 <= error.status < 500:
        return error.status, "InvalidParameter"
    return 500, "InternalError"


def beijing(ms: int) -> str:
    """Give ``YYYY-MM-DD HH:MM:SS.mmm`` in Beijing time."""
    moment = (EPOCH + timedelta(milliseconds=ms)).astimezone(BEIJING)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{ms % 1000:03d}"


def parse_beijing(text: str) -> int | None:
    """Give UTC milliseconds of ``YYYYMMDDhhmmss`` in Beijing time, None when it is none."""
    if len(text) != 14 or not (text.isascii() and text.isdigit()):
        return None
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    except ValueError:
        return None
    return (moment - EPOCH) // timedelta(milliseconds=1)
