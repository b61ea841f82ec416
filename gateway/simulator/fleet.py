"""Every simulated vendor of one simulator, with the commands that steer them."""

from __future__ import annotations

from gateway.simulator.billing import Bill
from gateway.simulator.config import CONTROL, Limits, SimulatorConfig
from gateway.simulator.listener import Listener
from gateway.simulator.pictures import Gallery
from gateway.simulator.scripts import Script
from gateway.simulator.state import Clock, Engine, SimTask
from gateway.simulator.vendors import VENDORS
from gateway.simulator.vendors.base import Vendor

ANYWHERE = "0.0.0.0"  # noqa: S104 - only compared with


class Fleet:
    """The vendors, their listeners and their common clock."""

    def __init__(self, config: SimulatorConfig) -> None:
        self.config = config
        self.clock = Clock()
        self.vendors: dict[str, Vendor] = {}
        self._listeners: dict[str, Listener] = {}
        self._gallery = Gallery(distinct=config.distinct_pictures)
        for name, vendor in config.vendors.items():
            engine = Engine(name, vendor, config, self.clock)
            self.vendors[name] = VENDORS[vendor.api](engine, self._gallery)

    @property
    def control_url(self) -> str:
        """Address of the control API, to which ``/_sim`` is added."""
        return self._origin(CONTROL)

    def base_url(self, vendor: str) -> str:
        """What the gateway is configured with: ends where the vendor's version segment ends."""
        return self._origin(vendor) + self._vendor(vendor).prefix

    def port(self, name: str) -> int:
        """The port of a vendor, or of ``control``."""
        return self._listeners[name].port

    def script(self, vendor: str, *scripts: Script) -> None:
        """Put scripts in force; a ValueError when one names a fault the vendor does not have."""
        target = self._vendor(vendor)
        for script in scripts:
            target.check_script(script)
            target.engine.scripts.add(script)

    def clear(self, vendor: str) -> None:
        """Drop the scripts of a vendor."""
        self._vendor(vendor).engine.scripts.clear()

    def limit(self, vendor: str, limits: Limits) -> None:
        """Put limits in force until the next reset."""
        self._vendor(vendor).engine.set_limits(limits)

    def bill(self, vendor: str) -> Bill:
        """What a vendor has billed by now, and what is still to come."""
        return self._vendor(vendor).engine.bill()

    def tasks(self, vendor: str) -> list[SimTask]:
        """Every task a vendor remembers, oldest first; ``noticed_ms`` is when a query first saw it
        ended.
        """
        return self._vendor(vendor).engine.all_tasks()

    def counts(self, vendor: str) -> dict[str, int]:
        """Counters: calls by kind, accepted, replayed, refused; peaks per second and in flight."""
        engine = self._vendor(vendor).engine
        return {
            **engine.counts,
            "peak_submit_per_second": engine.submits.peak,
            "peak_query_per_second": engine.queries.peak,
            "peak_in_flight": engine.peak_in_flight,
        }

    def is_down(self, vendor: str) -> bool:
        """Whether a vendor refuses connections."""
        self._vendor(vendor)
        return self._listeners[vendor].down

    async def down(self, vendor: str) -> None:
        """Close a vendor's port and reset its connections; work it accepted goes on."""
        self._vendor(vendor)
        await self._listeners[vendor].take_down()

    async def up(self, vendor: str) -> None:
        """Open a vendor's port again, under the same number."""
        self._vendor(vendor)
        await self._listeners[vendor].up()

    async def reset(self) -> None:
        """Forget tasks, bills, scripts and limits of every vendor, and bring all of them up."""
        for name, vendor in self.vendors.items():
            vendor.engine.reset()
            await self._listeners[name].up()

    def advance(self, by_ms: int) -> None:
        """Move every vendor's clock forward."""
        self.clock.advance(by_ms)

    def _origin(self, name: str) -> str:
        host = "127.0.0.1" if self.config.host == ANYWHERE else self.config.host
        return f"http://{host}:{self._listeners[name].port}"

    def _vendor(self, name: str) -> Vendor:
        if name not in self.vendors:
            raise ValueError(f"unknown vendor {name!r}; known: {', '.join(self.vendors)}")
        return self.vendors[name]
