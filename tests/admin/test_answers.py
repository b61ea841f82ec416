"""Every answer of `/admin/v1` that `/openapi.json` documents is given like that."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from gateway.simulator import Script
from gateway.stores.postgres.outbox import callback_id
from tests.e2e.test_callbacks import listening
from tests.support.browsers import SESSION, browser
from tests.support.contract import JSON
from tests.support.receivers import reply
from tests.support.stack import MODEL, Stack, Team

KITE = {"model": MODEL, "prompt": "a kite"}
JSONL = {"content-type": "application/jsonl"}
ADMIN = {"authorization": "Bearer the-admin-key"}


class Operator:
    """Whoever holds the admin key."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        answer: httpx.Response = await self.stack.client.request(
            method, f"/admin/v1{path}", json=body, headers=ADMIN, **more
        )
        assert answer.status_code < 300, answer.text
        is_json = answer.headers.get("content-type") == JSON
        return answer.json() if is_json else answer.text

    async def about_teams(self) -> None:
        one = f"/teams/{(await self.ask('POST', '/teams', {'name': 'studio'}))['id']}"
        await self.ask("GET", "/teams?limit=1")
        await self.ask("PATCH", one, {"monthly_budget": "5", "budget_alerts": [50]})
        for act in ("suspend", "resume", "rotate-secret"):
            await self.ask("POST", f"{one}/{act}")
        await self.ask("POST", f"{one}/credits", {"credits": "7"})
        await self.ask(
            "POST", f"{one}/credits", {"kind": "adjustment", "credits": "-1", "reference": "r"}
        )
        await self.ask("GET", f"{one}/credits")
        await self.ask("GET", f"{one}/export")
        await self.ask("GET", one)
        await self.ask("POST", f"{one}/erase", {"name": "studio"})
        unused = (await self.ask("POST", "/teams", {"name": "unused"}))["id"]
        await self.ask("DELETE", f"/teams/{unused}")

    async def about_keys_and_prices(self, team: Team) -> None:
        body = {"team_id": team.id, "scopes": ["read"], "credit_cap": "1.5"}
        one = f"/keys/{(await self.ask('POST', '/keys', body))['id']}"
        await self.ask("GET", "/keys?limit=1")
        await self.ask("GET", one)
        await self.ask("PATCH", one, {"networks": ["10.0.0.0/8"], "requests_per_minute": 5})
        await self.ask("POST", f"{one}/rotate", {"overlap_seconds": 60})
        await self.ask("POST", f"{one}/revoke")
        price = {"team_id": team.id, "model": MODEL, "credits": {"1K": "1", "2K": "1.25"}}
        made = await self.ask("POST", "/prices", price)
        await self.ask("POST", "/prices", price | {"credits": "2", "from": "2030-01-01T00:00:00Z"})
        await self.ask("GET", "/prices")
        await self.ask("DELETE", f"/prices/{made['id']}")

    async def about_operators(self) -> None:
        made = await self.ask("POST", "/operators", {"name": "ann", "role": "viewer"})
        one = f"/operators/{made['id']}"
        await self.ask("GET", "/me")
        await self.ask("GET", "/operators")
        await self.ask("GET", one)
        await self.ask("PATCH", one, {"role": "finance"})
        await self.ask("PUT", f"{one}/password", {"password": "correct horse battery"})
        async with browser(self.stack) as visitor:
            assert (await visitor.log_in("ann", "correct horse battery")).status_code == 200
            assert (await visitor.call("GET", SESSION)).status_code == 200
            change = {"current_password": "correct horse battery", "password": "a finer password"}
            changed = await visitor.call("POST", f"{SESSION}/password", change)
            assert changed.status_code == 200
            async with browser(self.stack) as other:
                await other.log_in("ann", "a finer password")
                (own, _) = (await other.call("GET", "/sessions")).json()["data"]
                ended = await other.call("DELETE", f"/sessions/{own['id']}")
                assert ended.status_code == 204
            assert (await visitor.call("DELETE", SESSION)).status_code == 204
        await self.ask("DELETE", f"{one}/sessions")
        await self.ask("POST", f"{one}/revoke")

    async def about_upstreams(self) -> None:
        await self.ask("POST", "/upstreams/dear/drain")
        await self.ask("GET", "/upstreams")
        await self.ask("POST", "/upstreams/dear/resume")
        await self.ask("POST", "/catalog/reload")
        await self.ask("GET", "/audit")

    async def about_money(self, team: Team, task_id: str) -> None:
        await self.ask("POST", f"/tasks/{task_id}/refund", {"reference": "it was late"})
        await self.ask("GET", f"/tasks?team_id={team.id}")
        await self.ask("GET", f"/tasks/{task_id}")
        made = await self.stack.client.post(
            "/v1/batches", content=json.dumps(KITE), headers={**team.headers, **JSONL}
        )
        await self.ask("GET", "/batches")
        await self.ask("GET", f"/batches/{made.json()['id']}")
        for month in ("json", "csv"):
            await self.ask("GET", f"/teams/{team.id}/statements/{this_month()}?format={month}")
        for kind in ("json", "csv", "ndjson"):
            await self.ask("GET", f"/usage?by=team,upstream,day&format={kind}")
        invoice = b"task_id,amount\nnobody,1.5\n"
        query = {"upstream": "cheap", "month": this_month()}
        await self.ask("POST", "/invoices/check", params=query, content=invoice)
        (doubt,) = (await self.ask("GET", "/exposure"))["data"]
        await self.ask("POST", f"/exposure/{doubt['id']}/resolve", {"resolution": "free"})


def this_month() -> str:
    return datetime.now(UTC).strftime("%Y-%m")


async def test_every_operation_of_operators_answers_as_documented(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with listening(
        tmp_path, database_url, redis_url, reply(204), admin_key="the-admin-key"
    ) as (stack, _, url):
        team, operator = await stack.team(), Operator(stack)
        stack.simulator.script("dashscope", Script(accept_then="reset", times=1))
        body = {**KITE, "callback_url": url, "provider": {"order": ["dear", "cheap"]}}
        task_id = (await stack.post(team, body)).json()["id"]
        await stack.ended(team, task_id)
        callback = f"/callbacks/{callback_id(task_id)}"
        async with asyncio.timeout(20):
            while (await operator.ask("GET", callback))["state"] != "delivered":
                await asyncio.sleep(0.05)
        await operator.ask("GET", "/callbacks")
        await operator.ask("POST", f"{callback}/replay")
        await operator.about_money(team, task_id)
        await operator.about_teams()
        await operator.about_keys_and_prices(team)
        await operator.about_operators()
        await operator.about_upstreams()
        assert stack.contract.unproven(admin=True) == set()
        stack.contract.assert_differences_are_refused(answers=40)
