"""The error tree. Callers see ``status``, ``type`` and ``code``; dialects choose the words.

GatewayError
├── CallerError                 the request is at fault
│   ├── InvalidRequest          400  one or more named problems
│   ├── BodyTooLarge            413
│   ├── AuthenticationFailed    401
│   ├── InsufficientCredits     402  (subclasses in caps.py and budgets.py)
│   ├── NotAllowed              403
│   ├── ModelNotFound           404
│   ├── TaskNotFound            404
│   ├── NotFound                404
│   ├── RouteNotFound           404
│   ├── MethodNotAllowed        405
│   ├── NameTaken               409
│   ├── InUse                   409
│   ├── TooLateToCancel         409
│   ├── VersionConflict         412
│   ├── IdempotencyConflict     422
│   └── RateLimited             429
├── Unavailable                 503  the gateway cannot serve now
│   ├── NoHealthyUpstream
│   ├── ShuttingDown
│   ├── StoreUnavailable
│   └── IndexUnavailable
├── ResultUnavailable           502  the task is done, its image could not be fetched
├── WaitExpired                 504  a synchronous wait ended; the task goes on
├── UpstreamError               an upstream refused, failed or vanished; ``blame`` decides
├── TaskIdTaken                 a new task's id is in use already; make another
├── RepeatedCall                a call's Idempotency-Key is in use already; see its task
├── RepeatedChange              the same for a change by an operator; see what it made
├── StaleFence                  another worker moved the task on; drop what you hold
└── ConfigError                 the operator's configuration is not usable
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from gateway.domain.limits import Verdict
from gateway.domain.repeats import EarlierCall


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a request.

    ``field`` is the canonical field name (a dialect renames it to the caller's), ``legal``
    says what would be accepted.
    """

    field: str
    message: str
    code: str = "invalid_value"
    legal: str | None = None

    def __str__(self) -> str:
        """Give the sentence a caller reads."""
        return f"{self.message} (legal: {self.legal})" if self.legal else self.message


class GatewayError(Exception):
    """Something went wrong in the gateway."""

    status: int = 500
    type: ClassVar[str] = "api_error"
    code: str = "internal_error"
    param: str | None = None
    retry_after_s: float | None = None

    def __init__(self, message: str = "") -> None:
        """Take the sentence for the caller; without one the class's docstring serves."""
        self.message = message or (type(self).__doc__ or "").split("\n", 1)[0]
        super().__init__(self.message)


class CallerError(GatewayError):
    """The request cannot be served as it is."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidRequest(CallerError):
    """The request is not valid."""

    code = "invalid_value"

    def __init__(self, *problems: Problem) -> None:
        """Take every problem found; the first one gives ``param`` and ``code``."""
        if not problems:
            raise ValueError("an InvalidRequest needs at least one problem")
        self.problems = problems
        self.param = problems[0].field or None
        self.code = problems[0].code
        super().__init__("; ".join(str(problem) for problem in problems))


class BodyTooLarge(CallerError):
    """The request body is too large."""

    status = 413
    code = "request_too_large"


class AuthenticationFailed(CallerError):
    """The API key is missing or not valid."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"


class InsufficientCredits(CallerError):
    """The team has not enough credits for this request."""

    status = 402
    type = "insufficient_quota_error"
    code = "insufficient_credits"


class NotAllowed(CallerError):
    """This key may not do that."""

    status = 403
    type = "permission_error"
    code = "not_allowed"


class ModelNotFound(CallerError):
    """There is no such model."""

    status = 404
    type = "not_found_error"
    code = "model_not_found"
    param = "model"

    def __init__(self, name: str, close: tuple[str, ...] = ()) -> None:
        """Take the unknown name and the known names nearest to it."""
        hint = f" Did you mean {', '.join(close)}?" if close else " GET /v1/models lists them."
        super().__init__(f"There is no model named {name!r}.{hint}")
        self.close = close


class TaskNotFound(CallerError):
    """There is no such task."""

    status = 404
    type = "not_found_error"
    code = "task_not_found"


class NotFound(CallerError):
    """There is no such team, key or callback."""

    status = 404
    type = "not_found_error"
    code = "not_found"


class RouteNotFound(CallerError):
    """There is nothing at this address."""

    status = 404
    type = "not_found_error"
    code = "route_not_found"


class MethodNotAllowed(CallerError):
    """This address does not answer that method."""

    status = 405
    code = "method_not_allowed"


class NameTaken(CallerError):
    """This name is in use already."""

    status = 409
    code = "name_taken"


class InUse(CallerError):
    """Others depend on this; it can only be suspended."""

    status = 409
    code = "in_use"


class VersionConflict(CallerError):
    """Somebody else has changed this meanwhile; read it again."""

    status = 412
    code = "version_conflict"


class TooLateToCancel(CallerError):
    """The task can no longer be cancelled."""

    status = 409
    code = "task_not_cancellable"


