"""From a Starlette request to a framework-free `Call`, with the body capped while it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from gateway.app.dialect import Call, Route, UploadedFile
from gateway.domain.errors import BodyTooLarge, InvalidRequest, Problem

MIB = 1024 * 1024
BODY_MAX = MIB
BODY_MAX_WITH_IMAGES = 45 * MIB
FILES_MAX = 32
FIELDS_MAX = 64


def call_head(request: Request, public_url: str | None) -> Call:
    """Give the call without its body: enough to authenticate and to answer errors."""
    return Call(
        method=request.method,
        path=request.url.path,
        request_id=request.scope.get("state", {}).get("request_id", ""),
        headers={name.lower(): value for name, value in request.headers.items()},
        query=dict(request.query_params),
        path_params={name: str(value) for name, value in request.path_params.items()},
        base_url=public_url or str(request.base_url).rstrip("/"),
    )


async def read_body(request: Request, route: Route) -> bytes:
    """Read the body, at most the route's cap.

    Raises BodyTooLarge as soon as the declared or the received length passes the cap.
    """
    cap = BODY_MAX_WITH_IMAGES if route.images_allowed else BODY_MAX
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > cap:
        raise _too_large(cap)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > cap:
                raise _too_large(cap)
            parts.append(part)
    except ClientDisconnect:
        raise InvalidRequest(
            Problem("", "The connection closed before the body was complete.", "incomplete_body")
        ) from None
    return b"".join(parts)


def _too_large(cap: int) -> BodyTooLarge:
    return BodyTooLarge(f"The request body is larger than {cap // MIB} MiB.")


async def read_multipart(
    request: Request, body: bytes
) -> tuple[tuple[tuple[str, str], ...], tuple[UploadedFile, ...]]:
    """Split a multipart body into its text fields and its files, in order.

    Raises InvalidRequest when it is malformed or has too many parts.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body
        yield b""

    parser = MultiPartParser(
        request.headers,
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
