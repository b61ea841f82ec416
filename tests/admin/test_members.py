"""Members read their own team by every route there is for it, and nothing of any other team."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.administration import Permission, Role
from gateway.domain.money import MICRO
from gateway.http.admin.routes import AdminRoute, Confined
from gateway.http.admin.table import ROUTES
from tests.support.browsers import browser
from tests.support.stack import MODEL, Stack, Team, running_stack

ADMIN = "the-admin-key"
PASSWORD = "correct horse battery"
HOOK = "https://127.0.0.1:9/{name}"
ASKING = [route for route in ROUTES if route.permission is not None]
CONFINED = [route for route in ASKING if route.team is not None]


@dataclass
class Kept:
    """A team with one of everything, by how paths name it."""

    name: str
    ids: dict[str, str]

    @property
    def marks(self) -> list[str]:
        """What no other team's member may ever see."""
        return [self.name, f"key of {self.name}", *self.ids.values()]


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path,
        database_url,
        redis_url,
        admin_key=ADMIN,
        callback_allowed_hosts="127.0.0.1:9",
    ) as running:
        yield running


async def kept(stack: Stack, name: str) -> Kept:
    """Make a team, a key, a finished task whose callback failed, a finished batch, a grant."""
    gateway = stack.gateway
    made = await gateway.ledger.create_team(name)
    await gateway.ledger.grant(made.id, 100 * MICRO, f"order of {name}")
    key, text = await gateway.keys.create(made.id, f"key of {name}")
    team = Team(made.id, name, text, made.webhook_secret)
    body = {"model": MODEL, "prompt": "a kite", "callback_url": HOOK.format(name=name)}
    task = (await stack.post(team, body)).json()
    await stack.ended(team, task["id"])
    async with asyncio.timeout(10):
        while not (found := await gateway.outbox.of_task(task["id"])):
            await asyncio.sleep(0.05)
    batch_id = await finished_batch(stack, team)
    ids = {"team_id": made.id, "key_id": key.id, "task_id": task["id"], "callback_id": found[0].id}
    return Kept(name, {**ids, "batch_id": batch_id})


async def finished_batch(stack: Stack, team: Team) -> str:
    """Make a batch of one line; gives its id once it has ended."""
    line = json.dumps({"model": MODEL, "prompt": "a kite"})
    headers = {**team.headers, "content-type": "application/jsonl"}
    made = await stack.client.post("/v1/batches", content=line, headers=headers)
    path = f"/v1/batches/{made.json()['id']}"
    async with asyncio.timeout(20):
        while (await stack.get(team, path)).json()["status"] != "completed":
            await asyncio.sleep(0.05)
    return str(made.json()["id"])


