"""The control API: scripts, limits, outages, bills and the clock of a running fleet.

GET  /_sim                      every vendor: address, state, counters, totals
GET  /_sim/bill                 every vendor's bill with its records
GET  /_sim/{vendor}             one vendor: state, scripts, newest tasks, bill
POST /_sim/{vendor}/script      add a script (the fields of Script)
POST /_sim/{vendor}/clear       drop its scripts
POST /_sim/{vendor}/limits      set limits (the fields of Limits)
POST /_sim/{vendor}/down | up   refuse connections | accept them again
POST /_sim/clock                {"advance_ms": 3600000}
POST /_sim/reset                forget everything
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from typing import Any

from gateway.simulator.billing import Bill
from gateway.simulator.config import Limits
from gateway.simulator.fleet import Fleet
from gateway.simulator.scripts import Script, script_from
from gateway.simulator.state import SimTask
from gateway.simulator.wire import BadBody, Reply, Request

NEWEST_SHOWN = 20
LIMIT_NAMES = ("submit_per_second", "query_per_second", "in_flight")


class Control:
    """Serves the control API of one fleet."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def handle(self, request: Request) -> Reply:
        """Serve one request: 404 for an unknown vendor or route, 400 for a wrong body."""
        parts = request.path.strip("/").split("/")
        try:
            if parts[0] in ("", "_sim") and len(parts) == 1 and request.method == "GET":
                return Reply(self._overview())
            if parts[0] == "_sim" and len(parts) == 2:
                return await self._about(request, parts[1])
            if parts[0] == "_sim" and len(parts) == 3 and request.method == "POST":
                return await self._change(request, parts[1], parts[2])
        except (ValueError, BadBody) as problem:
            return _problem(400, str(problem))
        return _problem(404, "no such route")

    async def _about(self, request: Request, word: str) -> Reply:
        fleet = self._fleet
        if request.method == "GET" and word == "bill":
            return Reply({name: _bill(fleet.bill(name)) for name in fleet.vendors})
        if request.method == "POST" and word == "reset":
            await fleet.reset()
            return Reply({"ok": True})
        if request.method == "POST" and word == "clock":
            fleet.advance(_whole(request.json(), "advance_ms"))
            return Reply({"now_ms": fleet.clock.now_ms()})
        if request.method != "GET" or word not in fleet.vendors:
            return _problem(404, f"no vendor {word}")
        return Reply(self._state(word))

    async def _change(self, request: Request, vendor: str, verb: str) -> Reply:
        fleet = self._fleet
        if vendor not in fleet.vendors:
            return _problem(404, f"no vendor {vendor}")
        if verb == "script":
            fleet.script(vendor, script_from(request.json()))
        elif verb == "clear":
            fleet.clear(vendor)
        elif verb == "limits":
            fleet.limit(vendor, _limits(request.json()))
        elif verb == "down":
            await fleet.down(vendor)
        elif verb == "up":
            await fleet.up(vendor)
        else:
            return _problem(404, "no such route")
        return Reply(self._state(vendor))

    def _overview(self) -> dict[str, Any]:
        return {name: self._summary(name) for name in self._fleet.vendors}

    def _summary(self, name: str) -> dict[str, Any]:
        fleet = self._fleet
        engine = fleet.vendors[name].engine
        bill = fleet.bill(name)
        return {
            "api": engine.vendor.api,
            "base_url": fleet.base_url(name),
            "down": fleet.is_down(name),
            "in_flight": engine.in_flight,
            "counts": fleet.counts(name),
            "billed_images": bill.images,
            "billed_usd_micros": bill.amount_usd_micros,
        }

    def _state(self, name: str) -> dict[str, Any]:
        engine = self._fleet.vendors[name].engine
        now_ms = engine.clock.now_ms()
        newest = itertools.islice(engine.newest(), NEWEST_SHOWN)
        return {
            **self._summary(name),
            "scripts": [_script(script) for script in engine.scripts.in_force()],
            "limits": asdict(engine.limits),
            "models": dict(engine.prices),
            "faults": {
                "refusals": self._fleet.vendors[name].refusals.names(),
                "failures": self._fleet.vendors[name].failures.names(),
            },
            "newest": [_task(task, now_ms) for task in newest],
            "bill": _bill(self._fleet.bill(name)),
        }


def _bill(bill: Bill) -> dict[str, Any]:
    return asdict(bill)


def _task(task: SimTask, now_ms: int) -> dict[str, Any]:
    return {
        "id": task.id,
        "phase": task.phase(now_ms),
        "model": task.order.model,
        "prompt": task.order.prompt[:100],
        "n": task.order.n,
        "size": f"{task.order.width}x{task.order.height}",
        "delivered": task.delivered,
        "amount_usd_micros": task.amount_usd_micros,
        "accepted_ms": task.accepted_ms,
        "finish_ms": task.finish_ms,
        "noticed_ms": task.noticed_ms,
        "idempotency_key": task.order.key,
    }


def _script(script: Script) -> dict[str, Any]:
    when = {name: getattr(script, name) for name in ("on", "times", "share", "model", "prompt")}
    return {name: value for name, value in when.items() if value is not None} | script.effects()


def _limits(body: dict[str, Any]) -> Limits:
    unknown = set(body) - {*LIMIT_NAMES, "models"}
    if unknown:
        raise ValueError(f"unknown limit {', '.join(sorted(unknown))}")
    plain = {name: _whole(body, name) for name in LIMIT_NAMES if body.get(name) is not None}
    models = body.get("models") or {}
    if not isinstance(models, dict):
        raise BadBody("models is an object of [submits per second, running at once]")
    pairs: dict[str, tuple[int, int]] = {}
    for model, pair in models.items():
        if not isinstance(pair, list) or [type(part) for part in pair] != [int, int]:
            raise ValueError(f"{model} needs [submits per second, running at once]")
        pairs[model] = (pair[0], pair[1])
    return Limits(**plain, models=pairs)


def _whole(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is a whole number, not negative")
    return value


def _problem(status: int, message: str) -> Reply:
    return Reply({"error": {"message": message}}, status)