class IdempotencyConflict(CallerError):
    """This Idempotency-Key was used with another body."""

    status = 422
    code = "idempotency_conflict"


class RateLimited(CallerError):
    """Too many requests."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limited"

    def __init__(self, message: str, wait_s: float, verdicts: tuple[Verdict, ...] = ()) -> None:
        """Take the sentence, the seconds after which a retry can pass, and what limits say."""
        super().__init__(message)
        self.retry_after_s = wait_s
        self.verdicts = verdicts


class Unavailable(GatewayError):
    """The gateway cannot serve this request right now."""

    status = 503
    type = "service_unavailable_error"
    code = "service_unavailable"
    retry_after_s = 1.0

    def __init__(self, message: str = "", detail: str = "") -> None:
        """Take the sentence for the caller, and what only operators are told (in logs)."""
        super().__init__(message)
        self.detail = detail

    def __str__(self) -> str:
        """Give both, for operators."""
        return f"{self.message} ({self.detail})" if self.detail else self.message


class NoHealthyUpstream(Unavailable):
    """No upstream can serve this request right now."""

    code = "no_healthy_upstream"


class ShuttingDown(Unavailable):
    """This process is shutting down; another one serves the call."""

    code = "shutting_down"


class StoreUnavailable(Unavailable):
    """The database is away; nothing was accepted or charged.

    Unless ``outcome_known`` is false: it went away in the middle of a write and did not come
    back in time to tell, so that repeating the call might do it twice.
    """

    code = "store_unavailable"
    outcome_known: ClassVar[bool] = True


class IndexUnavailable(Unavailable):
    """The live index is away; accepted tasks are safe in the database."""

    code = "index_unavailable"


class ResultUnavailable(GatewayError):
    """The image is done but could not be fetched from its upstream."""

    status = 502
    type = "upstream_error"
    code = "result_unavailable"


class WaitExpired(GatewayError):
    """The task is still running; query it by its id."""

    status = 504
    type = "timeout_error"
    code = "wait_expired"

    def __init__(self, task_id: str, message: str = "") -> None:
        """Take the id under which the caller finds the task."""
        super().__init__(message)
        self.task_id = task_id


class TaskIdTaken(GatewayError):
    """A task with this id exists already."""

    code = "task_id_taken"


class RepeatedCall(GatewayError):
    """An earlier call was accepted under the same Idempotency-Key."""

    code = "repeated_call"

    def __init__(self, earlier: EarlierCall) -> None:
        """Take what the earlier call was."""
        super().__init__()
        self.earlier = earlier


class RepeatedChange(GatewayError):
    """An earlier call made something under the same Idempotency-Key."""

    code = "repeated_change"

    def __init__(self, subject: str, secret: str | None) -> None:
        """Take the id of what was made, and its text where that is shown only once."""
        super().__init__()
        self.subject = subject
        self.secret = secret


class StaleFence(GatewayError):
    """Another worker has moved this task on."""

    code = "stale_fence"


class ConfigError(GatewayError):
    """The configuration is not usable."""

    code = "invalid_configuration"

    def __init__(self, *problems: tuple[str, str]) -> None:
        """Take every problem as (where, message); ``where`` is a path in the file."""
        if not problems:
            raise ValueError("a ConfigError needs at least one problem")
        self.problems = problems
        lines = "".join(f"\n  {where}: {message}" for where, message in problems)
        super().__init__(f"The configuration has {len(problems)} problem(s):{lines}")


class Blame(StrEnum):
    """Who is at fault for an upstream's answer; this alone decides failover."""

    CALLER = "caller"
    ACCOUNT = "account"
    RATE = "rate"
    PROVIDER = "provider"

    @property
    def fails_over(self) -> bool:
        """Whether another upstream may be tried; a caller's fault would fail there too."""
        return self is not Blame.CALLER


class Sent(StrEnum):
    """How far a failed call got: whether the vendor can have accepted (and billed) it."""

    NO = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class UpstreamError(GatewayError):
    """An upstream did not do what was asked.

    ``blame`` decides failover, ``sent`` whether something may have been billed, ``scope``
    what an account fault benches (``upstream`` or ``model``), ``retry_after_s`` when the
    upstream wants to hear from us again, ``repeatable`` whether the same submit may be sent
    again under the same id when its outcome is unknown.
    """

    status = 502
    type = "upstream_error"
    code = "upstream_error"

    def __init__(
        self,
        message: str,
        *,
        blame: Blame,
        sent: Sent = Sent.REFUSED,
        code: str = "upstream_error",
        scope: str = "upstream",
        retry_after_s: float | None = None,
        upstream_request_id: str | None = None,
        repeatable: bool = True,
    ) -> None:
        """Take the facts of the failure; ``code`` is the vendor's own word for it."""
        super().__init__(message)
        self.blame = blame
        self.sent = sent
        self.code = code
        self.scope = scope
        self.retry_after_s = retry_after_s
        self.upstream_request_id = upstream_request_id
        self.repeatable = repeatable
