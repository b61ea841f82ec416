"""One gateway with every simulated vendor for all tests of a module, which only look at it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from gateway.catalog.builtin import builtin
from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.simulator import Simulator, SimulatorConfig
from tests.support.engines import cloned_database, flush
from tests.support.pictures import PNG
from tests.support.receivers import receiver, reply
from tests.support.stack import Stack, running_gateway
from tests.support.wiretap import Wiretap

# Dearer in this order, whatever the model; named as their adapters.
COSTS: Mapping[str, Decimal] = {
    "evolink": Decimal("0.010"),
    "qingbo": Decimal("0.011"),
    "modelverse": Decimal("0.012"),
    "dashscope": Decimal("0.013"),
    "replicate": Decimal("0.014"),
    "fal": Decimal("0.015"),
    "openai": Decimal("0.016"),
}
PRICE = 2
# One model of each family; the simulated vendors make those of wan2.5, 2.6, 2.7 and GPT.
SOLD = frozenset(
    {
        "wan2.7-image",
        "wan2.7-image-pro",
        "wan2.6-t2i",
        "wan2.6-image",
        "wan2.5-t2i-preview",
        "wan2.5-i2i-preview",
        "wan2.2-t2i-plus",
        "wanx2.1-imageedit",
        "wanx-v1",
        "qwen-image",
        "qwen-image-2.0",
        "qwen-image-edit",
        "qwen-image-edit-plus",
        "z-image-turbo",
        "gpt-image-2",
        "gpt-image-1.5",
        "dall-e-3",
        "dall-e-2",
    }
)


@dataclass
class Shared:
    """The gateway, what its vendors were sent, and a server of input pictures."""

    stack: Stack
    wiretap: Wiretap
    gallery: str

    def pictures(self, count: int) -> list[str]:
        """Give so many addresses of a picture of 512 by 512 pixels."""
        return [f"{self.gallery}/{number}.png" for number in range(count)]


@asynccontextmanager
async def shared_stack(
    folder: Path, postgres: EmbeddedPostgres, template: str, valkey: EmbeddedValkey
) -> AsyncIterator[Shared]:
    """Run everything until the block ends."""
    flush(valkey)
    config = SimulatorConfig(work_ms=(30, 60), distinct_pictures=False)
    async with (
        receiver(reply(200, PNG, content_type="image/png")) as gallery,
        Simulator(config) as simulator,
    ):
        host = f"127.0.0.1:{gallery.port}"
        with cloned_database(postgres, template) as database_url:
            async with running_gateway(
                folder,
                database_url,
                valkey.url,
                configuration(simulator),
                simulator,
                fetch_allowed_hosts=host,
            ) as stack:
                yield Shared(stack, Wiretap(simulator), f"http://{host}")


def configuration(simulator: Simulator) -> str:
    """Give a `gateway.toml` with one upstream per adapter, without limits of its own."""
    lines: list[str] = []
    for name, cost in COSTS.items():
        lines += [
            f"[upstreams.{name}]",
            f'adapter = "{name}"',
            f'base_url = "{simulator.base_url(name)}"',
            'api_key = "any"',
            "allow_private = true",
            "max_in_flight = 0",
            "submit_per_second = 0",
            "query_per_second = 0",
        ]
        for model in SOLD & builtin().providers[name].models.keys():
            offer = f'model = "{model}"\ncost_usd = "{cost}"'
            lines.append(f"[[upstreams.{name}.offers]]\n{offer}")
    for model in sorted(SOLD):
        lines.append(f'[models."{model}"]\nprice_credits = "{PRICE}"')
    return "\n".join(lines)
