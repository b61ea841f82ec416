"""What a vendor's error answer means: one declarative table per adapter, one reader for all shapes.

A table is a list of rules in order; the first rule that matches a fault decides. Where none
matches, the HTTP status decides (`by_status`, after providers/README.md §4). A rule's words are
compared with the vendor's ``code`` and ``type`` without regard to case, ``_`` or ``-``, so that
DashScope's ``InvalidApiKey`` and its twin ``invalid_api_key`` are one word; ``Throttling.*``
matches ``Throttling`` and everything below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.upstreams._wire import text, unix_s

AMBIGUOUS_STATUSES = frozenset({408, 502, 504, 520, 524})
"""Answers of a proxy that may have passed the request on: 520 and 524 are Cloudflare's."""

MODEL = "model"
UPSTREAM = "upstream"
WORD_MAX = 100
_SUCCESS_WORDS = frozenset({"", "0", "200", "ok", "success"})


@dataclass(frozen=True, slots=True)
class Fault:
    """What a vendor says went wrong.

    ``status`` is 200 for faults inside a good answer. ``reset_at_s`` is when a used-up quota is
    filled again, UTC seconds (Qingbo).
    """

    status: int
    code: str = ""
    type: str = ""
    message: str = ""
    param: str = ""
    request_id: str | None = None
    reset_at_s: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whose fault it is, what it benches, whether it may have been billed, when to come back."""

    blame: Blame
    scope: str = UPSTREAM
    sent: Sent = Sent.REFUSED
    retry_after_s: float | None = None
    repeatable: bool = True


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of a blame table; empty conditions match everything.

    ``sent`` None leaves it to the status whether the vendor may have accepted. ``retry_after_s``
    serves when the vendor names no time itself. Unless ``repeatable``, the vendor says that the
    same call must not be sent again.
    """

    blame: Blame
    words: tuple[str, ...] = ()
    status: tuple[int, ...] = ()
    message: str = ""
    scope: str = UPSTREAM
    sent: Sent | None = None
    retry_after_s: float | None = None
    repeatable: bool = True

    def matches(self, fault: Fault) -> bool:
        """Whether this rule speaks about that fault."""
        if self.status and fault.status not in self.status:
            return False
        if self.words and not any(
            _word_matches(pattern, word)
            for pattern in self.words
            for word in (fault.code, fault.type)
        ):
            return False
        return not self.message or re.search(self.message, fault.message, re.IGNORECASE) is not None


class ErrorTable:
    """An adapter's blame table; the first matching rule decides, else the HTTP status."""

    def __init__(self, *rules: Rule, param_is_request_id: bool = False) -> None:
        """Take the rules, most special first; Modelverse puts its request id into ``param``."""
        self.rules = rules
        self.param_is_request_id = param_is_request_id

    def request_id(self, fault: Fault) -> str | None:
        """Give the vendor's id of the failed call, if its body names one."""
        return (fault.param if self.param_is_request_id else "") or fault.request_id

    def judge(self, fault: Fault) -> Verdict:
        """Give the verdict on a fault."""
        rule = next((rule for rule in self.rules if rule.matches(fault)), None)
        if rule is None:
            return by_status(fault.status)
        sent = rule.sent or by_status(fault.status).sent
        if rule.blame is Blame.CALLER:
            sent = Sent.REFUSED
        return Verdict(rule.blame, rule.scope, sent, rule.retry_after_s, rule.repeatable)


def by_status(status: int) -> Verdict:
    """Give the verdict on a fault whose words nobody knows (providers/README.md §4).

    A 404 benches the model only: it is how vendors say that they do not sell it. 405 and its
    like, and redirects, are our own mistake, which no caller can mend.
    """
    if status in AMBIGUOUS_STATUSES or status == 409:
        return Verdict(Blame.PROVIDER, sent=Sent.UNKNOWN)
    if status in (401, 402, 403):
        return Verdict(Blame.ACCOUNT)
    if status in (404, 410):
        return Verdict(Blame.ACCOUNT, scope=MODEL)
    if status == 429:
        return Verdict(Blame.RATE)
    if 400 <= status < 500 and status not in (405, 406, 407, 421, 425, 426, 499):
        return Verdict(Blame.CALLER)
    return Verdict(Blame.PROVIDER)


def caller(*words: str, status: Sequence[int] = (), message: str = "") -> Rule:
    """Give a rule that blames the request or its content."""
    return Rule(Blame.CALLER, words, tuple(status), message)


