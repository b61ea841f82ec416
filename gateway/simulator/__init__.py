"""The provider simulator: every provider's API over real HTTP, with behaviour on demand.

Each vendor listens on a port of its own, so that taking one down refuses connections as a real
outage does; one more port takes commands (``control.py``). Vendors answer as the files in
``providers/`` say: bodies, states, id formats, validation, error codes. They draw real pictures and
keep a bill of what they would really charge. ``scripts.py`` explains how to make them misbehave,
from Python, over the control API, or by writing ``[sim:fail=content_policy]`` and the like into a
prompt.

This package imports nothing else of the gateway.
"""

from __future__ import annotations

from gateway.simulator.billing import Bill, BillRecord, usd
from gateway.simulator.config import (
    API_KINDS,
    DASHSCOPE_LIMITS,
    DEFAULT_PORTS,
    DEFAULT_PRICES,
    Limits,
    SimulatorConfig,
    VendorConfig,
    every_vendor,
)
from gateway.simulator.scripts import Script
from gateway.simulator.server import Simulator, run
from gateway.simulator.state import Phase, SimTask

__all__ = [
    "API_KINDS",
    "DASHSCOPE_LIMITS",
    "DEFAULT_PORTS",
    "DEFAULT_PRICES",
    "Bill",
    "BillRecord",
    "Limits",
    "Phase",
    "Script",
    "SimTask",
    "Simulator",
    "SimulatorConfig",
    "VendorConfig",
    "every_vendor",
    "run",
    "usd",
]
