"""Limits in TOML: reading them, overriding them, narrowing them for an offer, widening for a view.

One table of keys (`_LIMITS`, `_SIZE`, `_IMAGES`, `_COUNT`) says for every field how it is read and
how two values combine, so that a model file, a provider file and the operator's file share one
schema. A *patch* holds the fields one TOML table names; `replaced` lets them win (a model
override), `narrowed` never lets them allow more than the model does (an offer).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.catalog.reading import Table
from gateway.domain.model import (
    CountRule,
    Feature,
    ImageRule,
    Limits,
    OptionRule,
    SizeRule,
    parse_size,
)
from gateway.domain.request import TIER_SIDES, Mode

Patch = Mapping[str, Any]

MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/bmp", "image/gif")
TIERS = tuple(TIER_SIDES)
_RATIO = re.compile(r"[1-9][0-9]{0,4}:[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class _Key:
    """How one field is read, and how a model's and an offer's value combine."""

    read: Callable[[Table, str], Any]
    narrow: Callable[[Any, Any], Any]
    widen: Callable[[Any, Any], Any]


def _less(mine: int | None, theirs: int | None) -> int | None:
    """Give the smaller bound; None is no bound."""
    return min((v for v in (mine, theirs) if v is not None), default=None)


def _more(mine: int | None, theirs: int | None) -> int | None:
    """Give the larger bound; None is no bound and gives way."""
    return max((v for v in (mine, theirs) if v is not None), default=None)


def _loosest(pick: Callable[..., int]) -> Callable[[int | None, int | None], int | None]:
    """Combine so that no bound stays no bound."""
    return lambda mine, theirs: None if mine is None or theirs is None else pick(mine, theirs)


def _both(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(word for word in mine if word in theirs)


def _either(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    return (*mine, *(word for word in theirs if word not in mine))


def _both_if_any(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Intersect enumerations where an empty one allows everything, so it may not become empty."""
    return _both(mine, theirs) or theirs or mine