def account(
    *words: str,
    status: Sequence[int] = (),
    message: str = "",
    scope: str = UPSTREAM,
    retry_after_s: float | None = None,
) -> Rule:
    """Give a rule that blames our account; ``scope`` says what is benched."""
    return Rule(Blame.ACCOUNT, words, tuple(status), message, scope, None, retry_after_s)


def rate(
    *words: str,
    status: Sequence[int] = (),
    message: str = "",
    retry_after_s: float | None = None,
) -> Rule:
    """Give a rule that means throttling."""
    return Rule(Blame.RATE, words, tuple(status), message, UPSTREAM, None, retry_after_s)


def provider(
    *words: str,
    status: Sequence[int] = (),
    message: str = "",
    sent: Sent | None = None,
    repeatable: bool = True,
) -> Rule:
    """Give a rule that blames the vendor."""
    condition = (words, tuple(status), message)
    return Rule(Blame.PROVIDER, *condition, UPSTREAM, sent, repeatable=repeatable)


def read_fault(body: Any, status: int) -> Fault:
    """Read any of the error bodies the vendors use; a body that says nothing gives empty words.

    ``{"error": {code, type, message, param}}`` (the code may be a number), ``{"error": "text"}``,
    flat ``{code, message, request_id}`` (DashScope), ``{"detail": text or [{type, msg}],
    "error_type"}`` (fal) and ``{title, detail, status}`` (RFC 7807). A number from 400 to 599 as
    code of a 200 answer stands for the status (EvoLink's older envelope).
    """
    if not isinstance(body, Mapping):
        return Fault(status)
    error = body.get("error")
    if isinstance(error, Mapping):
        source: Mapping[str, Any] = error
    elif isinstance(error, str) and error:
        source = {"message": error, "type": body.get("error_type"), "code": body.get("code")}
    else:
        source = body
    code = source.get("code")
    if isinstance(code, int) and not isinstance(code, bool):
        status = code if status == 200 and 400 <= code < 600 else status
        code = ""
    detail_type, detail = _detail(source.get("detail"))
    return Fault(
        status=status,
        code=_word(code),
        type=_word(source.get("type")) or _word(body.get("error_type")) or detail_type,
        message=text(source.get("message")) or detail or text(source.get("title")),
        param=text(source.get("param")),
        request_id=text(source.get("request_id")) or text(body.get("request_id")) or None,
        reset_at_s=unix_s(source.get("reset_at")),
    )


def has_fault(body: Mapping[str, Any]) -> bool:
    """Whether a 2xx body reports an error: a filled ``error``, or a ``code`` other than success."""
    if body.get("error"):
        return True
    code = body.get("code")
    if isinstance(code, bool) or not isinstance(code, (int, str)):
        return False
    return str(code).lower() not in _SUCCESS_WORDS


def unreadable(message: str, sent: Sent = Sent.UNKNOWN) -> UpstreamError:
    """Give the error of a good answer that makes no sense."""
    return UpstreamError(message, blame=Blame.PROVIDER, sent=sent, code="unreadable_answer")


def task_unknown() -> UpstreamError:
    """Give the error of a query for a task the vendor does not know (yet, or any more)."""
    message = "The upstream does not know the task."
    return UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="task_unknown")


def no_images() -> UpstreamError:
    """Give the error of a job that ended well without a picture."""
    message = "The upstream finished without a picture."
    return UpstreamError(message, blame=Blame.PROVIDER, code="no_images")


def cannot_ask(message: str) -> UpstreamError:
    """Give the error of a job this vendor's wire has no words for; nothing was sent."""
    return UpstreamError(message, blame=Blame.PROVIDER, sent=Sent.NO, code="cannot_ask")


def _detail(value: Any) -> tuple[str, str]:
    """Give (type, text) of a ``detail`` that is a text or a list of problems."""
    if isinstance(value, str):
        return "", value
    if not isinstance(value, list):
        return "", ""
    rows = [row for row in value if isinstance(row, Mapping)]
    texts = [text(row.get("msg")) for row in rows]
    first = _word(rows[0].get("type")) if rows else ""
    return first, "; ".join(text for text in texts if text)


def _word(value: Any) -> str:
    """Give a code or type; RFC 7807's types are addresses (``about:blank``), not words."""
    word = text(value).strip()
    return "" if ":" in word else word[:WORD_MAX]


def _word_matches(pattern: str, word: str) -> bool:
    if not word:
        return False
    wanted, given = _folded(pattern), _folded(word)
    if wanted.endswith(".*"):
        stem = wanted[:-2]
        return given == stem or given.startswith(f"{stem}.")
    return given == wanted


@lru_cache(maxsize=2048)
def _folded(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "").replace(" ", "")
