"""Behaviour on demand: scripts say which requests a vendor treats specially, and how.

A script has a *when* (how many requests, what share of them, which model or prompt) and effects.
All scripts that match a request apply together; where two set the same effect, the one added later
wins. ``[sim:...]`` in a prompt is a script for that one request and wins over all others, so that a
person can try things by hand:

    a lighthouse [sim:fail=content_policy]      the accepted task fails
    a lighthouse [sim:error=rate]               the submit is refused
    a lighthouse [sim:seconds=20]               the work takes 20 seconds
    a lighthouse [sim:deliver=1,seconds=3]      one picture comes back however many were asked for

Every effect of Script can be written that way; ``seconds`` is short for ``work_ms``.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

On = Literal["submit", "query", "cancel"]
AcceptThen = Literal["timeout", "reset"]
Answer = Literal["html", "garbage", "empty", "wrong_types", "slow", "truncated"]
Links = Literal["missing", "expired", "huge", "html", "slow"]

_MAGIC = re.compile(r"\[sim:([^\]]*)\]")
_WHEN = frozenset({"on", "times", "share", "model", "prompt"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Which requests to treat specially, and how.

    When: ``on`` the kind of call; ``times`` the number of matching requests it lasts for (None: for
    ever); ``share`` of them it hits, drawn from the seed; ``model`` exact; ``prompt`` a part of the
    prompt.

    Effects on any call: ``latency_ms`` before the answer; ``error`` a refusal by common name or
    vendor code, with ``status`` and ``retry_after_s`` on top; ``reset`` the connection before
    anything is accepted; ``answer`` a spoiled answer: ``html`` (502, or ``status``), ``garbage``
    (200, not JSON), ``empty`` (200, no data), ``wrong_types``, ``slow`` (drips), ``truncated`` (cut
    off).

    Effects on a submit: ``accept_then`` accept and bill, then stay silent (``timeout``) or
    ``reset``; ``accept`` overrules whether a spoiled answer hides an accepted task (``html`` and
    ``empty`` do not, the others do); ``queue_ms`` and ``work_ms`` the times from accept to start
    and to finish; ``fail`` the task with that failure; ``deliver`` so many pictures only; ``stuck``
    in processing for ever; ``cancelled`` by the vendor; ``duplicate_id`` the answer repeats the
    previous task's id; ``unknown_ms`` queries do not know the task that long; ``links`` what is
    wrong with the result links.
    """

    on: On = "submit"
    times: int | None = None
    share: float = 1.0
    model: str | None = None
    prompt: str | None = None

    latency_ms: int | None = None
    error: str | None = None
    status: int | None = None
    retry_after_s: int | None = None
    reset: bool = False
    answer: Answer | None = None
    accept_then: AcceptThen | None = None
    accept: bool | None = None
    queue_ms: int | None = None
    work_ms: int | None = None
    fail: str | None = None
    deliver: int | None = None
    stuck: bool = False
    cancelled: bool = False
    duplicate_id: bool = False
    unknown_ms: int = 0
    links: Links | None = None

    def __post_init__(self) -> None:
        """Refuse words outside the vocabulary, and values that mean nothing, with a ValueError."""
        for name, words in _WORDS.items():
            word = getattr(self, name)
            if word is not None and word not in words:
                raise ValueError(f"{name} is one of {', '.join(words)}, not {word!r}")
        if self.times is not None and self.times < 1:
            raise ValueError("times is at least 1")
        for name in _AMOUNTS:
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is not negative")
        if not 0.0 <= self.share <= 1.0:
            raise ValueError("share is between 0 and 1")

    def effects(self) -> dict[str, object]:
        """The effects this script sets, by field name."""
        return {
            name: value
            for name, default in _EFFECTS.items()
            if (value := getattr(self, name)) != default
        }


_WORDS: Mapping[str, tuple[str, ...]] = {
    "on": get_args(On),
    "accept_then": get_args(AcceptThen),
    "answer": get_args(Answer),
    "links": get_args(Links),
}
_AMOUNTS = ("latency_ms", "retry_after_s", "queue_ms", "work_ms", "deliver", "unknown_ms")
_EFFECTS: dict[str, object] = {f.name: f.default for f in fields(Script) if f.name not in _WHEN}
_TYPES: dict[str, str] = {f.name: str(f.type) for f in fields(Script)}
PLAIN = Script()
"""No effect at all."""


def script_from(values: Mapping[str, object]) -> Script:
    """Build a script from JSON or magic text; a ValueError names what is wrong."""
    known: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _TYPES:
            raise ValueError(f"unknown field {name!r}; known: {', '.join(_TYPES)}")
        known[name] = _typed(name, value)
    return Script(**known)


def _typed(name: str, value: object) -> object:
    declared = _TYPES[name]
    if value is None and "None" in declared:
        return None
    if declared.startswith("bool"):
        if value in (True, False, "true", "false", "1", "0", ""):
            return value in (True, "true", "1", "")
        raise ValueError(f"{name} is true or false")
    if declared.startswith("int") and not isinstance(value, bool):
        if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
            return int(value)
        raise ValueError(f"{name} is a whole number")
    if declared.startswith("float") and isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, str) and not declared.startswith("float"):
        return value
    raise ValueError(f"{name} cannot be {value!r}")


def magic(prompt: str) -> Script | None:
    """Read ``[sim:name=value,...]`` from a prompt; None without it, a ValueError when it makes no
    sense.
    """
    found = _MAGIC.search(prompt)
    if found is None:
        return None
    values: dict[str, object] = {}
    for part in found.group(1).split(","):
        name, _, value = part.strip().partition("=")
        if name == "seconds":
            try:
                values["work_ms"] = int(float(value) * 1000)
            except ValueError:
                raise ValueError(f"seconds cannot be {value!r}") from None
        else:
            values[name] = value
    return script_from(values)


@dataclass(slots=True)
class _Entry:
    script: Script
    effects: dict[str, object]
    left: int | None


class ScriptBook:
    """The scripts of one vendor, in the order they were added."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._entries: list[_Entry] = []

    def add(self, script: Script) -> None:
        """Put a script in force."""
        self._entries.append(_Entry(script, script.effects(), script.times))

    def clear(self) -> None:
        """Drop every script."""
        self._entries.clear()

    def in_force(self) -> list[Script]:
        """The scripts that still apply to something."""
        return [entry.script for entry in self._entries]

    def pick(self, on: On, model: str, prompt: str) -> Script:
        """Merge every script that hits this request, spending one of its ``times``, with the
        prompt's magic.

        A ValueError means the prompt's magic makes no sense.
        """
        if not self._entries and "[sim:" not in prompt:
            return PLAIN
        merged: dict[str, Any] = {}
        for entry in self._entries:
            if self._hits(entry.script, on, model, prompt):
                merged.update(entry.effects)
                if entry.left is not None:
                    entry.left -= 1
        self._entries = [entry for entry in self._entries if entry.left != 0]
        by_hand = magic(prompt) if "[sim:" in prompt else None
        if by_hand is not None and by_hand.on == on:
            merged.update(by_hand.effects())
        return Script(**merged) if merged else PLAIN

    def _hits(self, script: Script, on: On, model: str, prompt: str) -> bool:
        if script.on != on or (script.model is not None and script.model != model):
            return False
        if script.prompt is not None and script.prompt not in prompt:
            return False
        return script.share >= 1.0 or self._chance.random() < script.share
