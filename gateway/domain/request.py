"""The canonical request: what every dialect is read into and every adapter is fed from."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from gateway.domain.money import MicroUsd
from gateway.domain.records import quick
from gateway.domain.strategy import Strategy

# The three named areas of `providers/models.md` §3: tier k holds pictures up to TIER_SIDE² px.
TIER_SIDES = {"1K": 1024, "2K": 2048, "4K": 4096}


class Mode(StrEnum):
    """What is asked of the model, read off the fields present (seed 003)."""

    GENERATE = "generate"
    EDIT = "edit"
    REFERENCE = "reference"
    GROUP = "group"
    INTERACTIVE_EDIT = "interactive_edit"


class ResultFormat(StrEnum):
    """How a synchronous caller wants its pictures."""

    URL = "url"
    B64_JSON = "b64_json"


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """A picture size in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """The area, width × height."""
        return self.width * self.height

    @property
    def tier(self) -> str:
        """The smallest of 1K, 2K, 4K that holds this area; 4K beyond."""
        for name, side in TIER_SIDES.items():
            if self.pixels <= side * side:
                return name
        return "4K"

    def text(self, separator: str = "x") -> str:
        """Give ``WxH`` with the vendor's separator."""
        return f"{self.width}{separator}{self.height}"


@dataclass(frozen=True, slots=True)
class InputImage:
    """A picture a caller sent: an http(s) URL or a ``data:`` URL, and what its header said.

    The facts are None until the picture was looked at; ``media_type`` is sniffed, not believed.
    """

    url: str
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    byte_count: int | None = None
    has_alpha: bool | None = None

    @property
    def is_inline(self) -> bool:
        """Whether the picture itself is in the request (a data URL)."""
        return self.url.startswith("data:")


@dataclass(frozen=True, slots=True)
class PaletteColor:
    """One colour of a palette: ``#RRGGBB`` and its share in percent, two decimals."""

    hex: str
    ratio: Decimal


Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class RouteRules:
    """What the caller allows of the route; names are upstream or adapter names (⚑ §6).

    ``order`` is tried first, in that order. Without ``allow_fallbacks`` only the named (else the
    cheapest) upstream is used. ``max_price`` is what one picture may cost us, in micro-USD.
    ``sort`` overrides the model's strategy.
    """

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    allow_fallbacks: bool = True
    max_price: MicroUsd | None = None
    sort: Strategy | None = None


NO_RULES = RouteRules()


@quick
@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One picture request in the gateway's own words.

    None means the caller did not say: the model's default applies. ``size`` (pixels) and
    ``tier`` (1K, 2K, 4K, with an optional ``aspect_ratio`` such as ``16:9``) exclude each
    other; neither means the model's default or ``auto``. ``boxes`` has one tuple per picture.
    ``options`` holds vendor-neutral extras by name (quality, background, style, …).
    ``snap_size``: an illegal pixel size is moved to the nearest legal one of the upstream that
    is tried, instead of refused.
    """

    model: str
    prompt: str = ""
    negative_prompt: str | None = None
    images: tuple[InputImage, ...] = ()
    mask: InputImage | None = None
    n: int = 1
    size: Size | None = None
    tier: str | None = None
    aspect_ratio: str | None = None
    seed: int | None = None
    watermark: bool | None = None
    rewrite_prompt: bool | None = None
    thinking: bool | None = None
    group: bool = False
    palette: tuple[PaletteColor, ...] = ()
    boxes: tuple[tuple[Box, ...], ...] = ()
    interleave: bool = False
    options: dict[str, str | int | bool] = field(default_factory=dict)
    rules: RouteRules = NO_RULES
    snap_size: bool = False

    @property
    def mode(self) -> Mode:
        """The mode the fields ask for."""
        if self.group:
            return Mode.GROUP
        if any(self.boxes):
            return Mode.INTERACTIVE_EDIT
        if len(self.images) > 1:
            return Mode.REFERENCE
        return Mode.EDIT if self.images else Mode.GENERATE
