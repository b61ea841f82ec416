"""Configuration of the simulator: which vendors it plays, what they sell, how fast they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.simulator.billing import Price, usd

API_KINDS = ("evolink", "dashscope", "openai", "modelverse", "qingbo", "fal", "replicate")
"""The provider APIs that can be simulated."""

CONTROL = "control"
"""Name of the control listener in a table of ports."""

DEFAULT_PORTS: Mapping[str, int] = {
    CONTROL: 8190,
    **{kind: 8191 + position for position, kind in enumerate(API_KINDS)},
}
"""Fixed ports of the stand-alone simulator."""

DAY_MS = 24 * 3600 * 1000

DEFAULT_PRICES: Mapping[str, Mapping[str, Price]] = {
    "evolink": {
        name: usd("0.022")
        for name in (
            "wan2.5-text-to-image",
            "wan2.5-t2i-preview",
            "wan2.5-image-to-image",
            "wan2.5-i2i-preview",
        )
    },
    "dashscope": {
        "wan2.7-image": usd("0.0294"),
        "wan2.7-image-pro": usd("0.0735"),
        "wan2.6-t2i": usd("0.029"),
        "wan2.6-image": usd("0.029"),
        "wan2.5-t2i-preview": usd("0.029"),
        "wan2.5-i2i-preview": usd("0.029"),
        "wan2.2-t2i-plus": usd("0.0206"),
        "wan2.2-t2i-flash": usd("0.0206"),
        "wan2.1-t2i-plus": usd("0.0206"),
        "wan2.1-t2i-turbo": usd("0.0206"),
        "wanx2.1-t2i-plus": usd("0.0206"),
        "wanx2.1-t2i-turbo": usd("0.0206"),
        "wanx2.0-t2i-turbo": usd("0.0206"),
        "wanx2.1-imageedit": usd("0.0206"),
    },
    "openai": {
        name: usd("0.04")
        for name in (
            "gpt-image-2.6-sunburst",
            "gpt-image-2.6-flare",
            "gpt-image-2.5-sunburst",
            "gpt-image-2.5-sunburst-2026-09-08",
            "gpt-image-2.5-flare",
            "gpt-image-2.5-flare-2026-09-08",
            "gpt-image-2",
            "gpt-image-2-2026-04-21",
            "gpt-image-1.5",
            "gpt-image-1-mini",
            "chatgpt-image-latest",
        )
    },
    "modelverse": {"wan2.7-image": usd("0.027"), "wan2.7-image-pro": usd("0.068")},
    "qingbo": {"wan2.7-image": usd("0.02295"), "wan2.7-image-pro": usd("0.0612")},
    "fal": {
        name: usd("0.05")
        for name in (
            "fal-ai/wan-25-preview/text-to-image",
            "fal-ai/wan-25-preview/image-to-image",
            "wan/v2.6/text-to-image",
        )
    },
    "replicate": {name: usd("0.04") for name in ("wan-video/wan-2.5-t2i", "wan-video/wan-2.5-i2i")},
}
"""What each API sells by default, USD micros per picture (providers/models.md section 6).

A price table is also the list of models: whatever is missing from it is an unknown model.
DashScope's CNY prices are converted at 6.8; its models without a published price take CNY 0.14, the
price of wanx2.1-imageedit.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a vendor account; None means unlimited.

    ``models`` gives (submits per second, jobs running at once) by model and stands beside the
    account-wide numbers.
    """

    submit_per_second: int | None = None
    query_per_second: int | None = None
    in_flight: int | None = None
    models: Mapping[str, tuple[int, int]] = field(default_factory=dict)


_FIVE = (
    "wan2.7-image",
    "wan2.7-image-pro",
    "wan2.6-image",
    "wan2.5-t2i-preview",
    "wan2.5-i2i-preview",
)
_TWO = (
    "wan2.2-t2i-plus",
    "wan2.2-t2i-flash",
    "wan2.1-t2i-plus",
    "wan2.1-t2i-turbo",
    "wanx2.1-t2i-plus",
    "wanx2.1-t2i-turbo",
    "wanx2.0-t2i-turbo",
    "wanx2.1-imageedit",
)
DASHSCOPE_LIMITS = Limits(
    query_per_second=20,
    models=dict.fromkeys(_FIVE, (5, 5)) | dict.fromkeys(_TWO, (2, 2)) | {"wan2.6-t2i": (1, 5)},
)
"""DashScope's documented limits in Beijing (providers/dashscope.md section 8)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorConfig:
    """One simulated account: which API it speaks, what it sells and how it behaves.

    ``prices`` None takes DEFAULT_PRICES of the API. ``keys`` None accepts every key that does not
    start with ``wrong``. ``latency_ms``, ``work_ms`` and ``queue_ms`` None take the simulator's.
    ``generation`` is the age of Qingbo's wire format: A, B or C (providers/qingbo.md).
    """

    api: str
    prices: Mapping[str, Price] | None = None
    keys: frozenset[str] | None = None
    latency_ms: int | None = None
    work_ms: tuple[int, int] | None = None
    queue_ms: int | None = None
    limits: Limits = Limits()
    generation: str = "B"

    def __post_init__(self) -> None:
        """Refuse an unknown API or generation, or a gap in a price, with a ValueError."""
        if self.api not in API_KINDS:
            raise ValueError(f"unknown api {self.api!r}; known: {', '.join(API_KINDS)}")
        if self.generation not in ("A", "B", "C"):
            raise ValueError("generation is A, B or C")
        for model, price in self.price_table().items():
            if not isinstance(price, int) and set(price) != {"1K", "2K", "4K"}:
                raise ValueError(f"the price of {model} needs exactly the tiers 1K, 2K and 4K")

    def price_table(self) -> Mapping[str, Price]:
        """The prices in force for this vendor."""
        return DEFAULT_PRICES[self.api] if self.prices is None else self.prices


def every_vendor() -> dict[str, VendorConfig]:
    """One vendor of each API, named after it, at default prices and without limits."""
    return {kind: VendorConfig(api=kind) for kind in API_KINDS}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatorConfig:
    """The whole simulator.

    ``ports`` maps a vendor's name, or ``control``, to its port; a name left out gets a free one.
    ``latency_ms`` delays each answer, ``work_ms`` is the shortest and longest time from accept to
    finish, ``queue_ms`` the part of it spent queued (None: a fifth, at most a second). ``seed``
    makes chances and durations repeatable. With ``distinct_pictures`` off, one picture per size is
    drawn and reused, which keeps load tests cheap.
    """

    host: str = "127.0.0.1"
    ports: Mapping[str, int] | None = None
    vendors: Mapping[str, VendorConfig] = field(default_factory=every_vendor)
    latency_ms: int = 0
    work_ms: tuple[int, int] = (1_000, 3_000)
    queue_ms: int | None = None
    seed: int = 0
    distinct_pictures: bool = True
    task_ttl_ms: int = DAY_MS
    max_tasks: int = 200_000

    def __post_init__(self) -> None:
        """Refuse a vendor name that the control API could not tell from its own words."""
        for name in self.vendors:
            if name in (CONTROL, "bill", "reset", "clock") or not name.isascii() or "/" in name:
                raise ValueError(f"{name!r} cannot name a vendor")
