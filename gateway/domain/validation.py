"""Is a request legal? Rules R1–R20 of models.md §4 that concern the canonical request.

`normalize` takes out what has no effect and fills in the model's own defaults; `check` names every
problem at once. The same `check` judges a request against a model's limits and against each
offer's narrowed ones. Messages start with the canonical field, so that a dialect can put the
caller's own name in its place.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from decimal import Decimal
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from gateway.domain.errors import Problem
from gateway.domain.model import Feature, ImageRule, Limits, Model, OptionRule
from gateway.domain.records import changed
from gateway.domain.request import GenerationRequest, InputImage, Mode
from gateway.domain.sizes import size_problems

MISSING = "missing_required_parameter"
UNSUPPORTED = "unsupported_parameter"
INVALID = "invalid_value"
INVALID_IMAGE = "invalid_image"

MASK_TYPE = "image/png"
_HEX = re.compile(r"#[0-9A-Fa-f]{6}")
_HUNDRED = Decimal(100)
_NO_DEFAULTS: Mapping[str, bool] = MappingProxyType({})


# --- before checking -----------------------------------------------------------------------


def normalize(
    request: GenerationRequest, model: Model, *, snap_size: bool | None = None
) -> tuple[GenerationRequest, tuple[str, ...]]:
    """Take out what has no effect and fill in the model's defaults and its canonical id.

    Gives the request and the canonical names of the fields whose wish is ignored: thinking
    beside pictures or in group mode (R1), thinking and palette in group mode (R2, R8), options
    the model does not have. Switches the caller left open get the model's default, so that an
    upstream with another default is told (D5). ``snap_size`` replaces the request's, if given.
    """
    changes: dict[str, Any] = {"model": model.id}
    if snap_size is not None:
        changes["snap_size"] = snap_size
    ignored: list[str] = []
    inert = inert_features(request, model)
    for feature in sorted(inert) if inert else ():
        value = getattr(request, feature)
        if value:
            ignored.append(str(feature))
        if value not in (None, ()):
            changes[feature] = () if feature is Feature.PALETTE else None
    changes |= {
        name: default
        for name, default in model.defaults.items()
        if getattr(request, name) is None and name not in inert
    }
    if request.options:
        options = {k: v for k, v in request.options.items() if k in model.limits.options}
        if len(options) < len(request.options):
            ignored += [name for name in request.options if name not in options]
            changes["options"] = options
    if request.tier is not None:
        changes["tier"] = request.tier.upper()
    if request.negative_prompt is not None and not request.negative_prompt.strip():
        changes["negative_prompt"] = None
    if request.boxes and len(request.boxes) == len(request.images) and not any(request.boxes):
        changes["boxes"] = ()
    return changed(request, **changes), tuple(ignored)


def inert_features(request: GenerationRequest, model: Model) -> frozenset[Feature]:
    """Give the features that have no effect in the request's mode."""
    inert = model.inert_with_group if request.group else frozenset()
    return inert | model.inert_with_images if request.images else inert


# --- checking ------------------------------------------------------------------------------


def check(
    request: GenerationRequest,
    limits: Limits,
    *,
    defaults: Mapping[str, bool] = _NO_DEFAULTS,
) -> tuple[Problem, ...]:
    """Give everything wrong with a request under these limits; empty when it is legal.

    ``defaults`` are the model's: a switch set to its default demands nothing. With
    ``request.snap_size`` an illegal pixel size is no problem, for it will be moved.
    """
    found = [
        *_prompt_problems(request, limits),
        *_count_problems(request, limits),
        *size_problems(request, limits.size),
        *_picture_problems(request, limits),
        *_feature_problems(request, limits, defaults),
    ]
    if request.seed is not None or request.palette or request.boxes:
        found += _value_problems(request, limits)
    if request.options:
        found += _option_problems(request, limits)
    return tuple(found)


def _prompt_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    if not request.prompt.strip():
        if limits.prompt_required:
            yield Problem("prompt", "prompt is required", MISSING)
        elif not request.images:
            yield Problem("prompt", "prompt or a picture is required", MISSING)
    yield from _too_long("prompt", request.prompt, limits.prompt_max)
    negative = request.negative_prompt
    if negative and Feature.NEGATIVE_PROMPT in limits.features:
        yield from _too_long("negative_prompt", negative, limits.negative_prompt_max)


def _too_long(field: str, text: str, most: int) -> Iterator[Problem]:
    if len(text) > most:
        message = f"{field} has {len(text)} characters"
        yield Problem(field, message, "string_above_max_length", f"at most {most} characters")


def count_max(request: GenerationRequest, limits: Limits) -> int:
    """Give how many pictures this kind of request may ask for (R3, R4)."""
    if request.group:
        return limits.count.group_max
    if request.interleave:
        return limits.count.interleave_max
    return limits.count.max


def _count_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    most = count_max(request, limits)
    if request.group and Mode.GROUP not in limits.modes:
        yield Problem("group", "group mode is not supported", UNSUPPORTED)
    elif request.interleave and Feature.INTERLEAVE not in limits.features:
        return
    elif not 1 <= request.n <= most:
        legal = f"1 to {most}" if most > 1 else "1"
        more = limits.count.group_max
        if not request.group and Mode.GROUP in limits.modes and more > most:
            legal += f", or up to {more} in group mode"
        yield Problem("n", f"n is {request.n}", INVALID, legal)


