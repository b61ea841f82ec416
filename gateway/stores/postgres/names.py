"""Ids, names and API key texts: how they are made and what they must look like."""

from __future__ import annotations

import re
import zlib
from secrets import choice
from string import ascii_letters, digits

from gateway.domain.errors import InvalidRequest, Problem

KEY_PREFIX = "sk-igw-"
OPERATOR_PREFIX = "op-igw-"
KEY_RANDOM = 30
KEY_CHECKSUM = 6
NAME_MAX = 100

_BASE62 = digits + ascii_letters
_BODY = re.compile(rf"[0-9A-Za-z]{{{KEY_RANDOM + KEY_CHECKSUM}}}")


def new_id(kind: str) -> str:
    """Give a new id such as ``team_3kTmMK…``: unguessable, URL-safe."""
    return f"{kind}_{_random(16)}"


def erased_name(team_id: str) -> str:
    """Give what an erased team is called."""
    return f"erased {team_id}"


def checked_name(name: str) -> str:
    """Give a name without surrounding blanks. Raises InvalidRequest unless it is printable."""
    name = name.strip()
    if not name or len(name) > NAME_MAX or not name.isprintable():
        legal = f"1 to {NAME_MAX} printable characters"
        raise InvalidRequest(Problem("name", "This is no usable name.", legal=legal))
    return name


def new_key_text(prefix: str = KEY_PREFIX) -> str:
    """Give a new API key: ``sk-igw-``, 30 random base62 characters, 6 of checksum."""
    body = _random(KEY_RANDOM)
    return f"{prefix}{body}{_checksum(body)}"


def is_key_text(text: str, prefix: str = KEY_PREFIX) -> bool:
    """Whether a text can be one of our keys; a mistyped or foreign one fails its checksum."""
    body = text.removeprefix(prefix)
    if not text.startswith(prefix) or not _BODY.fullmatch(body):
        return False
    return body.endswith(_checksum(body[:KEY_RANDOM]))


def _random(length: int) -> str:
    return "".join(choice(_BASE62) for _ in range(length))


def _checksum(body: str) -> str:
    """Give the CRC-32 of a text as six base62 digits."""
    number, figures = zlib.crc32(body.encode()), ""
    for _ in range(KEY_CHECKSUM):
        number, figure = divmod(number, len(_BASE62))
        figures = _BASE62[figure] + figures
    return figures
