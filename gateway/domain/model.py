"""Catalogue records: models, their limits, and the offers that upstreams make for them.

All of it is data read from TOML (`gateway/catalog`); nothing here knows a vendor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from enum import StrEnum

from gateway.domain.money import MicroCredits, MicroUsd
from gateway.domain.price_table import PriceTable
from gateway.domain.request import Mode, Size
from gateway.domain.strategy import RoutingPolicy


@dataclass(frozen=True, slots=True)
class SizeRule:
    """Which output sizes are legal. Areas in pixels; None means unlimited.

    ``choices`` makes the rule an enumeration. ``pixels_max_plain`` and ``tiers_plain`` hold
    only without pictures and outside group mode (wan2.7's 4K, rule R6). ``ratio_max`` 4 means
    1:4 to 4:1. ``ratios`` enumerates the legal ``aspect_ratio`` words, empty allows any.
    ``default`` is a ``WxH``, a tier or ``auto``; ``auto`` says whether a caller may write that
    word. ``fixed``: the caller cannot choose, the output is as large as the input.
    ``follows_image``: without a size the last picture gives the ratio (R17). ``suggested``
    sizes are named to callers; ``larger_model`` is named when a size is too large here.
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
    ratios: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    suggested: tuple[str, ...] = ()
    auto: bool = True
    fixed: bool = False
    follows_image: bool = False
    larger_model: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRule:
    """How many input pictures, and what each may be. Sides in pixels, bytes inclusive.

    ``count_max_boxed`` narrows the count when boxes are drawn (D10), ``count_max_interleave``
    replaces both counts in interleave mode (0 to that many). ``alpha`` False refuses
    transparency (R20), ``inline`` False refuses pictures inside the request: links only.
    A mask marks what to paint by transparency in a PNG, or with ``mask_black_white`` in white in
    a picture of any format.
    """

    count_min: int = 0
    count_max: int = 0
    count_max_boxed: int | None = None
    count_max_interleave: int = 0
    side_min: int | None = None
    side_max: int | None = None
    ratio_max: int | None = None
    bytes_max: int | None = None
    mask_bytes_max: int | None = None
    mask_black_white: bool = False
    formats: tuple[str, ...] = ("image/jpeg", "image/png", "image/webp", "image/bmp")
    alpha: bool = True
    inline: bool = True


@dataclass(frozen=True, slots=True)
class CountRule:
    """How many pictures one request may ask for: normally, as a group, interleaved with text.

    ``default`` and ``group_default`` are what the gateway's own dialect assumes.
    ``vendor_default`` and ``vendor_group_default`` are what DashScope makes of a request that
    names no count (4 or 12, R16): only its dialect relies on them, and adapters always send n.
    """

    max: int = 1
    default: int = 1
    group_max: int = 0
    group_default: int = 1
    interleave_max: int = 0
    vendor_default: int = 1
    vendor_group_default: int = 12


class Feature(StrEnum):
    """Optional request fields a model or offer may understand.

    A request *demands* a feature when its field asks for something the model does not do by
    itself: a text, list or number that is present, or a switch that differs from the model's
    default (``Model.defaults``, else off). An offer without the feature can still serve a
    request that does not demand it.
    """

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
class OptionRule:
    """What an extra field (``GenerationRequest.options``) may hold.

    One of ``choices``; or a whole number from ``minimum`` to ``maximum``; or, with neither, any
    text.
    """

    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None

    @property
    def is_number(self) -> bool:
        """Whether a whole number is wanted."""
        return self.minimum is not None or self.maximum is not None


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model, or one offer of it, takes.

    ``features`` names the canonical fields it understands beyond prompt, size and n (see
    Feature); ``modes`` what it can do; ``options`` the extra fields it knows. Without
    ``prompt_required`` a picture alone is enough (R13). ``palette_decimals`` is how fine the
    palette's shares may be (R7).
    """

    prompt_max: int
    size: SizeRule
    count: CountRule = CountRule()
    images: ImageRule = ImageRule()
    negative_prompt_max: int = 0
    prompt_required: bool = True
    modes: frozenset[Mode] = frozenset({Mode.GENERATE})
    features: frozenset[Feature] = frozenset()
    seed_min: int = 0
    seed_max: int = 2**31 - 1
    palette_min: int = 3
    palette_max: int = 10
    palette_decimals: int = 2
    boxes_per_image_max: int = 2
    options: Mapping[str, OptionRule] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    """A model the gateway sells under one canonical id.

    ``defaults`` are the switches the model sets itself when not told (``thinking``,
    ``rewrite_prompt``, ``watermark``). ``inert_with_group`` and ``inert_with_images`` name the
    features without effect in group mode and beside pictures (R1, R2, R8). ``typical_ms`` is
    how long one request usually takes, ``deadline_ms`` after how long a task is given up,
    ``created`` UTC seconds for model lists.
    """

    id: str
    title: str
    owned_by: str
    limits: Limits
    aliases: tuple[str, ...] = ()
    defaults: Mapping[str, bool] = field(default_factory=dict)
    inert_with_group: frozenset[Feature] = frozenset()
    inert_with_images: frozenset[Feature] = frozenset()
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
    """One configured account at a provider (⚑ §5). ``options`` are adapter settings.

    ``daily_cost`` is the most its jobs of one UTC day may cost, in micro-USD; 0 is no limit.
    ``exclusive_account``: nobody but this gateway makes jobs with the account.
    """

    name: str
    adapter: str
    base_url: str
    api_key: Secret
    max_in_flight: int = 0
    submit_per_second: Decimal = Decimal(0)
    query_per_second: Decimal = Decimal(0)
    daily_cost: MicroUsd = 0
    allow_private: bool = False
    submit_timeout_ms: int = 30_000
    on_ambiguous: OnAmbiguous = OnAmbiguous.FAILOVER
    idempotent_submit: bool = False
    exclusive_account: bool = False
    options: Mapping[str, str | int | bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as one upstream sells it.

    ``limits`` are already narrowed to what this upstream takes; ``protocol`` names the
    adapter's way of asking for this model (DashScope has four); ``cost`` is in micro-USD.
    ``max_in_flight`` and ``submit_per_second`` are the vendor's own limits for this model
    beside those of the account; 0 means none is known. ``weight`` is its share of the tasks
    where the model's strategy is ``weighted``.
    """

    upstream: str
    adapter: str
    model: str
    upstream_model: str
    cost: PriceTable
    limits: Limits
    protocol: str = ""
    max_in_flight: int = 0
    submit_per_second: Decimal = Decimal(0)
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Catalog:
    """Everything configured, as one immutable value that is swapped whole on reload.

    ``models`` holds every model known, sold or not. ``aliases`` maps every accepted name
    (canonical ids included) to the canonical id and has only names of models that at least one
    upstream offers. ``prices`` are per model in micro-credits, ``offers`` per model in
    configured order, at most one per upstream.
    """

    models: Mapping[str, Model]
    aliases: Mapping[str, str]
    upstreams: Mapping[str, Upstream]
    offers: Mapping[str, tuple[Offer, ...]]
    prices: Mapping[str, PriceTable]
    credits_per_usd: Decimal
    routing: RoutingPolicy = field(default_factory=RoutingPolicy)

    def price(self, model: str, tier: str, *, edits: bool = False) -> MicroCredits:
        """Give what a team pays for one picture of this tier."""
        return self.prices[model].per_image(tier, edits=edits)

    def at(self, now_ms: int) -> Catalog:
        """Give the catalogue with the prices and costs in force at a time (UTC ms)."""
        offers = {
            model: tuple(replace(offer, cost=offer.cost.at(now_ms)) for offer in offered)
            for model, offered in self.offers.items()
        }
        prices = {model: table.at(now_ms) for model, table in self.prices.items()}
        return replace(self, offers=offers, prices=prices)

    def next_change_ms(self, now_ms: int) -> int | None:
        """Give when a price or a cost changes next; None when none will."""
        tables = [*self.prices.values(), *(o.cost for of in self.offers.values() for o in of)]
        moments = (moment for table in tables for moment in table.moments() if moment > now_ms)
        return min(moments, default=None)

    def offers_of(self, upstream: str) -> tuple[Offer, ...]:
        """Give everything an upstream sells."""
        return tuple(
            o for offered in self.offers.values() for o in offered if o.upstream == upstream
        )

    def offer(self, model: str, upstream: str) -> Offer | None:
        """Give the offer an upstream makes for a model, None when it makes none."""
        return next((o for o in self.offers.get(model, ()) if o.upstream == upstream), None)


def cost_of(offer: Offer, tier: str, n: int, *, edits: bool = False) -> MicroUsd:
    """Give what ``n`` pictures of a tier cost at this offer."""
    return offer.cost.per_image(tier, edits=edits) * n


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
