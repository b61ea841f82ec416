"""Multipart forms as the objects they stand for.

The OpenAI SDKs spell lists and objects of a form in brackets: ``provider[only][]``,
``color_palette[][hex]``. Lists directly inside lists cannot be told apart that way; they, like
anything else, may come as JSON text instead.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from gateway.app.dialect import Call
from gateway.dialects._fields import UNKNOWN, Reading, shown
from gateway.dialects._pictures import data_url

FILE_FIELDS = ("image", "images", "image_urls", "mask")
NAME_SHOWN_MAX = 60
DEPTH_MAX = 4
_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEY = re.compile(r"\[([^\[\]]*)\]")


def form_values(call: Call, reading: Reading, lists: Collection[str]) -> dict[str, Any]:
    """Give the values of a form, texts before files; files become data URLs.

    A name of ``lists`` that is repeated makes a list, with or without brackets.
    """
    values: dict[str, Any] = {}
    for name, text in call.form:
        _put(values, name, text, reading, lists)
    for file in call.files:
        if file.name.removesuffix("[]") in FILE_FIELDS:
            _put(values, file.name, data_url(file.content, file.content_type), reading, lists)
        else:
            name = shown(file.name, NAME_SHOWN_MAX)
            message = f"A file cannot be sent as {name!r}."
            reading.refuse(name, message, UNKNOWN, "image, image[], mask")
    return values


def _put(
    values: dict[str, Any], name: str, value: str, reading: Reading, lists: Collection[str]
) -> None:
    match = _NAME.fullmatch(name)
    if match is None:
        values[name] = value
        return
    plain, keys = match[1], _KEY.findall(match[2])
    if not keys and plain in lists and plain in values:
        keys = [""]
    try:
        values[plain] = _with(values.get(plain), keys, value)
    except ValueError:
        label = shown(name, NAME_SHOWN_MAX)
        message = f"{label!r} cannot be read in brackets; send {shown(plain, 40)} as JSON text."
        reading.refuse(shown(plain, NAME_SHOWN_MAX), message)


def _with(holder: Any, keys: Sequence[str], value: str) -> Any:
    """Give ``holder`` with a value under these keys; an empty key is the next of a list.

    Raises ValueError for a list in a list, a holder of another kind, and too many keys.
    """
    if not keys:
        return value
    if len(keys) > DEPTH_MAX:
        raise ValueError("nested too deeply")
    key, rest = keys[0], keys[1:]
    if key:
        if not isinstance(holder, dict | None):
            raise ValueError("no object")
        known = holder or {}
        return {**known, key: _with(known.get(key), rest, value)}
    items = holder if isinstance(holder, list) else [holder] if holder is not None else []
    if not rest:
        return [*items, value]
    if not rest[0]:
        raise ValueError("a list in a list")
    # The SDKs send all values of one key, then all of the next: each goes to the first object
    # that has none yet.
    for index, item in enumerate(items):
        if isinstance(item, dict) and rest[0] not in item:
            return [*items[:index], _with(item, rest, value), *items[index + 1 :]]
    return [*items, _with(None, rest, value)]
