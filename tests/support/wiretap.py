"""What simulated vendors were sent: the body of every order they took, as it came off the wire."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import UploadFile

from gateway.simulator import Simulator
from gateway.simulator.state import Order
from gateway.simulator.wire import Reply, Request

Submit = Callable[[Request, Order, Any], Awaitable[Reply]]


@dataclass(frozen=True)
class Sent:
    """One order: its address, its JSON (or the texts of its form), and the form's files."""

    path: str
    words: dict[str, Any]
    files: tuple[tuple[str, bytes], ...] = ()
    headers: dict[str, str] = field(default_factory=dict)


class Wiretap:
    """Keeps the orders that passed a vendor's own checks, found again by their prompt."""

    def __init__(self, simulator: Simulator) -> None:
        self._orders: dict[str, list[tuple[Order, Sent]]] = {}
        for name, vendor in simulator.vendors.items():
            self._orders[name] = []
            setattr(vendor, "submit", self._tapped(name, vendor.submit))  # noqa: B010

    def _tapped(self, name: str, submit: Submit) -> Submit:
        async def tapped(request: Request, order: Order, answer: Any) -> Reply:
            self._orders[name].append((order, await _read(request)))
            return await submit(request, order, answer)

        return tapped

    def sent(self, vendor: str, prompt: str) -> list[Sent]:
        """Give the orders of a vendor that had exactly this prompt."""
        return [sent for order, sent in self._orders[vendor] if order.prompt == prompt]


async def _read(request: Request) -> Sent:
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers.items()}
    if not headers.get("content-type", "").startswith("multipart/"):
        return Sent(request.path, json.loads(request.body), headers=headers)
    words: dict[str, Any] = {}
    files: list[tuple[str, bytes]] = []
    async with request.form() as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files.append((name, await value.read()))
            else:
                words[name] = value
    return Sent(request.path, words, tuple(files), headers)
