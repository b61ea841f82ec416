"""Pictures as vendors give them back: links, base64, and when a link dies."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

from gateway.domain.upstream import Delivered, UpstreamImage
from gateway.upstreams._errors import no_images, unreadable
from gateway.upstreams._wire import Json, objects, text, unix_s

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"<svg", "image/svg+xml"),
)


def link_expiry(url: str) -> int | None:
    """Read the ``Expires`` parameter of a signed link, UTC seconds (dashscope.md §10)."""
    try:
        found = parse_qs(urlsplit(url).query).get("Expires")
    except ValueError:
        return None
    return unix_s(found[0]) if found else None


def picture(
    link: str, expires_at: int | None, revised_prompt: str | None = None
) -> UpstreamImage | None:
    """Give the picture behind an http(s) link or inside a ``data:`` URL; None for anything else.

    A link that says itself when it dies is believed before ``expires_at`` (UTC seconds).
    """
    if link.startswith("data:"):
        return inline_picture(link, revised_prompt)
    if not link.startswith(("https://", "http://")):
        return None
    life = link_expiry(link) or expires_at
    return UpstreamImage(url=link, expires_at=life, revised_prompt=revised_prompt)


def inline_picture(encoded: str, revised_prompt: str | None = None) -> UpstreamImage | None:
    """Give the picture in base64 text, with or without a ``data:`` prefix; None if it is none."""
    try:
        content, media_type = decoded(encoded)
    except ValueError:
        return None
    return UpstreamImage(content=content, media_type=media_type, revised_prompt=revised_prompt)


def delivered(pictures: Iterable[UpstreamImage | None], failed: int = 0) -> Delivered:
    """Give the delivery of these pictures; each None is one more that failed.

    Raises UpstreamError (``no_images``) when there is not a single one.
    """
    found = list(pictures)
    images = tuple(image for image in found if image is not None)
    if not images:
        raise no_images()
    return Delivered(images, failed + len(found) - len(images))


def openai_delivery(body: Json, expires_at: int | None) -> Delivered:
    """Read ``{"data": [{url and/or b64_json, revised_prompt}]}`` (openai.md §5).

    An empty list means that nothing was made. No list at all, or only pictures that cannot be
    read, leaves open whether something was made and billed: UpstreamError with ``sent=UNKNOWN``.
    """
    data = body.get("data")
    if not isinstance(data, list):
        raise unreadable("The upstream's answer holds no pictures.")
    pictures = [_openai_picture(entry, expires_at) for entry in objects(data)]
    if data and not any(pictures):
        raise unreadable("The upstream's pictures cannot be read.")
    return delivered(pictures)


def _openai_picture(entry: Json, expires_at: int | None) -> UpstreamImage | None:
    revised = text(entry.get("revised_prompt")) or None
    inline = inline_picture(text(entry.get("b64_json")), revised)
    linked = picture(text(entry.get("url")), expires_at, revised)
    if inline is None or linked is None:
        return inline or linked
    return replace(inline, url=linked.url, expires_at=linked.expires_at)


def decoded(encoded: str) -> tuple[bytes, str | None]:
    """Decode base64 with or without a ``data:`` prefix; gives bytes and media type.

    The type is read off the bytes, else taken from the prefix. Raises ValueError when it is not
    base64 or holds nothing.
    """
    declared = None
    if encoded.startswith("data:"):
        head, _, encoded = encoded.partition(",")
        declared = head[len("data:") :].partition(";")[0] or None
    try:
        content = base64.b64decode("".join(encoded.split()), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    if not content:
        raise ValueError("no content")
    return content, media_type_of(content) or declared


def media_type_of(content: bytes) -> str | None:
    """Give the media type the first bytes of a picture show."""
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _MAGIC if content.startswith(magic)), None)
