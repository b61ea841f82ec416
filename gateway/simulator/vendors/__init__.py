"""The simulated vendors, one module each, by the name of their API."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.simulator.vendors.base import Vendor
from gateway.simulator.vendors.dashscope import DashScope
from gateway.simulator.vendors.evolink import EvoLink
from gateway.simulator.vendors.fal import Fal
from gateway.simulator.vendors.modelverse import Modelverse
from gateway.simulator.vendors.openai import OpenAI
from gateway.simulator.vendors.qingbo import Qingbo
from gateway.simulator.vendors.replicate import Replicate

VENDORS: Mapping[str, type[Vendor]] = {
    "evolink": EvoLink,
    "dashscope": DashScope,
    "openai": OpenAI,
    "modelverse": Modelverse,
    "qingbo": Qingbo,
    "fal": Fal,
    "replicate": Replicate,
}
