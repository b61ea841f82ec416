"""Logging: one line per event on standard error, and no secret in any of them.

Everything goes through structlog, the standard library's loggers (uvicorn, asyncpg) included, and
the last thing done to an event before it is written is `redact_event`.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[redacted]"

_SECRET_NAME = re.compile(
    r"authorization|cookie|password|passwd|secret|pepper|credential|signature|b64_json"
    r"|(^|[_-])(token|(api|admin|access|private)[_-]?key)$",
    re.IGNORECASE,
)
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(data:[\w.+/-]{0,100}(?:;[\w=.+-]{1,100}){0,5},)[^\s\"'<>]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(Authorization\"?'?\s*[:=]\s*\"?'?)[^\r\n\"',}]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(Bearer)\s+[A-Za-z0-9._~+/=:-]{8,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(sk|op|se)-igw-[\w-]+"), rf"\1-igw-{HIDDEN}"),
    (re.compile(r"\b(sk-|r8_)[\w-]{12,}"), rf"\1{HIDDEN}"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), f"whsec_{HIDDEN}"),
    (re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://)[^\s/@\"'<>?#]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)(\bhttps?://[^\s\"'<>?#]+)\?[^\s\"'<>]+"), rf"\1?{HIDDEN}"),
    (re.compile(r"[A-Za-z0-9+/_-]{256,}={0,2}"), HIDDEN),
)


def redact(text: str) -> str:
    """`text` without keys, bearer tokens, webhook secrets, URL queries and passwords, or images."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor: the event with every secret in names, values and tracebacks hidden."""
    return {name: _redact_value(str(name), value) for name, value in event.items()}


def _redact_value(name: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redact(str(key)): _redact_value(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value("", item) for item in value]
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return redact(str(value))


class GatewayHandler(logging.StreamHandler[TextIO]):
    """Our one log handler, told apart from those a host program may have installed."""


def configure_logging(
    log_format: Literal["console", "json"] = "console", level: int = logging.INFO
) -> None:
    """Send every logger of the process to standard error in `log_format`. May be repeated."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer: Processor = (
        structlog.processors.JSONRenderer(serializer=_to_json)
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    handler = GatewayHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                redact_event,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, GatewayHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    for name in ("httpx", "httpcore", "alembic"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _to_json(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
