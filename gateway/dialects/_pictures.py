"""Pictures as callers send them: links, data URLs, bare base64 and uploaded files."""

from __future__ import annotations

import base64
import re
from urllib.parse import urlsplit

from gateway.domain.picture import sniff

URL_LENGTH_MAX = 8192
UPLOAD_SCHEME = "oss://"

_DATA_URL = re.compile(r"data:image/[a-z0-9.+-]+;base64,", re.IGNORECASE)
_BASE64_HEAD = re.compile(r"[A-Za-z0-9+/]{24}")


def picture_url(text: str, *, uploads: bool = False) -> str | None:
    """Give the http(s) or data URL of a picture a caller named; None when it is neither.

    ``uploads`` admits ``oss://`` addresses of files uploaded to us (DashScope). Bare base64
    (Modelverse, seed 002) becomes a data URL if its first bytes are a picture's. Whether the
    picture itself is any good is seen later, where it is looked at.
    """
    if _DATA_URL.match(text):
        return text
    if uploads and text.startswith(UPLOAD_SCHEME):
        # Ends in the file's own name, which may hold blanks.
        return text if len(text) <= URL_LENGTH_MAX and text.isprintable() else None
    if text[:7].lower() in ("http://", "https:/"):
        return text if _is_link(text) else None
    head = text[:24]
    if not _BASE64_HEAD.fullmatch(head):
        return None
    media_type = sniff(base64.b64decode(head))
    return f"data:{media_type};base64,{text}" if media_type else None


def _is_link(text: str) -> bool:
    if len(text) > URL_LENGTH_MAX or any(char <= " " or char == "\x7f" for char in text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def data_url(content: bytes, declared: str) -> str:
    """Give an uploaded file as a data URL; its bytes, not its declared type, name its format."""
    media_type = sniff(content) or (declared if declared.startswith("image/") else "image/png")
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