async def call(stack: Stack, token: str, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return await stack.client.request(method, f"/admin/v1{path}", headers=headers, **options)


async def member(stack: Stack, team: Kept, name: str = "max") -> str:
    body = {"name": name, "role": "member", "team_id": team.ids["team_id"]}
    answer = await call(stack, ADMIN, "POST", "/operators", json=body)
    assert answer.status_code == 201, answer.text
    assert answer.json()["team_id"] == team.ids["team_id"]
    return str(answer.json()["token"])


def path_of(route: AdminRoute, about: Kept) -> str:
    known = {**about.ids, "month": f"{datetime.now(UTC):%Y-%m}", "name": "cheap"}
    path = route.path
    while "{" in path:
        name = path[path.index("{") + 1 : path.index("}")]
        path = path.replace(f"{{{name}}}", known.get(name, "none"))
    return path


def queries_of(route: AdminRoute, about: Kept) -> list[dict[str, str]]:
    """Give queries that name a team in every way the route knows; the last names none."""
    found = []
    for name, value in (
        ("team_id", about.ids["team_id"]),
        ("team", about.ids["team_id"]),
        ("team", about.name),
        ("key", about.ids["key_id"]),
        ("key", f"key of {about.name}"),
        ("subject", about.ids["team_id"]),
    ):
        if name in route.query:
            found.append({name: value})
    return [*found, {}]


@dataclass
class Asked:
    """One call, and what a member was told."""

    route: AdminRoute
    query: dict[str, str]
    path: str
    answer: httpx.Response

    def judge(self, other: Kept) -> None:
        """Fail unless the answer is the refusal that fits, without a word of the other team."""
        status, text = self.answer.status_code, self.answer.text
        where = f"{self.route.method} {self.path} {self.query}: {status} {text[:300]}"
        # What was asked about is named in a refusal, as it would be if it were nowhere.
        known = f"{self.path} {self.query}"
        assert [mark for mark in other.marks if mark in text and mark not in known] == [], where
        if self.route.team is None:
            assert status == 403, where
            assert self.route.permission.value in self.answer.json()["error"]["message"], where
        elif "{" in self.route.path or {"team", "team_id"} & set(self.query):
            assert status == 404, where
        elif "key" in self.query:
            assert status == 400, where


def calls_about(other: Kept) -> list[tuple[AdminRoute, dict[str, str], str, Any]]:
    """Give every call there is about a team: the route, the query, the path, the body."""
    return [
        (
            route,
            query,
            f"{path_of(route, other)}?{httpx.QueryParams(query)}",
            {"team_id": other.ids["team_id"]} if route.body is not None else None,
        )
        for route in ASKING
        if (route.method, route.path) != ("DELETE", "/session")
        for query in queries_of(route, other)
    ]


async def test_no_route_shows_a_members_token_anything_of_another_team(stack: Stack) -> None:
    own, other = await kept(stack, "atelier"), await kept(stack, "bureau")
    token = await member(stack, own)
    before = (await call(stack, ADMIN, "GET", "/audit")).json()
    for route, query, path, body in calls_about(other):
        answer = await call(stack, token, route.method, path, json=body)
        Asked(route, query, path, answer).judge(other)
    assert (await call(stack, ADMIN, "GET", "/audit")).json() == before


async def test_no_route_shows_a_members_login_anything_of_another_team(stack: Stack) -> None:
    own, other = await kept(stack, "atelier"), await kept(stack, "bureau")
    await member(stack, own)
    logins = stack.gateway.core.admin.logins
    await logins.set_password(await logins.operator_named("max") or "", PASSWORD)
    async with browser(stack) as one:
        assert (await one.log_in("max", PASSWORD)).status_code == 200
        for route, query, path, body in calls_about(other):
            answer = await one.call(route.method, path, body)
            Asked(route, query, path, answer).judge(other)
        assert (await one.call("DELETE", "/session")).status_code == 204


async def test_the_same_calls_show_an_admin_all_there_is_to_see(stack: Stack) -> None:
    other = await kept(stack, "bureau")
    reads = [path for route, _, path, _ in calls_about(other) if route.method == "GET"]
    shown = "".join([(await call(stack, ADMIN, "GET", path)).text for path in reads])
    assert [mark for mark in other.marks if mark not in shown] == []


async def test_a_member_reads_its_own_team(stack: Stack) -> None:
    own = await kept(stack, "atelier")
    await kept(stack, "bureau")
    token = await member(stack, own)
    for route in CONFINED:
        if route.method != "GET" or route.path in ("/session", "/sessions"):
            continue
        for query in queries_of(route, own):
            if query.get("team") == own.name:
                continue
            answer = await call(stack, token, "GET", path_of(route, own), params=query)
            assert answer.status_code == 200, f"{route.path} {query}: {answer.text}"
            if route.path != "/me":
                assert any(mark in answer.text for mark in own.marks), route.path
                assert "bureau" not in answer.text
    me = (await call(stack, token, "GET", "/me")).json()
    assert (me["role"], me["permissions"]) == ("member", ["team"])
    assert me["team_id"] == own.ids["team_id"]
    listed = (await call(stack, token, "GET", "/tasks")).json()["data"]
    line = f"task-{own.ids['batch_id']}-1"
    assert [task["id"] for task in listed] == [line, own.ids["task_id"]]
    for query, count in (
        ({"status": "completed"}, 2),
        ({"status": "failed"}, 0),
        ({"model": MODEL, "limit": "1"}, 1),
    ):
        found = await call(stack, token, "GET", "/tasks", params=query)
        assert len(found.json()["data"]) == count
    (batch,) = (await call(stack, token, "GET", "/batches")).json()["data"]
    assert batch == (await call(stack, token, "GET", f"/batches/{own.ids['batch_id']}")).json()
    assert (batch["lines"]["completed"], batch["credits_charged"]) == (1, "1.5")
    assert (await call(stack, token, "GET", "/batches?status=paused")).json()["data"] == []


def test_only_reading_is_confined_but_for_a_members_own_login() -> None:
    writes = [(route.method, route.path) for route in CONFINED if route.method != "GET"]
    assert writes == [
        ("DELETE", "/session"),
        ("POST", "/session/password"),
        ("DELETE", "/sessions/{session_id}"),
    ]
    assert {route.permission for route in CONFINED} == {Permission.READ}
    for route in CONFINED:
        if route.team in (Confined.TEAM, Confined.TEAM_ID):
            assert {"team", "team_id"} & set(route.query)


async def test_what_is_not_ours_is_told_as_what_is_not_there(stack: Stack) -> None:
    own, other = await kept(stack, "atelier"), await kept(stack, "bureau")
    token = await member(stack, own)
    for route in CONFINED:
        for name, there in other.ids.items():
            if f"{{{name}}}" not in route.path:
                continue
            nowhere = there[:-3] + "000"
            path = path_of(route, other)
            told = [
                (await call(stack, token, "GET", path.replace(there, asked))).text.replace(
                    asked, "…"
                )
                for asked in (there, nowhere)
            ]
            without_ids = [{**json.loads(text)["error"], "request_id": None} for text in told]
            assert without_ids[0] == without_ids[1], route.path


async def test_a_member_needs_a_team_and_nobody_else_has_one(stack: Stack) -> None:
    own = await kept(stack, "atelier")
    token = await member(stack, own)
    made = (await call(stack, ADMIN, "GET", "/operators")).json()["data"][0]
    path, team_id = f"/operators/{made['id']}", own.ids["team_id"]
    for body, status, param in (
        ({"name": "eva", "role": "member"}, 400, "team_id"),
        ({"name": "eva", "role": "viewer", "team_id": team_id}, 400, "team_id"),
        ({"name": "eva", "role": "member", "team_id": "team_none"}, 404, None),
        ({"name": "eva", "role": "member", "team_id": 7}, 400, "team_id"),
    ):
        answer = await call(stack, ADMIN, "POST", "/operators", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        if "name" in body:
            changes = {name: body[name] for name in body if name != "name"}
            changed = await call(stack, ADMIN, "PATCH", path, json=changes)
            assert changed.status_code == status, changed.text
    answer = await call(stack, ADMIN, "PATCH", path, json={"role": "viewer"})
    assert (answer.json()["role"], answer.json()["team_id"]) == ("viewer", None)
    assert (await call(stack, token, "GET", "/teams")).status_code == 200
    back = {"role": "member", "team_id": team_id}
    assert (await call(stack, ADMIN, "PATCH", path, json=back)).json()["team_id"] == team_id
    assert (await call(stack, token, "GET", "/teams")).status_code == 403


async def test_a_team_that_is_deleted_takes_its_members_along(stack: Stack) -> None:
    made = await stack.gateway.ledger.create_team("unused")
    token = await member(stack, Kept("unused", {"team_id": made.id}))
    assert (await call(stack, token, "GET", "/me")).status_code == 200
    assert (await call(stack, ADMIN, "DELETE", f"/teams/{made.id}")).status_code == 204
    assert (await call(stack, token, "GET", "/me")).status_code == 401


async def test_commands_make_members(
    stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    team = await stack.gateway.ledger.create_team("atelier")

    async def run(*words: str) -> Any:
        command = ["operator", *words, "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        last = (result.stdout if result.exit_code == 0 else result.stderr).splitlines()[-1]
        return json.loads(last)

    made = await run("create", "max", "--role", "member", "--team", "atelier")
    assert (made["role"], made["team_id"]) == (Role.MEMBER, team.id)
    assert (await call(stack, made["token"], "GET", f"/teams/{team.id}")).status_code == 200
    assert (await run("role", made["id"], "viewer"))["team_id"] is None
    assert (await run("role", made["id"], "member", "--team", "atelier"))["team_id"] == team.id
    assert "team" in (await run("create", "eva", "--role", "member"))["error"]
    assert (
        "nothing" in (await run("create", "eva", "--role", "member", "--team", "nothing"))["error"]
    )
