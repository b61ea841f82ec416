"""Catalogue records: models, their limits, and the offers that upstreams make for them.

All of it is data read from TOML (`gateway/catalog`); nothing here knows a vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.request import Mode, Size


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which output sizes are legal. Areas in pixels; None means unlimited.

    ``choices`` makes the rule an enumeration. ``pixels_max_plain`` and ``tiers_plain`` hold
    only without pictures and outside group mode (wan2.7's 4K, rule R6). ``default`` is a
    ``WxH``, a tier or ``auto``.
    """

    default: str
    pixels_min: int | None = None
    pixels_max: int | None = None
    pixels_max_plain: int | None = None
    side_min: int | None = None
    side_max: int | None = None
    side_multiple: int = 1
    ratio_max: int | None = None
    tiers: tuple[str, ...] = ()
    tiers_plain: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    suggested: tuple[str, ...] = ()
    auto: bool = True


@dataclass(frozen=True, slots=True)
class ImageRule:
    """How many input pictures, and what each may be. Sides in pixels."""

    count_min: int = 0
    count_max: int = 0
    side_min: int | None = None
    side_max: int | None = None
    ratio_max: int | None = None
    bytes_max: int | None = None
    formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp", "image/bmp")
    alpha: bool = True


@dataclass(frozen=True, slots=True)
class CountRule:
    """How many pictures one request may ask for, normally and in group mode."""

    max: int = 1
    default: int = 1
    group_max: int = 0
    group_default: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model, or one offer of it, takes.

    ``features`` names the canonical fields it understands beyond prompt, size and n (see
    Feature); ``modes`` what it can do.
    """

    prompt_max: int
    size: SizeRule
    count: CountRule = CountRule()
    images: ImageRule = ImageRule()
    negative_prompt_max: int = 0
    prompt_required: bool = True
    modes: frozenset[Mode] = frozenset({Mode.GENERATE})
    features: frozenset[Feature] = frozenset()
    seed_max: int = 2**31 - 1
    palette_min: int = 3
    palette_max: int = 10
    boxes_per_image_max: int = 2
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


class Feature(StrEnum):
    """Optional request fields a model or offer may understand."""

    NEGATIVE_PROMPT = "negative_prompt"
    SEED = "seed"
    WATERMARK = "watermark"
    REWRITE_PROMPT = "rewrite_prompt"
    THINKING = "thinking"
    PALETTE = "palette"
    BOXES = "boxes"
    MASK = "mask"
    INTERLEAVE = "interleave"


@dataclass(frozen=True, slots=True)
class PriceTable:
    """An amount per picture: one ``flat`` amount, or one per tier (1K, 2K, 4K), in micro."""

    flat: int | None = None
    tiers: Mapping[str, int] = field(default_factory=dict)

    def per_image(self, tier: str) -> int:
        """Give the micro amount for one picture of a tier.

        A tier missing from the table costs what the next larger listed tier costs, else the
        largest: never less than the vendor could ask.
        """
        if self.flat is not None:
            return self.flat
        order = ("1K", "2K", "4K")
        for name in order[order.index(tier) :]:
            if name in self.tiers:
                return self.tiers[name]
        return max(self.tiers.values())


@dataclass(frozen=True, slots=True)
class Model:
    """A model the gateway sells under one canonical id.

    ``defaults`` are canonical field values the model applies itself (``thinking``,
    ``rewrite_prompt``, ``watermark``). ``typical_ms`` is how long one request usually takes,
    ``deadline_ms`` after how long a task is given up.
    """

    id: str
    title: str
    owned_by: str
    limits: Limits
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, bool] = field(default_factory=dict)
    typical_ms: int = 15_000
    deadline_ms: int = 600_000
    created: int = 0


class OnAmbiguous(StrEnum):
    """What to do when a submit may or may not have been accepted."""

    FAILOVER = "failover"
    WAIT = "wait"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret text that never shows itself in a repr or a log."""

    value: str

    def __repr__(self) -> str:
        """Give a mask."""
        return "Secret('**********')"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Upstream:
    """One configured account at a provider (⚑ §5). ``options`` are adapter settings."""

    name: str
    adapter: str
    base_url: str
    api_key: Secret
    max_in_flight: int = 0
    submit_per_second: Decimal = Decimal(0)
    query_per_second: Decimal = Decimal(0)
    allow_private: bool = False
    submit_timeout_ms: int = 30_000
    on_ambiguous: OnAmbiguous = OnAmbiguous.FAILOVER
    idempotent_submit: bool = False
    options: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as one upstream sells it.

    ``limits`` are already narrowed to what this upstream takes; ``protocol`` names the
    adapter's way of asking for this model (DashScope has four); ``cost`` is in micro-USD.
    """

    upstream: str
    adapter: str
    model: str
    upstream_model: str
    cost: PriceTable
    limits: Limits
    protocol: str = ""


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything configured, as one immutable value that is swapped whole on reload.

    ``aliases`` maps every accepted name (canonical ids included) to the canonical id;
    ``prices`` are per model in micro-credits, ``offers`` per model in configured order.
    """

    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    upstreams: Mapping[str, Upstream]
    offers: Mapping[str, tuple[Offer, ...]]
    prices: Mapping[str, PriceTable]
    credits_per_usd: Decimal

    def price(self, model: str, tier: str) -> MicroCredits:
        """Give what a team pays for one picture of this tier."""
        return self.prices[model].per_image(tier)


def cost_of(offer: Offer, tier: str, n: int) -> MicroUsd:
    """Give what ``n`` pictures of a tier cost at this offer."""
    return offer.cost.per_image(tier) * n


def parse_size(text: str) -> Size | None:
    """Read ``WxH`` with x, X, × or * between; None when it is no pixel size."""
    for separator in ("x", "X", "×", "*"):
        width, found, height = text.partition(separator)
        if found:
            width, height = width.strip(), height.strip()
            if width.isascii() and width.isdigit() and height.isascii() and height.isdigit():
                size = Size(int(width), int(height))
                return size if size.pixels and size.width < 10**5 > size.height else None
    return None
