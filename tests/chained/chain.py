"""Two gateways in a row: the outer one's upstreams are the inner one's dialects.

The inner gateway buys everything from DashScope, which understands every wan parameter, OpenAI's
models from OpenAI, and the 4K that only Qingbo makes under `wan2.7-image` from Qingbo. What one
picture costs the outer gateway is exactly what the inner one charges for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.catalog.builtin import builtin
from gateway.domain.money import MICRO
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.simulator import Simulator, SimulatorConfig, VendorConfig
from tests.chained.cases import ALIASES
from tests.support.engines import cloned_database
from tests.support.pictures import PNG, PNG_DATA
from tests.support.receivers import receiver, reply
from tests.support.stack import Stack, Team, running_gateway
from tests.support.wiretap import Wiretap

PREFIXES = {
    "evolink": "/evolink/v1",
    "dashscope": "/dashscope/api/v1",
    "modelverse": "/modelverse/v1",
    "qingbo": "/qingbo/v1",
    "openai": "/openai/v1",
}
CREDITS = 10_000
PER_USD = 100
# What every model costs the inner gateway (USD), its customer (credits), and the outer's (credits).
COSTS: Mapping[str, Decimal] = {
    name: Decimal("0.01") + Decimal(number) / 10_000
    for number, name in enumerate(sorted(builtin().models))
}
INNER_PRICES = {name: 2 * cost * PER_USD for name, cost in COSTS.items()}
OUTER_PRICES = {name: 3 * cost * PER_USD for name, cost in COSTS.items()}
# Prefixes of the outer gateway's upstreams: one that works, three the inner gateway refuses.
GOOD, BAD_KEY, NO_CREDIT, NO_MODEL = "good", "shut", "poor", "lost"
BAD_MODELS = {
    "evolink": "wan2.5-t2i-preview",
    "dashscope": "wan2.6-t2i",
    "modelverse": "wan2.7-image",
    "qingbo": "wan2.7-image",
    "openai": "gpt-image-1.5",
}


@dataclass
class Chain:
    """Everything that runs, and the two paying teams: ``payer`` is the outer gateway's account."""

    outer: Stack
    inner: Stack
    payer: Team
    wiretap: Wiretap
    gallery: str

    def picture(self, kind: str, index: int) -> str:
        """Give an input picture: an address, or the picture itself."""
        return PNG_DATA if kind == "data" else f"{self.gallery}/{index}.png"


async def running_chain(
    stack: AsyncExitStack, folder: Path, postgres: EmbeddedPostgres, template: str
) -> Chain:
    """Start both gateways; the stack stops them."""
    pictures = await stack.enter_async_context(receiver(reply(200, PNG, content_type="image/png")))
    simulator = await stack.enter_async_context(Simulator(_vendors()))
    wiretap = Wiretap(simulator)
    host = f"127.0.0.1:{pictures.port}"

    async def start(name: str, configuration: str) -> Stack:
        (folder / name).mkdir()
        valkey = EmbeddedValkey(folder / f"{name}-index")
        valkey.ensure()
        stack.callback(valkey.release)
        database_url = stack.enter_context(cloned_database(postgres, template))
        return await stack.enter_async_context(
            running_gateway(
                folder / name,
                database_url,
                valkey.url,
                configuration,
                simulator,
                fetch_allowed_hosts=host,
            )
        )

    inner = await start("inner", inner_configuration(simulator))
    payer, beggar = await inner.team(CREDITS), await inner.team(0)
    outer = await start("outer", outer_configuration(inner.url, payer.key, beggar.key))
    return Chain(outer, inner, payer, wiretap, f"http://{host}")


def _vendors() -> SimulatorConfig:
    """Every built-in model at its cost; pictures are drawn once per size."""
    prices = {name: int(cost * MICRO) for name, cost in COSTS.items()}
    vendors = {
        name: VendorConfig(api=name, prices=prices) for name in ("dashscope", "openai", "qingbo")
    }
    return SimulatorConfig(vendors=vendors, work_ms=(30, 60), distinct_pictures=False)


def inner_configuration(simulator: Simulator) -> str:
    """Give the inner gateway's file."""
    parts = [f'[credits]\nper_usd = "{PER_USD}"\n']
    for adapter in ("dashscope", "openai"):
        costs = {name: COSTS[name] for name in builtin().providers[adapter].models}
        parts.append(_upstream(adapter, adapter, simulator.base_url(adapter), "any", costs))
    # Dearer than DashScope: taken only for what nobody else makes.
    dear = {"wan2.7-image": COSTS["wan2.7-image"] + Decimal("0.001")}
    parts.append(_upstream("qingbo", "qingbo", simulator.base_url("qingbo"), "any", dear))
    return "\n".join([*parts, *_models(INNER_PRICES, ALIASES)])


def outer_configuration(inner_url: str, key: str, poor_key: str) -> str:
    """Give the outer gateway's file: one good upstream per dialect, and three cheaper bad ones."""
    parts = [f'[credits]\nper_usd = "{PER_USD}"\n']
    for adapter, prefix in PREFIXES.items():
        url = inner_url + prefix
        models = [*builtin().providers[adapter].models]
        if adapter == "openai":
            models.append("wan2.7-image")
        costs = {name: INNER_PRICES[name] / PER_USD for name in models}
        parts.append(_upstream(f"{GOOD}-{adapter}", adapter, url, key, costs))
        bad = {BAD_MODELS[adapter]: Decimal("0.001")}
        parts.append(_upstream(f"{BAD_KEY}-{adapter}", adapter, url, "sk-igw-nobody", bad))
        parts.append(_upstream(f"{NO_CREDIT}-{adapter}", adapter, url, poor_key, bad))
        parts.append(_upstream(f"{NO_MODEL}-{adapter}", adapter, url, key, bad, "no-such-model"))
    return "\n".join([*parts, *_models(OUTER_PRICES, {})])


def _upstream(
    name: str, adapter: str, url: str, key: str, costs: Mapping[str, Decimal], alias: str = ""
) -> str:
    lines = [
        f"[upstreams.{name}]",
        f'adapter = "{adapter}"',
        f'base_url = "{url}"',
        f'api_key = "{key}"',
        "allow_private = true",
        "max_in_flight = 0",
        "submit_per_second = 0",
        "query_per_second = 0",
    ]
    for model, cost in costs.items():
        lines += [f"[[upstreams.{name}.offers]]", f'model = "{model}"', f'cost_usd = "{cost}"']
        if alias:
            lines.append(f'upstream_model = "{alias}"')
    return "\n".join(lines)


def _models(prices: Mapping[str, Decimal], aliases: Mapping[str, str]) -> Iterator[str]:
    for name, price in prices.items():
        yield f'[models."{name}"]\nprice_credits = "{price}"'
        if name in aliases:
            yield f'aliases = ["{aliases[name]}"]'
