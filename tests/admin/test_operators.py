"""Operators: what each role may do, by every route there is; tokens made, changed and ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.administration import Permission, Role
from gateway.http.admin.table import ROUTES
from tests.support.stack import Stack, running_stack

ADMIN = "the-admin-key"


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url, admin_key=ADMIN) as running:
        yield running


async def call(
    stack: Stack, token: str, method: str, path: str, body: Any = None, **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"authorization": f"Bearer {token}", **named}
    return await stack.client.request(method, f"/admin/v1{path}", json=body, headers=sent)


async def operator(stack: Stack, role: Role, name: str = "ada") -> dict[str, Any]:
    answer = await call(stack, ADMIN, "POST", "/operators", {"name": name, "role": role.value})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


# What a member may call is confined to its team: tests/admin/test_members.py.
@pytest.mark.parametrize("role", [role for role in Role if role is not Role.MEMBER])
async def test_a_role_may_call_exactly_the_routes_of_its_permissions(
    stack: Stack, role: Role
) -> None:
    team = await stack.team()
    made = await operator(stack, role)
    me = (await call(stack, made["token"], "GET", "/me")).json()
    assert (me["id"], me["name"], me["role"]) == (made["id"], "ada", role.value)
    before = await state(stack)
    refused = set()
    asking = [route for route in ROUTES if route.permission is not None]
    for route in asking:
        path = route.path.replace("{name}", "nobody").replace("{month}", "2026-01")
        while "{" in path:
            path = path[: path.index("{")] + "none" + path[path.index("}") + 1 :]
        # What is allowed is called without a body, or about something that is not there.
        if route.permission is Permission.READ or not role.may(route.permission):
            answer = await call(stack, made["token"], route.method, path, {"team_id": team.id})
            if answer.status_code == 403:
                assert answer.json()["error"]["code"] == "not_allowed"
                refused.add((route.method, route.path))
    assert refused == {(r.method, r.path) for r in asking if not role.may(r.permission)}
    assert await state(stack) == before


async def state(stack: Stack) -> list[Any]:
    """Give what writes would change."""
    read = ("/teams", "/keys", "/prices", "/operators", "/upstreams", "/audit")
    return [(await call(stack, ADMIN, "GET", path)).json()["data"] for path in read]


async def test_a_change_names_its_operator_in_the_audit_log(stack: Stack) -> None:
    made = await operator(stack, Role.OPERATOR)
    answer = await call(stack, made["token"], "POST", "/teams", {"name": "studio"})
    assert answer.status_code == 201
    log = (await call(stack, ADMIN, "GET", f"/audit?actor={made['id']}")).json()["data"]
    assert [(one["action"], one["actor_name"]) for one in log] == [("team.create", "ada")]


async def test_a_role_is_changed_and_a_token_ended_at_once(stack: Stack) -> None:
    made = await operator(stack, Role.VIEWER)
    path, team = f"/operators/{made['id']}", {"name": "studio"}
    assert (await call(stack, made["token"], "POST", "/teams", team)).status_code == 403
    stale = await call(stack, ADMIN, "PATCH", path, {"role": "operator"}, if_match='"7"')
    assert stale.status_code == 412
    changed = await call(stack, ADMIN, "PATCH", path, {"role": "operator"}, if_match='"1"')
    assert (changed.json()["role"], changed.headers["etag"]) == ("operator", '"2"')
    assert (await call(stack, made["token"], "POST", "/teams", team)).status_code == 201

    ended = await call(stack, ADMIN, "POST", f"{path}/revoke")
    assert ended.json()["revoked_at"] is not None
    assert (await call(stack, ADMIN, "POST", f"{path}/revoke")).json() == ended.json()
    assert (await call(stack, made["token"], "GET", "/me")).status_code == 401
    log = (await call(stack, ADMIN, "GET", f"/audit?subject={made['id']}")).json()["data"]
    assert [one["action"] for one in log] == [
        "operator.revoke",
        "operator.update",
        "operator.create",
    ]
    assert made["token"] not in json.dumps(log)


async def test_a_repeated_create_makes_one_operator_with_one_token(stack: Stack) -> None:
    body = {"name": "ada", "role": "finance"}
    answers = await asyncio.gather(
        *(call(stack, ADMIN, "POST", "/operators", body, idempotency_key="k") for _ in range(4))
    )
    assert len({answer.text for answer in answers}) == 1
    listed = (await call(stack, ADMIN, "GET", "/operators")).json()["data"]
    assert [one["name"] for one in listed] == ["ada"]
    assert "token" not in listed[0]
    taken = await call(stack, ADMIN, "POST", "/operators", body)
    assert (taken.status_code, taken.json()["error"]["code"]) == (409, "name_taken")


async def test_what_is_wrong_is_named(stack: Stack) -> None:
    for body, param in (
        ({"name": "ada", "role": "king"}, "role"),
        ({"name": "ada", "role": ""}, "role"),
        ({"name": "ada", "role": ["admin"]}, "role"),
        ({"name": "ada"}, "role"),
        ({"role": "viewer"}, "name"),
        ({"name": " ", "role": "viewer"}, "name"),
        ({"name": "ada", "role": "viewer", "colour": 1}, "colour"),
    ):
        answer = await call(stack, ADMIN, "POST", "/operators", body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert (await call(stack, ADMIN, "GET", "/operators/none")).status_code == 404
    assert (
        await call(stack, ADMIN, "PATCH", "/operators/none", {"role": "admin"})
    ).status_code == 404


async def test_a_mistyped_token_is_refused_without_a_look(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await operator(stack, Role.ADMIN)
    token = made["token"]
    typo = token[:-9] + ("a" if token[-9] != "a" else "b") + token[-8:]

    async def read(*_: object) -> Any:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(stack.gateway.database, "read", read)
    assert (await call(stack, typo, "GET", "/me")).status_code == 401
    assert (await call(stack, "op-igw-", "GET", "/me")).status_code == 401


async def test_a_teams_key_is_no_operator(stack: Stack) -> None:
    team = await stack.team()
    assert (await call(stack, team.key, "GET", "/me")).status_code == 401
    made = await operator(stack, Role.ADMIN)
    answer = await stack.client.get(
        "/v1/models", headers={"authorization": f"Bearer {made['token']}"}
    )
    assert answer.status_code == 401


async def test_commands_make_change_and_end_operators(
    stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)

    async def run(*words: str) -> tuple[int, Any]:
        command = ["operator", *words, "--json"]
        result = await asyncio.to_thread(CliRunner().invoke, app, command)
        last = (result.stdout if result.exit_code == 0 else result.stderr).splitlines()[-1]
        return result.exit_code, json.loads(last)

    code, made = await run("create", "night watch", "--role", "viewer")
    assert code == 0
    assert (await call(stack, made["token"], "GET", "/teams")).status_code == 200
    assert (await run("role", made["id"], "admin"))[1]["role"] == "admin"
    assert (await call(stack, made["token"], "GET", "/me")).json()["role"] == "admin"
    assert (await run("revoke", made["id"]))[1]["revoked_at"]
    assert (await call(stack, made["token"], "GET", "/me")).status_code == 401
    assert [one["name"] for one in (await run("list"))[1]] == ["night watch"]
    for words, named in (
        (("create", "x", "--role", "king"), "--role"),
        (("role", "none", "admin"), "none"),
        (("create", "night watch", "--role", "viewer"), "night watch"),
    ):
        code, error = await run(*words)
        assert (code, named in error["error"]) == (1, True), error