# --- pictures ------------------------------------------------------------------------------


def _picture_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    rule = limits.images
    low, high = rule.count_min, rule.count_max
    if request.interleave and Feature.INTERLEAVE in limits.features:
        low, high = 0, rule.count_max_interleave
    elif any(request.boxes) and rule.count_max_boxed is not None:
        high = min(high, rule.count_max_boxed)
    count = len(request.images)
    if not low <= count <= high:
        yield _wrong_count(count, low, high)
    elif request.mode not in limits.modes and request.mode in (Mode.GENERATE, *_PICTURE_MODES):
        message = f"images: {request.mode} is not supported"
        yield Problem("images", message, UNSUPPORTED)
    for index, image in enumerate(request.images):
        yield from _one_picture(f"images[{index}]", image, rule)
    if request.mask is not None and Feature.MASK in limits.features:
        yield from _mask_problems(request, request.mask, rule)


_PICTURE_MODES = (Mode.EDIT, Mode.REFERENCE)


def _wrong_count(count: int, low: int, high: int) -> Problem:
    if high == 0:
        return Problem("images", "images: this model takes no pictures", UNSUPPORTED)
    legal = f"{low} to {high}" if low < high else str(high)
    if count == 0:
        return Problem("images", "images: a picture is required", MISSING, legal)
    return Problem("images", f"images: {count} pictures were sent", INVALID, legal)


def _one_picture(field: str, image: InputImage, rule: ImageRule) -> Iterator[Problem]:
    """Judge what is known of a picture; facts nobody looked up are no problem."""
    if image.media_type is not None and image.media_type not in rule.formats:
        message = f"{field} is {image.media_type}"
        yield Problem(field, message, INVALID_IMAGE, ", ".join(rule.formats))
    yield from _too_many_bytes(field, image, rule.bytes_max)
    if image.is_inline and not rule.inline:
        yield Problem(field, f"{field} is picture data", INVALID_IMAGE, "an http(s) link")
    if image.has_alpha and not rule.alpha:
        yield Problem(field, f"{field} has transparency", INVALID_IMAGE, "an opaque picture")
    if not image.width or not image.height:
        return
    text = f"{image.width}x{image.height}"
    low, high = rule.side_min or 1, rule.side_max
    short, long = sorted((image.width, image.height))
    if short < low or (high is not None and long > high):
        legal = f"sides of {low} to {high} pixels" if high else f"sides of {low} pixels or more"
        yield Problem(field, f"{field} is {text}", INVALID_IMAGE, legal)
    if rule.ratio_max is not None and long > rule.ratio_max * short:
        legal = (
            f"ratio 1:{rule.ratio_max} to {rule.ratio_max}:1" if rule.ratio_max > 1 else "square"
        )
        yield Problem(field, f"{field} is {text}", INVALID_IMAGE, legal)


def _too_many_bytes(field: str, image: InputImage, most: int | None) -> Iterator[Problem]:
    if most is not None and image.byte_count is not None and image.byte_count > most:
        message = f"{field} has {image.byte_count} bytes"
        yield Problem(field, message, INVALID_IMAGE, f"at most {most} bytes")


def _mask_problems(
    request: GenerationRequest, mask: InputImage, rule: ImageRule
) -> Iterator[Problem]:
    if not request.images:
        yield Problem("mask", "mask needs a picture it covers", INVALID_IMAGE)
        return
    if rule.mask_black_white:
        if mask.media_type not in (None, *rule.formats):
            message = f"mask is {mask.media_type}"
            yield Problem("mask", message, INVALID_IMAGE, ", ".join(rule.formats))
    elif mask.media_type not in (None, MASK_TYPE) or mask.has_alpha is False:
        yield Problem("mask", "mask must be a PNG with transparency", INVALID_IMAGE)
    yield from _too_many_bytes("mask", mask, rule.mask_bytes_max)
    first = request.images[0]
    sides = (mask.width, mask.height, first.width, first.height)
    if None not in sides and (mask.width, mask.height) != (first.width, first.height):
        message = (
            f"mask is {mask.width}x{mask.height}, the first picture {first.width}x{first.height}"
        )
        yield Problem("mask", message, INVALID_IMAGE, "the size of the first picture")


# --- features ------------------------------------------------------------------------------


def demanded(
    request: GenerationRequest, defaults: Mapping[str, bool] = _NO_DEFAULTS
) -> tuple[Feature, ...]:
    """Give the features a request asks for beyond what the model does by itself (see Feature)."""
    asked: list[Feature] = []
    if request.negative_prompt:
        asked.append(Feature.NEGATIVE_PROMPT)
    if request.seed is not None:
        asked.append(Feature.SEED)
    for switch in _SWITCHES:
        value = getattr(request, switch)
        if value is not None and value != defaults.get(switch, False):
            asked.append(switch)
    if request.palette:
        asked.append(Feature.PALETTE)
    if any(request.boxes):
        asked.append(Feature.BOXES)
    if request.mask is not None:
        asked.append(Feature.MASK)
    if request.interleave:
        asked.append(Feature.INTERLEAVE)
    return tuple(asked)


