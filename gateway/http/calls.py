"""From an ASGI scope to a framework-free `Call`, with the body capped while it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.types import Receive, Scope

from gateway.app.dialect import Call, Route, UploadedFile
from gateway.domain.errors import BodyTooLarge, InvalidRequest, Problem

MIB = 1024 * 1024
BODY_MAX = MIB
BODY_MAX_WITH_IMAGES = 45 * MIB
FILES_MAX = 32
FIELDS_MAX = 64
INCOMPLETE = "incomplete_body"
BODY_LATE = "body_late"
"""In the state of a call whose body took too long: how many seconds it had."""


def call_head(scope: Scope, public_url: str | None) -> Call:
    """Give the call without its body: enough to authenticate and to answer errors."""
    headers = {str(name, "latin-1"): str(value, "latin-1") for name, value in scope["headers"]}
    query = scope["query_string"]
    return Call(
        method=scope["method"],
        path=scope["path"],
        request_id=scope["state"]["request_id"],
        headers=headers,
        query=dict(parse_qsl(str(query, "latin-1"), keep_blank_values=True)) if query else {},
        path_params=scope["path_params"],
        base_url=public_url or _address(scope, headers),
    )


def _address(scope: Scope, headers: Mapping[str, str]) -> str:
    """Give how the caller reaches us: by the host it named, else by where we listen."""
    root = scope.get("root_path", "").rstrip("/")
    host = headers.get("host")
    if not host:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{scope['scheme']}://{host}{root}"


def body_cap(route: Route) -> int:
    """Give how many bytes the body of a call to a route may have."""
    return BODY_MAX_WITH_IMAGES if route.images_allowed else BODY_MAX


async def read_body(scope: Scope, receive: Receive, declared: str, cap: int) -> bytes:
    """Read the body, at most ``cap`` bytes; ``declared`` is its content-length, if any.

    Raises BodyTooLarge as soon as the declared or the received length passes the cap, and
    InvalidRequest when it is not complete in time, which the connection tells.
    """
    if declared.isdigit() and int(declared) > cap:
        raise _too_large(cap)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequest(
                Problem("", "The connection closed before the body was complete.", INCOMPLETE)
            )
        part = message.get("body", b"")
        size += len(part)
        if size > cap:
            raise _too_large(cap)
        parts.append(part)
        more = message.get("more_body", False)
        if more and (within_s := scope["state"].get(BODY_LATE)) is not None:
            text = f"The body was not complete within {within_s:.0f} s."
            raise InvalidRequest(Problem("", text, INCOMPLETE))
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(cap: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {cap // MIB} MiB.")


async def read_multipart(
    scope: Scope, body: bytes
) -> tuple[tuple[tuple[str, str], ...], tuple[UploadedFile, ...]]:
    """Split a multipart body into its text fields and its files, in order.

    Raises InvalidRequest when it is malformed or has too many parts.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(
        Headers(scope=scope),
        stream(),
        max_files=FILES_MAX,
        max_fields=FIELDS_MAX,
        max_part_size=BODY_MAX,
    )
    # The parts are already in memory; spooling them to disk would only cost time.
    parser.spool_max_size = BODY_MAX_WITH_IMAGES
    try:
        data = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        message = getattr(error, "message", None) or "no boundary"
        raise InvalidRequest(
            Problem("", f"The multipart body cannot be read: {message}", "invalid_multipart")
        ) from None
    fields: list[tuple[str, str]] = []
    files: list[UploadedFile] = []
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            content = await value.read()
            kind = value.content_type or ""
            files.append(UploadedFile(name, value.filename or "", kind, content))
        else:
            fields.append((name, value))
    await data.close()
    return tuple(fields), tuple(files)
