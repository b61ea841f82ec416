"""Output sizes: what a request resolves to under a rule, what is wrong with it, what is nearest.

Sizes are judged by area, sides and ratio, or against an enumeration (`SizeRule`). All arithmetic
that decides a size is exact (integers and fractions), so the same request always gives the same
picture size and price tier.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from gateway.domain.errors import Problem
from gateway.domain.model import SizeRule, parse_size
from gateway.domain.request import TIER_SIDES, GenerationRequest, Size

INVALID_SIZE = "invalid_size"
RATIO_TOLERANCE = Fraction(1, 50)
# What rounding both sides to steps may cost.
STEP_TOLERANCE = Fraction(1, 20)
# The vendors' own recommended sizes are multiples of 16 (models.md §3), tiers' of 8 (qingbo.md §2).
STEP = 16
TIER_STEP = 8
NEIGHBOURS = 3
_RATIO = re.compile(r"([1-9][0-9]{0,4}):([1-9][0-9]{0,4})")
_SQUARE = Size(1024, 1024)


@dataclass(frozen=True, slots=True)
class Resolved:
    """The concrete size of a request, and the tier it is priced at."""

    size: Size
    tier: str


def resolve(request: GenerationRequest, rule: SizeRule) -> Resolved:
    """Give the size a request means under a rule: what it names, else the default.

    With ``request.snap_size`` an illegal size becomes the nearest legal one; otherwise it is
    given as it is, for `size_problems` refuses it.
    """
    plain = is_plain(request)
    if rule.fixed:
        return _priced(nominal(rule))
    if request.size is not None:
        return _priced(snap(request.size, rule, plain=plain) if request.snap_size else request.size)
    ratio = _wished_ratio(request, rule)
    tier = request.tier or (rule.default if rule.default in TIER_SIDES else None)
    if tier is None:
        return _priced(nominal(rule) if ratio is None else _shaped(ratio, rule, plain=plain))
    size = tier_size(tier, ratio or Fraction(1))
    if tier in tiers_of(rule, plain=plain) or not request.snap_size:
        return Resolved(size, tier)
    return _priced(snap(size, rule, plain=plain))


def _priced(size: Size) -> Resolved:
    return Resolved(size, size.tier)


def is_plain(request: GenerationRequest) -> bool:
    """Whether a request is text to image outside group mode, where 4K may be legal (R6)."""
    return not request.images and not request.group


def tiers_of(rule: SizeRule, *, plain: bool) -> tuple[str, ...]:
    """Give the tiers a rule takes."""
    return (*rule.tiers, *rule.tiers_plain) if plain else rule.tiers


def pixels_max_of(rule: SizeRule, *, plain: bool) -> int | None:
    """Give the largest area a rule takes."""
    return rule.pixels_max_plain or rule.pixels_max if plain else rule.pixels_max


def nominal(rule: SizeRule) -> Size:
    """Give the size of a request that names none: the default in pixels.

    ``auto`` leaves it to the vendor; the first choice or suggestion stands for it.
    """
    if rule.default in TIER_SIDES:
        return tier_size(rule.default, Fraction(1))
    for text in (rule.default, *rule.choices, *rule.suggested):
        size = parse_size(text)
        if size is not None:
            return size
    return _SQUARE


def read_ratio(text: str) -> Fraction | None:
    """Read an aspect ratio such as ``16:9`` as width over height; None when it is none."""
    match = _RATIO.fullmatch(text)
    return Fraction(int(match[1]), int(match[2])) if match else None


def tier_size(tier: str, ratio: Fraction) -> Size:
    """Give the size of a tier in a ratio: the largest exact one whose sides divide by 8.

    A ratio without a good exact size (an odd picture's) is met within 8 pixels. The seven
    ratios of qingbo.md §2 give that table.
    """
    area = TIER_SIDES[tier] ** 2
    wide, high = ratio.numerator, ratio.denominator
    scale = math.isqrt(area // (wide * high)) // TIER_STEP * TIER_STEP
    if (wide * scale) * (high * scale) * 5 >= area * 4:
        return Size(wide * scale, high * scale)
    width = math.isqrt(int(area * ratio)) // TIER_STEP * TIER_STEP
    height = math.isqrt(int(area / ratio)) // TIER_STEP * TIER_STEP
    return Size(max(width, TIER_STEP), max(height, TIER_STEP))


def _wished_ratio(request: GenerationRequest, rule: SizeRule) -> Fraction | None:
    """Give the ratio asked for, else the last picture's where the model follows it (R17)."""
    if request.aspect_ratio is not None:
        return read_ratio(request.aspect_ratio)
    if not rule.follows_image or not request.images:
        return None
    last = request.images[-1]
    if not last.width or not last.height:
        return None
    return _bounded(Fraction(last.width, last.height), rule)


def _shaped(ratio: Fraction, rule: SizeRule, *, plain: bool) -> Size:
    """Give the default's area in another ratio: a suggested size where one fits."""
    listed = [parse_size(text) for text in (*rule.choices, *rule.suggested)]
    known = [s for s in listed if s is not None and not violations(s, rule, plain=plain)]
    close = [s for s in known if _distance(s, ratio) <= RATIO_TOLERANCE]
    if close:
        return min(close, key=lambda size: (_distance(size, ratio), -size.pixels))
    if rule.choices:
        return min(known or [nominal(rule)], key=lambda size: _distance(size, ratio))
    return _fitted(Fraction(nominal(rule).pixels), ratio, rule, plain=plain)


def _distance(size: Size, ratio: Fraction) -> Fraction:
    """Give how far a size's ratio is from a ratio, as a share of it; 1 is twice as wide."""
    mine = Fraction(size.width, size.height)
    return max(mine / ratio, ratio / mine) - 1


# --- what is wrong -------------------------------------------------------------------------


def violations(size: Size, rule: SizeRule, *, plain: bool) -> tuple[str, ...]:
    """Give why a size in pixels is not legal, as parts of a sentence; empty when it is."""
    found = []
    most = pixels_max_of(rule, plain=plain)
    if rule.choices and size.text() not in rule.choices:
        found.append("is not one of the sizes made here")
    if rule.pixels_min is not None and size.pixels < rule.pixels_min:
        found.append(f"has {size.pixels} pixels, fewer than {_area(rule.pixels_min)}")
    if most is not None and size.pixels > most:
        found.append(f"has {size.pixels} pixels, more than {_area(most)}")
    if rule.side_min is not None and min(size.width, size.height) < rule.side_min:
        found.append(f"has a side below {rule.side_min}")
    if rule.side_max is not None and max(size.width, size.height) > rule.side_max:
        found.append(f"has a side above {rule.side_max}")
    if size.width % rule.side_multiple or size.height % rule.side_multiple:
        found.append(f"has a side that {rule.side_multiple} does not divide")
    wide, high = max(size.width, size.height), min(size.width, size.height)
    if rule.ratio_max is not None and wide > rule.ratio_max * high:
        found.append(f"is longer than {rule.ratio_max}:1")
    return tuple(found)


def legal_sizes(rule: SizeRule, *, plain: bool) -> str:
    """Give the legal sizes in words."""
    tiers = list(tiers_of(rule, plain=plain))
    if rule.choices:
        made = [parse_size(text) for text in rule.choices]
        fit = [s.text() for s in made if s and not violations(s, rule, plain=plain)]
        return ", ".join([*tiers, *fit])
    parts = []
    most = pixels_max_of(rule, plain=plain)
    if rule.pixels_min is not None or most is not None:
        low = _area(rule.pixels_min) if rule.pixels_min is not None else "up"
        parts.append(f"{low} to {_area(most)} pixels in all" if most else f"{low} pixels or more")
    if rule.side_min is not None or rule.side_max is not None:
        parts.append(f"sides {rule.side_min or 1} to {rule.side_max or 'any length'}")
    if rule.side_multiple > 1:
        parts.append(f"sides divisible by {rule.side_multiple}")
    if rule.ratio_max is not None:
        parts.append(f"ratio 1:{rule.ratio_max} to {rule.ratio_max}:1")
    if rule.suggested:
        parts.append(f"such as {', '.join(rule.suggested)}")
    return "; ".join([*tiers, ", ".join(parts)]) if parts else ", ".join(tiers)


def _area(pixels: int) -> str:
    side = math.isqrt(pixels)
    return f"{side}x{side}" if side * side == pixels else str(pixels)


def size_problems(request: GenerationRequest, rule: SizeRule) -> Iterator[Problem]:
    """Give everything wrong with a request's size, tier and aspect ratio (R3, R6, R19).

    With ``request.snap_size`` only what cannot be moved to something legal is wrong.
    """
    snap = request.snap_size
    if rule.fixed:
        if not snap:
            yield from _fixed_problems(request)
        return
    if request.size is not None and request.tier is not None:
        message = "size in pixels and a tier exclude each other"
        yield Problem("size", message, INVALID_SIZE)
    if request.tier is not None:
        yield from _tier_problems(request, rule)
    if request.aspect_ratio is not None:
        yield from _ratio_problems(request, request.aspect_ratio, rule)
    if request.size is not None and not snap:
        yield from _pixel_problems(request, request.size, rule)


def _fixed_problems(request: GenerationRequest) -> Iterator[Problem]:
    for name in ("size", "tier", "aspect_ratio"):
        if getattr(request, name) is not None:
            message = f"{name} cannot be chosen here: the output is as large as the input"
            yield Problem(name, message, INVALID_SIZE)


def _tier_problems(request: GenerationRequest, rule: SizeRule) -> Iterator[Problem]:
    tier, plain = request.tier, is_plain(request)
    known = tiers_of(rule, plain=plain)
    every = tiers_of(rule, plain=True)
    legal = legal_sizes(rule, plain=plain)
    if tier in known or (request.snap_size and not every and tier in TIER_SIDES):
        return
    if tier in every:
        message = f"tier {tier} is only made from text alone, without pictures or group mode"
    elif tier not in TIER_SIDES:
        message = f"tier {tier} is not known"
    elif not every:
        near = nearest(tier_size(tier, Fraction(1)), rule, plain=plain)
        message = f"tier {tier} is not known here; the nearest size in pixels is {near.text()}"
    elif rule.larger_model is not None:
        message = f"tier {tier} is too large here; {rule.larger_model} makes it"
    else:
        message = f"tier {tier} is not made here"
    yield Problem("tier", message, INVALID_SIZE, legal)


def _ratio_problems(request: GenerationRequest, text: str, rule: SizeRule) -> Iterator[Problem]:
    ratio = read_ratio(text)
    field = "aspect_ratio"
    if ratio is None:
        message = f"aspect_ratio {text[:40]!r} is not WIDTH:HEIGHT"
        yield Problem(field, message, INVALID_SIZE, ", ".join(rule.ratios) or "such as 16:9")
        return
    size = request.size
    if size is not None and Fraction(size.width, size.height) != ratio:
        yield Problem(field, f"aspect_ratio {text} is not that of {size.text()}", INVALID_SIZE)
    if rule.ratio_max is not None and max(ratio, 1 / ratio) > rule.ratio_max:
        legal = f"1:{rule.ratio_max} to {rule.ratio_max}:1"
        yield Problem(field, f"aspect_ratio {text} is too long", INVALID_SIZE, legal)
        return
    if request.snap_size or size is not None:
        return
    if rule.ratios and text not in rule.ratios:
        message = f"aspect_ratio {text} is not made here"
        yield Problem(field, message, INVALID_SIZE, ", ".join(rule.ratios))
    elif not tiers_of(rule, plain=True):
        near = _shaped(_bounded(ratio, rule), rule, plain=is_plain(request))
        if _distance(near, ratio) > (RATIO_TOLERANCE if rule.choices else STEP_TOLERANCE):
            message = f"aspect_ratio {text} is not made here; the nearest size is {near.text()}"
            yield Problem(field, message, INVALID_SIZE, legal_sizes(rule, plain=True))


def _pixel_problems(request: GenerationRequest, size: Size, rule: SizeRule) -> Iterator[Problem]:
    plain = is_plain(request)
    reasons = violations(size, rule, plain=plain)
    if not reasons:
        return
    near = nearest(size, rule, plain=plain)
    message = f"size {size.text()} {' and '.join(reasons)}; the nearest legal size is {near.text()}"
    most = pixels_max_of(rule, plain=plain)
    if rule.larger_model is not None and plain and most is not None and size.pixels > most:
        message += f", and {rule.larger_model} makes larger ones"
    yield Problem("size", message, INVALID_SIZE, legal_sizes(rule, plain=plain))


# --- the nearest legal size ----------------------------------------------------------------


def nearest(size: Size, rule: SizeRule, *, plain: bool = True) -> Size:
    """Give the legal size to suggest instead of an illegal one; the one `snap` would take."""
    return snap(size, rule, plain=plain)


def snap(size: Size, rule: SizeRule, *, plain: bool = True) -> Size:
    """Give a legal size as it is, an illegal one moved to the nearest legal one.

    Too small sizes grow to the default's area with sides rounded up to a multiple of 16, too
    large ones shrink to the largest area (models.md §3): 1024x1024 becomes 1280x1280 where at
    least 1,600,225 pixels are asked for. The ratio is kept as well as the rule allows.
    """
    if rule.fixed:
        return nominal(rule)
    if not violations(size, rule, plain=plain):
        return size
    ratio = Fraction(size.width, size.height)
    if rule.choices:
        return _nearest_choice(size, rule, plain=plain)
    most = pixels_max_of(rule, plain=plain)
    area = Fraction(size.pixels)
    if rule.pixels_min is not None and area < rule.pixels_min:
        usual = parse_size(rule.default)
        area = Fraction(usual.pixels if usual is not None else rule.pixels_min)
    if most is not None:
        area = min(area, Fraction(most))
    return _fitted(area, _bounded(ratio, rule), rule, plain=plain)


def _nearest_choice(size: Size, rule: SizeRule, *, plain: bool) -> Size:
    listed = [parse_size(text) for text in rule.choices]
    known = [s for s in listed if s is not None and not violations(s, rule, plain=plain)]
    ratio = Fraction(size.width, size.height)
    return min(
        known or [nominal(rule)],
        key=lambda s: (_distance(s, ratio), abs(s.pixels - size.pixels), s),
    )


def _bounded(ratio: Fraction, rule: SizeRule) -> Fraction:
    """Give the ratio, or the longest the rule allows."""
    bounds = [Fraction(rule.ratio_max)] if rule.ratio_max is not None else []
    if rule.side_min and rule.side_max:
        bounds.append(Fraction(rule.side_max, rule.side_min))
    longest = min(bounds, default=None)
    return ratio if longest is None else max(min(ratio, longest), 1 / longest)


def _fitted(area: Fraction, ratio: Fraction, rule: SizeRule, *, plain: bool) -> Size:
    """Give the legal size nearest to an area in a ratio, sides rounded up where that is legal."""
    step = rule.side_multiple if rule.side_multiple > 1 else STEP
    longest, shortest = max(ratio, 1 / ratio), min(ratio, 1 / ratio)
    if rule.side_max is not None:
        area = min(area, rule.side_max**2 * shortest)
    if rule.side_min is not None:
        area = max(area, rule.side_min**2 * longest)
    width, height = _rounded_up(area * ratio, step), _rounded_up(area / ratio, step)
    up = Size(width * step, height * step)
    if not violations(up, rule, plain=plain):
        return up
    around = range(-NEIGHBOURS, NEIGHBOURS + 1)
    near = [Size((width + i) * step, (height + j) * step) for i in around for j in around]
    legal = [s for s in near if s.width > 0 < s.height and not violations(s, rule, plain=plain)]
    return min(
        legal or [nominal(rule)],
        key=lambda s: (_distance(s, ratio) + abs(s.pixels - area) / area, s),
    )


def _rounded_up(square: Fraction, step: int) -> int:
    """Give the least k for which k × step is at least the root of a number, exactly."""
    return math.isqrt(math.ceil(square / step**2) - 1) + 1