_SWITCHES = (Feature.WATERMARK, Feature.REWRITE_PROMPT, Feature.THINKING)


def _feature_problems(
    request: GenerationRequest, limits: Limits, defaults: Mapping[str, bool]
) -> Iterator[Problem]:
    for feature in demanded(request, defaults):
        if feature not in limits.features:
            yield Problem(str(feature), f"{feature} is not supported", UNSUPPORTED)


def _value_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    low, high = limits.seed_min, limits.seed_max
    seeded = request.seed is not None and Feature.SEED in limits.features
    if seeded and not low <= (request.seed or 0) <= high:
        yield Problem("seed", f"seed is {request.seed}", INVALID, f"{low} to {high}")
    if request.palette and Feature.PALETTE in limits.features:
        yield from _palette_problems(request, limits)
    if request.boxes and (Feature.BOXES in limits.features or not any(request.boxes)):
        yield from _box_problems(request, limits)


def _palette_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    """R7: enough colours, each ``#RRGGBB``, shares that are fine enough and sum to 100."""
    palette, low, high = request.palette, limits.palette_min, limits.palette_max
    if not low <= len(palette) <= high:
        message = f"palette has {len(palette)} colours"
        yield Problem("palette", message, INVALID, f"{low} to {high} colours")
    for index, color in enumerate(palette):
        field = f"palette[{index}]"
        if not _HEX.fullmatch(color.hex):
            yield Problem(field, f"{field} is {color.hex[:20]!r}", INVALID, "#RRGGBB")
        if not _is_share(color.ratio, limits.palette_decimals):
            fine = f" with at most {limits.palette_decimals} decimals"
            legal = f"above 0 to 100{fine if limits.palette_decimals else ', whole numbers'}"
            yield Problem(field, f"{field} has the share {color.ratio}", INVALID, legal)
    if not all(color.ratio.is_finite() for color in palette):
        return
    total = sum((color.ratio for color in palette), Decimal(0))
    if total != _HUNDRED:
        yield Problem("palette", f"palette shares sum to {total}", INVALID, "exactly 100")


def _is_share(ratio: Decimal, decimals: int) -> bool:
    if not ratio.is_finite() or not 0 < ratio <= _HUNDRED:
        return False
    return ratio == round(ratio, decimals)


def _box_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    """R9 and R10: one list per picture, few boxes, corners in order and inside the picture."""
    if len(request.boxes) != len(request.images):
        message = f"boxes has {len(request.boxes)} lists for {len(request.images)} pictures"
        yield Problem("boxes", message, INVALID, "one list per picture, [] for no box")
        return
    most = limits.boxes_per_image_max
    for index, boxes in enumerate(request.boxes):
        image = request.images[index]
        if len(boxes) > most:
            message = f"boxes[{index}] has {len(boxes)} boxes"
            yield Problem(f"boxes[{index}]", message, INVALID, f"at most {most} per picture")
        for position, (left, top, right, bottom) in enumerate(boxes):
            field = f"boxes[{index}][{position}]"
            if not (0 <= left < right and 0 <= top < bottom):
                message = f"{field} is [{left}, {top}, {right}, {bottom}]"
                yield Problem(field, message, INVALID, "0 <= x1 < x2 and 0 <= y1 < y2")
            elif right > (image.width or right) or bottom > (image.height or bottom):
                message = f"{field} reaches out of its picture of {image.width}x{image.height}"
                yield Problem(field, message, INVALID, "pixels of the original picture")


def _option_problems(request: GenerationRequest, limits: Limits) -> Iterator[Problem]:
    for name, value in request.options.items():
        rule = limits.options.get(name)
        if rule is None:
            yield Problem(name, f"{name} is not supported", UNSUPPORTED)
        elif not _fits(rule, value):
            yield Problem(name, f"{name} is {str(value)[:40]!r}", INVALID, _legal_option(rule))


def _fits(rule: OptionRule, value: object) -> bool:
    if rule.choices:
        return value in rule.choices
    if not rule.is_number:
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int):
        return False
    low = rule.minimum if rule.minimum is not None else value
    high = rule.maximum if rule.maximum is not None else value
    return low <= value <= high


def _legal_option(rule: OptionRule) -> str:
    if rule.choices:
        return ", ".join(rule.choices)
    if not rule.is_number:
        return "a text"
    low = "any" if rule.minimum is None else rule.minimum
    high = "any" if rule.maximum is None else rule.maximum
    return f"a whole number {low} to {high}"


def close_names(name: str, names: Collection[str]) -> tuple[str, ...]:
    """Give up to three known names close to an unknown one, nearest first; case is ignored."""
    by_lower = {known.lower(): known for known in sorted(names)}
    close = get_close_matches(name.lower()[:80], list(by_lower), n=3, cutoff=0.6)
    return tuple(by_lower[found] for found in close)