def _either_if_all(mine: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[str, ...]:
    """Unite enumerations where an empty one allows everything."""
    return _either(mine, theirs) if mine and theirs else ()


def _second(mine: Any, theirs: Any) -> Any:
    return theirs


def _first(mine: Any, theirs: Any) -> Any:
    return mine


def _given(key: _Key) -> Callable[[Any, Any], Any]:
    return _second


def _both_options(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: theirs[name] for name in mine if name in theirs}


def _either_options(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    return {**theirs, **mine}


def _words_of(kind: type[Mode | Feature]) -> Callable[[Table, str], Any]:
    def read(table: Table, key: str) -> Any:
        words = table.words(key, [str(item) for item in kind])
        legal = {str(item): item for item in kind}
        return None if words is None else frozenset(legal[w] for w in words if w in legal)

    return read


def _listed(legal: tuple[str, ...] | None = None) -> Callable[[Table, str], Any]:
    return lambda table, key: table.words(key, legal)


def _from(low: int) -> Callable[[Table, str], Any]:
    return lambda table, key: table.integer(key, low)


def _options(table: Table, key: str) -> dict[str, OptionRule] | None:
    if key not in table:
        return None
    found = {}
    for name, inner in table.children(key):
        rule = OptionRule(
            choices=inner.words("choices") or (),
            minimum=inner.integer("minimum"),
            maximum=inner.integer("maximum"),
        )
        inner.finish()
        found[name] = rule
    return found


_AT_MOST = _Key(_from(1), _less, _loosest(max))
_AT_LEAST = _Key(_from(0), _more, _loosest(min))
_HOW_MANY = _Key(_from(0), min, max)
_AS_GIVEN = _Key(_from(0), _second, _first)
_TEXT = _Key(lambda table, key: table.text(key), _second, _first)
_ALLOWED = _Key(lambda table, key: table.flag(key), lambda a, b: a and b, lambda a, b: a or b)
_DEMANDED = _Key(lambda table, key: table.flag(key), lambda a, b: a or b, lambda a, b: a and b)

_SIZE: Mapping[str, _Key] = {
    "default": _TEXT,
    "pixels_min": _AT_LEAST,
    "pixels_max": _AT_MOST,
    "pixels_max_plain": _AT_MOST,
    "side_min": _AT_LEAST,
    "side_max": _AT_MOST,
    "side_multiple": _Key(_from(1), math.lcm, math.gcd),
    "ratio_max": _AT_MOST,
    "tiers": _Key(_listed(TIERS), _both, _either),
    "tiers_plain": _Key(_listed(TIERS), _both, _either),
    "ratios": _Key(_listed(), _both_if_any, _either_if_all),
    "choices": _Key(_listed(), _both_if_any, _either_if_all),
    "suggested": _Key(_listed(), _second, _first),
    "auto": _ALLOWED,
    "fixed": _DEMANDED,
    "follows_image": _Key(lambda table, key: table.flag(key), _second, _first),
    "larger_model": _TEXT,
}
_IMAGES: Mapping[str, _Key] = {
    "count_min": _Key(_from(0), max, min),
    "count_max": _HOW_MANY,
    "count_max_boxed": _AT_MOST,
    "count_max_interleave": _HOW_MANY,
    "side_min": _AT_LEAST,
    "side_max": _AT_MOST,
    "ratio_max": _AT_MOST,
    "bytes_max": _AT_MOST,
    "mask_bytes_max": _AT_MOST,
    "mask_black_white": _Key(lambda table, key: table.flag(key), _second, _first),
    "formats": _Key(_listed(MEDIA_TYPES), _both, _either),
    "alpha": _ALLOWED,
    "inline": _ALLOWED,
}
_COUNT: Mapping[str, _Key] = {
    "max": _Key(_from(1), min, max),
    "default": _AS_GIVEN,
    "group_max": _HOW_MANY,
    "group_default": _AS_GIVEN,
    "interleave_max": _HOW_MANY,
    "vendor_default": _AS_GIVEN,
    "vendor_group_default": _AS_GIVEN,
}
_LIMITS: Mapping[str, _Key] = {
    "prompt_max": _Key(_from(1), min, max),
    "negative_prompt_max": _HOW_MANY,
    "prompt_required": _DEMANDED,
    "modes": _Key(_words_of(Mode), lambda a, b: a & b, lambda a, b: a | b),
    "features": _Key(_words_of(Feature), lambda a, b: a & b, lambda a, b: a | b),
    "seed_min": _Key(_from(0), max, min),
    "seed_max": _HOW_MANY,
    "palette_min": _Key(_from(1), max, min),
    "palette_max": _HOW_MANY,
    "palette_decimals": _HOW_MANY,
    "boxes_per_image_max": _HOW_MANY,
    "options": _Key(_options, _both_options, _either_options),
}
_PARTS: Mapping[str, Mapping[str, _Key]] = {"size": _SIZE, "images": _IMAGES, "count": _COUNT}


def read_patch(table: Table) -> Patch:
    """Read a limits table; problems, unknown keys included, are noted in the table."""
    patch = _read(table, _LIMITS)
    for part, keys in _PARTS.items():
        inner = table.child(part)
        if inner is not None:
            patch[part] = _read(inner, keys)
            inner.finish()
    table.finish()
    return patch


def _read(table: Table, keys: Mapping[str, _Key]) -> dict[str, Any]:
    found = {}
    for name, key in keys.items():
        value = key.read(table, name)
        if value is not None:
            found[name] = value
    return found


def complete(patch: Patch, table: Table) -> Limits | None:
    """Give the limits of a new model; notes what a model cannot do without and gives None."""
    missing = [] if "prompt_max" in patch else ["prompt_max"]
    missing += [] if "default" in patch.get("size", {}) else ["size.default"]
    for name in missing:
        table.notes.append((f"{table.where}.{name}", "is missing: a new model needs it"))
    if missing:
        return None
    empty = Limits(prompt_max=1, size=SizeRule(default="auto"))
    return replaced(empty, patch)


def replaced(limits: Limits, patch: Patch) -> Limits:
    """Give limits with the patch's values in place of theirs."""
    return _combined(limits, patch, _given)


def narrowed(limits: Limits, patch: Patch) -> Limits:
    """Give limits that allow what both the model and the patch allow."""
    return _combined(limits, patch, lambda key: key.narrow)


def widest(several: Iterable[Limits]) -> Limits:
    """Give limits that allow what at least one of several allows (field by field)."""
    first, *others = several
    for other in others:
        patch = {name: getattr(other, name) for name in _LIMITS}
        for part, keys in _PARTS.items():
            rule = getattr(other, part)
            patch[part] = {name: getattr(rule, name) for name in keys}
        first = _combined(first, patch, lambda key: key.widen)
    return first


def _combined(limits: Limits, patch: Patch, way: Callable[[_Key], Any]) -> Limits:
    changes = _changes(limits, {k: v for k, v in patch.items() if k not in _PARTS}, _LIMITS, way)
    for part, keys in _PARTS.items():
        if part in patch:
            rule: SizeRule | ImageRule | CountRule = getattr(limits, part)
            changes[part] = replace(rule, **_changes(rule, patch[part], keys, way))
    return replace(limits, **changes)


def _changes(
    record: Any, patch: Patch, keys: Mapping[str, _Key], way: Callable[[_Key], Any]
) -> dict[str, Any]:
    changes = {n: way(keys[n])(getattr(record, n), value) for n, value in patch.items()}
    # TOML has no null: an empty text takes an inherited one away.
    return {name: None if value == "" else value for name, value in changes.items()}


def contradictions(limits: Limits) -> list[tuple[str, str]]:
    """Give (field, message) for limits that no request could meet or that are not sizes."""
    rule = limits.size
    found = [
        (f"size.{name}", f"{size!r} is no size such as 1280x1280")
        for name in ("choices", "suggested")
        for size in getattr(rule, name)
        if parse_size(size) is None
    ]
    wrong = [ratio for ratio in rule.ratios if not _RATIO.fullmatch(ratio)]
    found += [("size.ratios", f"{ratio!r} is no ratio such as 16:9") for ratio in wrong]
    known = (*rule.tiers, *rule.tiers_plain, "auto")
    if rule.default not in known and parse_size(rule.default) is None:
        message = f"{rule.default!r} is neither WxH, nor one of the tiers, nor auto"
        found.append(("size.default", message))
    for low, high in (("pixels_min", "pixels_max"), ("side_min", "side_max")):
        least, most = getattr(rule, low), getattr(rule, high)
        if least is not None and most is not None and least > most:
            found.append((f"size.{low}", f"is larger than {high}"))
    if limits.images.count_min > limits.images.count_max:
        found.append(("images.count_min", "is larger than count_max"))
    return found
