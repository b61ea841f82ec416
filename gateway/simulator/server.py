"""The simulator itself: one listener per vendor and one for control, in one event loop."""

from __future__ import annotations

import asyncio
import signal
from types import TracebackType
from typing import Self

from gateway.simulator.config import CONTROL, SimulatorConfig
from gateway.simulator.control import Control
from gateway.simulator.fleet import Fleet
from gateway.simulator.listener import Listener
from gateway.simulator.wire import Handler, application


class Simulator(Fleet):
    """Every configured vendor, served over HTTP; an async context manager.

    >>> async with Simulator(SimulatorConfig(work_ms=(50, 50))) as simulator:
    ...     simulator.base_url("dashscope")
    ...     simulator.script("evolink", Script(fail="server_error", times=1))
    ...     simulator.bill("evolink").amount_usd_micros
    """

    def __init__(self, config: SimulatorConfig | None = None) -> None:
        super().__init__(config or SimulatorConfig())

    async def __aenter__(self) -> Self:
        """Open every port; an OSError when one is taken."""
        ports = self.config.ports or {}
        handlers: dict[str, Handler] = {
            name: vendor.handle for name, vendor in self.vendors.items()
        }
        handlers[CONTROL] = Control(self).handle
        try:
            for name, handler in handlers.items():
                listener = Listener(application(handler), self.config.host, ports.get(name, 0))
                self._listeners[name] = listener
                await listener.up()
        except BaseException:
            self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close every port and connection."""
        self._close()
        await asyncio.sleep(0)

    def _close(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        self._gallery.close()


async def run(config: SimulatorConfig) -> None:
    """Serve until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Simulator(config):
        await stopped.wait()
