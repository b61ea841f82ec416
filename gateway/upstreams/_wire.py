"""Small pieces of wire format that several vendors share."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import quote

from gateway.domain.model import Feature
from gateway.domain.request import GenerationRequest, PaletteColor
from gateway.domain.upstream import Job

DAY_S = 86_400
HOUR_S = 3_600
TASK_ID_CHARS_MAX = 200
MILLISECONDS_FROM = 10**11
"""A time at or above this number is in milliseconds (models.md D14)."""
MILLISECONDS_UNTIL = 10**14

_HUNDRED = Decimal(100)
_CENT = Decimal("0.01")
Json = dict[str, Any]
T = TypeVar("T")


def json_object(value: Any) -> Json:
    """Give a value that should be an object; an empty one when it is not."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Json]:
    """Give the objects of a value that should be a list of them."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """Give a value that should be a text; empty when it is not."""
    return value if isinstance(value, str) else ""


def texts(value: Any) -> list[str]:
    """Give the texts of a text or of a list, nested lists included (Qingbo's double list)."""
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list):
        return [found for item in value for found in texts(item)]
    return []


def task_id_of(value: Any) -> str | None:
    """Give a vendor's task id; None when it is no usable text."""
    if not isinstance(value, str) or not 0 < len(value) <= TASK_ID_CHARS_MAX:
        return None
    plain = value.isprintable() and " " not in value and value.strip(".")
    return value if plain else None


def segment(task_id: str) -> str:
    """Give a task id as one segment of a path."""
    return quote(task_id, safe="")


def percent(value: Any) -> int | None:
    """Read a progress: a number, ``"45%"`` or ``"45"``; None when there is none."""
    if isinstance(value, str):
        value = _whole(value.strip().removesuffix("%"))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(min(max(value, 0), 100))


def unix_s(value: Any) -> int | None:
    """Read a time in seconds or milliseconds as UTC seconds; None when it is no such number."""
    if isinstance(value, str):
        value = _whole(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not 0 < value < MILLISECONDS_UNTIL:
        return None
    return int(value // 1000 if value >= MILLISECONDS_FROM else value)


def _whole(digits: str) -> int | None:
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def known(job: Job, feature: Feature, value: T | None) -> T | None:
    """Give the value where the offer knows the feature, else None.

    An offer without a feature still gets requests whose field merely repeats the default; its
    vendor would refuse or misread the field.
    """
    return value if feature in job.offer.limits.features else None


def size_text(job: Job, separator: str) -> str | None:
    """Give ``W*H``, a tier such as ``2K``, or None where the size is not for us to say.

    Where the caller left the shape open, a tier or no size at all lets the model follow the last
    picture's proportions (rule R17).
    """
    request, rule = job.request, job.offer.limits.size
    if rule.fixed:
        return None
    if request.size is None and request.aspect_ratio is None:
        if job.tier in (*rule.tiers, *rule.tiers_plain):
            return job.tier
        if rule.follows_image and request.images and request.tier is None:
            return None
    return job.size.text(separator)


def picture_urls(request: GenerationRequest) -> list[str]:
    """Give the input pictures' addresses (links and ``data:`` URLs), in their order."""
    return [image.url for image in request.images]


def box_lists(request: GenerationRequest) -> list[list[list[int]]]:
    """Give the boxes, one list per picture."""
    return [[list(box) for box in boxes] for boxes in request.boxes]


def exact_ratios(palette: Sequence[PaletteColor]) -> list[Decimal]:
    """Give the shares with two decimals, adding up to exactly 100.00 (rule R7)."""
    ratios = [color.ratio.quantize(_CENT) for color in palette]
    largest = max(range(len(ratios)), key=ratios.__getitem__)
    ratios[largest] += _HUNDRED - sum(ratios)
    return ratios


def set_fields(**fields: Any) -> Json:
    """Give the fields that are not None."""
    return {name: value for name, value in fields.items() if value is not None}
