"""Logging in with a password or the admin key: cookies, tokens against forgery, ends, audit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.domain.administration import Role
from tests.support.browsers import SESSION, browser
from tests.support.browsers import operator as make_operator
from tests.support.stack import CONFIGURATION, Stack, running_gateway, running_stack

ADMIN = "the-admin-key"
PASSWORD = "correct horse battery"
BEARER = {"authorization": f"Bearer {ADMIN}"}


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url, admin_key=ADMIN) as running:
        yield running


async def operator(stack: Stack, role: Role = Role.ADMIN) -> str:
    """Make the operator ada; gives its id."""
    return await make_operator(stack, role, "ada", PASSWORD)


async def audit(stack: Stack, prefix: str = "session.") -> list[dict[str, Any]]:
    """Give the lines of the log about logins, oldest first."""
    answer = await stack.client.get("/admin/v1/audit", headers=BEARER)
    return [one for one in answer.json()["data"][::-1] if one["action"].startswith(prefix)]


# --- logging in and out ------------------------------------------------------------------------


async def test_the_admin_key_logs_in_at_a_gateway_that_has_no_operators(stack: Stack) -> None:
    async with browser(stack) as one:
        assert (await one.call("GET", SESSION)).status_code == 401
        answer = await one.log_in_with_key(ADMIN)
        assert answer.status_code == 200, answer.text
        told = (await one.call("GET", SESSION)).json()
        assert (told["id"], told["role"], told["method"]) == ("admin-key", "admin", "admin_key")
        assert told["csrf_token"] == one.csrf
        assert "operators" in told["permissions"]
        assert (await one.call("POST", "/teams", {"name": "studio"})).status_code == 201
        (made,) = await audit(stack, "team.")
        assert made["actor_name"] == "admin key"
        assert made["session"].startswith("ses_")


async def test_an_operator_logs_in_with_a_password_and_out(stack: Stack) -> None:
    operator_id = await operator(stack, Role.FINANCE)
    async with browser(stack) as one:
        answer = await one.log_in("ada", PASSWORD)
        told = answer.json()
        assert (told["id"], told["name"], told["role"]) == (operator_id, "ada", "finance")
        assert told["permissions"] == ["read", "money"]
        assert answer.headers["cache-control"] == "no-store"
        refused = await one.call("POST", "/teams", {"name": "studio"})
        assert refused.status_code == 403
        assert "manage" in refused.json()["error"]["message"]
        token = one.token
        left = await one.call("DELETE", SESSION)
        assert left.status_code == 204
        assert "Max-Age=0" in left.headers["set-cookie"]
        assert one.token == ""
        stale = await one.call("GET", "/me", cookie=f"igw-session={token}")
        assert stale.status_code == 401
    lines = await audit(stack)
    assert [(one["action"], one["subject"], one["actor_name"]) for one in lines] == [
        ("session.login", operator_id, "ada"),
        ("session.logout", operator_id, "ada"),
    ]
    assert lines[0]["session"] == lines[1]["session"]
    assert lines[0]["after"] == {"method": "password", "address": "127.0.0.1"}
    assert token not in json.dumps(lines)


async def test_a_login_is_a_new_session_whatever_cookie_was_there(stack: Stack) -> None:
    await operator(stack)
    async with browser(stack) as one:
        one.client.cookies.set("igw-session", "se-igw-planted", domain="127.0.0.1")
        await one.log_in("ada", PASSWORD)
        first = one.token
        assert first != "se-igw-planted"
        await one.log_in("ada", PASSWORD)
        assert one.token not in ("", first)
        assert (await one.call("GET", "/me", cookie=f"igw-session={first}")).status_code == 401


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "name"),
        ({"name": "ada"}, "password"),
        ({"password": PASSWORD}, "name"),
        ({"name": ["ada"], "password": PASSWORD}, "name"),
        ({"name": "ada", "password": 7}, "password"),
        ({"name": "ada", "password": "p" * 1025}, "password"),
        ({"name": "ada", "admin_key": ADMIN}, "name"),
        ({"admin_key": "k" * 999}, "admin_key"),
        ({"name": "ada", "password": PASSWORD, "remember": True}, "remember"),
    ],
)
async def test_what_is_wrong_with_a_login_is_named(
    stack: Stack, body: dict[str, Any], param: str
) -> None:
    answer = await stack.client.post(SESSION, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_token_has_no_session_to_show_or_end(stack: Stack) -> None:
    for method in ("GET", "DELETE"):
        answer = await stack.client.request(method, SESSION, headers=BEARER)
        assert (answer.status_code, "/me" in answer.text) == (404, True)


async def test_without_an_admin_key_no_text_is_one(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(tmp_path, database_url, redis_url) as keyless:
        for key in ("", "any"):
            assert (await keyless.client.post(SESSION, json={"admin_key": key})).status_code == 401


# --- cookies and forgery -----------------------------------------------------------------------

SECURE = "__Host-igw-session"
PLAIN = "igw-session"
PROXIED = {"x-forwarded-proto": "https", "host": "images.example.com"}


@pytest.mark.parametrize(
    ("public_url", "headers", "cookie"),
    [
        (None, {}, PLAIN),
        (None, {"host": "localhost:8080"}, PLAIN),
        (None, {"host": "[::1]:8080"}, PLAIN),
        (None, PROXIED, SECURE),
        ("https://images.example.com", {}, SECURE),
        ("https://images.example.com", {"host": "images.example.com"}, SECURE),
        ("http://127.0.0.1:8080", {}, PLAIN),
        (None, {"host": "10.0.0.7:8080"}, None),
        (None, {"host": "images.example.com"}, None),
        ("http://images.example.com", {"host": "images.example.com"}, None),
    ],
)
async def test_a_cookie_is_secure_unless_it_stays_on_the_machine(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    public_url: str | None,
    headers: dict[str, str],
    cookie: str | None,
) -> None:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key=ADMIN, public_url=public_url
    ) as stack:
        answer = await stack.client.post(SESSION, json={"admin_key": ADMIN}, headers=headers)
        if cookie is None:
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "foreign_request")
            assert "https" in answer.json()["error"]["message"]
            assert "set-cookie" not in answer.headers
            return
        name, _, rest = answer.headers["set-cookie"].partition("=")
        token, *attributes = rest.split("; ")
        secure = ["Secure"] if cookie == SECURE else []
        expected = ["Path=/", "Max-Age=604800", "HttpOnly", "SameSite=Lax", *secure]
        assert (name, attributes) == (cookie, expected)
        stack.client.cookies.clear()
        for sent in (SECURE, PLAIN):
            me = await stack.client.get(
                "/admin/v1/me", headers={**headers, "cookie": f"{sent}={token}"}
            )
            assert me.status_code == (200 if sent == cookie else 401)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"origin": "http://{host}"}, 201),
        ({"origin": "http://{host}", "sec_fetch_site": "same-origin"}, 201),
        ({"x_csrf_token": ""}, 403),
        ({"x_csrf_token": "wrong"}, 403),
        ({"x_csrf_token": "wröng"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "https://{host}"}, 403),
        ({"origin": "null"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
    ],
)
async def test_a_write_by_a_login_must_come_from_our_own_page(
    stack: Stack, headers: dict[str, str], status: int
) -> None:
    host = stack.url.removeprefix("http://")
    sent = {name: value.format(host=host) for name, value in headers.items()}
    async with browser(stack) as one:
        await one.log_in_with_key(ADMIN)
        answer = await one.call("POST", "/teams", {"name": "studio"}, **sent)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert answer.json()["error"]["code"] == "foreign_request"
            assert (await one.call("GET", "/teams")).json()["data"] == []
            # Reading needs none of it, for no other site can see the answer.
            assert (await one.call("GET", "/teams", **sent)).status_code == 200


async def test_another_logins_token_is_none(stack: Stack) -> None:
    async with browser(stack) as one, browser(stack) as other:
        await one.log_in_with_key(ADMIN)
        await other.log_in_with_key(ADMIN)
        one.csrf = other.csrf
        assert (await one.call("POST", "/teams", {"name": "studio"})).status_code == 403


async def test_no_other_site_logs_a_browser_in(stack: Stack) -> None:
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        answer = await stack.client.post(SESSION, json={"admin_key": ADMIN}, headers=headers)
        assert (answer.status_code, "set-cookie" in answer.headers) == (403, False)


async def test_a_bearer_needs_no_token_and_wins_over_a_cookie(stack: Stack) -> None:
    await operator(stack, Role.VIEWER)
    async with browser(stack) as one:
        await one.log_in("ada", PASSWORD)
        one.csrf = ""
        answer = await one.call("POST", "/teams", {"name": "studio"}, **BEARER, origin="http://e.x")
        assert answer.status_code == 201
        wrong = await one.call("GET", "/me", authorization="Bearer nothing")
        assert wrong.status_code == 401


# --- ends --------------------------------------------------------------------------------------


async def test_what_an_operator_may_do_counts_at_once_in_every_process(
    tmp_path: Path, database_url: str, redis_url: str, stack: Stack
) -> None:
    operator_id = await operator(stack, Role.VIEWER)
    names = ("evolink", "dashscope", "openai", "modelverse", "qingbo", "fal", "replicate")
    urls = {name: stack.simulator.base_url(name) for name in names}
    text = CONFIGURATION.format(**urls)
    folder = tmp_path / "other"
    folder.mkdir()
    async with (
        running_gateway(
            folder, database_url, redis_url, text, stack.simulator, admin_key=ADMIN
        ) as other,
        browser(stack) as here,
        browser(other) as there,
    ):
        await here.log_in("ada", PASSWORD)
        there.csrf = here.csrf
        there.client.cookies.set("igw-session", here.token, domain="127.0.0.1")
        path = f"/admin/v1/operators/{operator_id}"

        assert (await there.call("POST", "/teams", {"name": "studio"})).status_code == 403
        await stack.client.patch(path, json={"role": "operator"}, headers=BEARER)
        assert (await there.call("POST", "/teams", {"name": "studio"})).status_code == 201
        await stack.client.post(f"{path}/revoke", headers=BEARER)
        assert (await there.call("GET", "/me")).status_code == 401
        assert (await here.call("GET", "/me")).status_code == 401
        assert (await here.log_in("ada", PASSWORD)).status_code == 401


async def test_all_logins_of_an_operator_are_ended_and_a_new_password_ends_them_too(
    stack: Stack,
) -> None:
    operator_id = await operator(stack)
    path = f"/admin/v1/operators/{operator_id}"
    async with browser(stack) as one, browser(stack) as two:
        for each in (one, two):
            await each.log_in("ada", PASSWORD)
        ended = await stack.client.delete(f"{path}/sessions", headers=BEARER)
        assert ended.json() == {"id": operator_id, "sessions_ended": 2}
        assert [(await each.call("GET", "/me")).status_code for each in (one, two)] == [401, 401]

        await one.log_in("ada", PASSWORD)
        body = {"password": "another fine password"}
        changed = await stack.client.put(f"{path}/password", json=body, headers=BEARER)
        assert (changed.status_code, changed.text) == (204, "")
        assert (await one.call("GET", "/me")).status_code == 401
        assert (await one.log_in("ada", PASSWORD)).status_code == 401
        assert (await one.log_in("ada", body["password"])).status_code == 200
        own = await one.call("PUT", f"/operators/{operator_id}/password", {"password": PASSWORD})
        assert own.status_code == 204
        assert (await one.call("GET", "/me")).status_code == 401
    for password, named in (("short", "at least 12"), ("p" * 1025, "1024"), (7, "text")):
        wrong = await stack.client.put(
            f"{path}/password", json={"password": password}, headers=BEARER
        )
        assert (wrong.status_code, named in wrong.text) == (400, True), wrong.text
    lines = json.dumps(await audit(stack, ""))
    assert "operator.password" in lines
    assert "operator.end_sessions" in lines
    assert "another fine password" not in lines


async def test_a_command_sets_a_password(
    stack: Stack, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    operator_id = await operator(stack)

    async def run(who: str, typed: str, *more: str) -> Any:
        words = ["operator", "password", who, *more]
        return await asyncio.to_thread(CliRunner().invoke, app, words, input=typed)

    async with browser(stack) as one:
        for who, typed, more in (
            ("ada", "a new password 1\n", ("--stdin",)),
            (operator_id, "a new password 2\na new password 2\n", ()),
        ):
            done = await run(who, typed, *more)
            assert done.exit_code == 0, done.output
            assert "a new password" not in done.output
            assert (await one.log_in("ada", typed.splitlines()[0])).status_code == 200
    for who, typed, named in (("ada", "short\n", "12"), ("nobody", PASSWORD, "nobody")):
        failed = await run(who, typed, "--stdin")
        assert (failed.exit_code, named in failed.stderr) == (1, True), failed.output
