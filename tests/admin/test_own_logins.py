"""Operators change their own password, and see and end the logins that are open."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.administration import Role
from gateway.domain.login import OF_NAME
from tests.support.browsers import SESSION, browser, operator
from tests.support.stack import Stack, running_stack

ADMIN = "the-admin-key"
PASSWORD = "correct horse battery"
NEW = "another fine password"
WRONG = "not the right password"
CHANGE = f"{SESSION}/password"
BEARER = {"authorization": f"Bearer {ADMIN}"}


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url, admin_key=ADMIN) as running:
        yield running


def change(current: str = PASSWORD, password: str = NEW) -> dict[str, str]:
    return {"current_password": current, "password": password}


async def audit(stack: Stack) -> list[dict[str, Any]]:
    """Give the lines of the log, newest first."""
    found: list[dict[str, Any]]
    found = (await stack.client.get("/admin/v1/audit", headers=BEARER)).json()["data"]
    return found


# --- one's own password ------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.VIEWER, Role.ADMIN])
async def test_an_operator_changes_its_password_and_its_other_logins_end(
    stack: Stack, role: Role
) -> None:
    operator_id = await operator(stack, role, "ada", PASSWORD)
    await operator(stack, role, "eve", PASSWORD)
    async with browser(stack) as here, browser(stack) as there, browser(stack) as eves:
        for one, name in ((here, "ada"), (there, "ada"), (eves, "eve")):
            assert (await one.log_in(name, PASSWORD)).status_code == 200
        changed = await here.call("POST", CHANGE, change())
        assert changed.status_code == 200, changed.text
        assert changed.json() == {"id": operator_id, "sessions_ended": 1}
        me = [(await one.call("GET", "/me")).status_code for one in (here, there, eves)]
        assert me == [200, 401, 200]
        assert (await there.log_in("ada", PASSWORD)).status_code == 401
        assert (await there.log_in("ada", NEW)).status_code == 200
    lines = await audit(stack)
    (line,) = [one for one in lines if one["action"] == "operator.password" and one["session"]]
    assert (line["actor"], line["subject"], line["after"]) == (
        operator_id,
        operator_id,
        {"sessions_ended": 1},
    )
    assert NEW not in str(lines)


@pytest.mark.parametrize(
    ("body", "param", "legal"),
    [
        ({}, "current_password", "it must be sent"),
        ({"current_password": PASSWORD}, "password", "it must be sent"),
        (change(WRONG), "current_password", "the password you log in with"),
        (change(password="short"), "password", "at least 12 characters and at most 1024 bytes"),
        (change(password="p" * 1025), "password", "at most 1024 characters"),
        (change(password="é" * 600), "password", "at least 12 characters and at most 1024 bytes"),
        (change(password=PASSWORD), "password", "anything else"),
        ({**change(), "password": 7}, "password", "a text of at most 1024 characters"),
        ({**change(), "name": "ada"}, "name", "current_password, password"),
    ],
)
async def test_what_is_wrong_with_a_change_is_named_and_changes_nothing(
    stack: Stack, body: dict[str, Any], param: str, legal: str
) -> None:
    await operator(stack, Role.VIEWER, "ada", PASSWORD)
    async with browser(stack) as one:
        await one.log_in("ada", PASSWORD)
        refused = await one.call("POST", CHANGE, body)
        error = refused.json()["error"]
        assert (refused.status_code, error["param"]) == (400, param), refused.text
        assert legal in error["message"]
        assert (await one.log_in("ada", PASSWORD)).status_code == 200


async def test_a_password_is_no_operators_name(stack: Stack) -> None:
    await operator(stack, Role.VIEWER, "ada lovelace the first", PASSWORD)
    async with browser(stack) as one:
        await one.log_in("ada lovelace the first", PASSWORD)
        refused = await one.call("POST", CHANGE, change(password="Ada Lovelace the First"))
        assert (refused.status_code, "name" in refused.text) == (400, True)


async def test_a_change_needs_the_forgery_token_and_a_login_with_a_password(stack: Stack) -> None:
    await operator(stack, Role.ADMIN, "ada", PASSWORD)
    async with browser(stack) as one:
        assert (await one.call("POST", CHANGE, change())).status_code == 401
        await one.log_in("ada", PASSWORD)
        forged = await one.call("POST", CHANGE, change(), x_csrf_token="wrong")
        assert (forged.status_code, forged.json()["error"]["code"]) == (403, "foreign_request")
        await one.log_in_with_key(ADMIN)
        refused = await one.call("POST", CHANGE, change(ADMIN))
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")
        assert (await one.log_in("ada", PASSWORD)).status_code == 200
    by_token = await stack.client.post(CHANGE, json=change(), headers=BEARER)
    assert by_token.status_code == 404


async def test_guessing_the_current_password_is_throttled_as_logins_are(stack: Stack) -> None:
    operator_id = await operator(stack, Role.VIEWER, "ada", PASSWORD)
    async with browser(stack) as one:
        await one.log_in("ada", PASSWORD)
        # Where she logged in lately her failures count apart, once the name's are used up.
        for _ in range(2 * OF_NAME.allowed):
            assert (await one.call("POST", CHANGE, change(WRONG))).status_code == 400
        for current in (WRONG, PASSWORD):
            refused = await one.call("POST", CHANGE, change(current))
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) >= 1
        assert (await one.call("GET", "/me")).status_code == 200
    lines = [one for one in await audit(stack) if one["action"] == "session.refused"]
    assert [one["subject"] for one in lines] == [operator_id]


async def test_changes_that_succeed_are_not_counted(stack: Stack) -> None:
    await operator(stack, Role.VIEWER, "ada", PASSWORD)
    async with browser(stack) as one:
        await one.log_in("ada", PASSWORD)
        passwords = [PASSWORD, *(f"password number {no}" for no in range(2 * OF_NAME.allowed + 1))]
        for current, new in pairwise(passwords):
            assert (await one.call("POST", CHANGE, change(current, new))).status_code == 200


# --- logins that are open ----------------------------------------------------------------------


async def test_an_operator_sees_its_logins_and_ends_one(stack: Stack) -> None:
    operator_id = await operator(stack, Role.FINANCE, "ada", PASSWORD)
    async with browser(stack) as here, browser(stack, "192.0.2.7") as there:
        await there.log_in("ada", PASSWORD)
        await here.log_in("ada", PASSWORD)
        answer = await here.call("GET", "/sessions")
        listed = answer.json()["data"]
        assert [one["current"] for one in listed] == [True, False]
        assert {one["operator_id"] for one in listed} == {operator_id}
        assert {one["method"] for one in listed} == {"password"}
        for kept_back in (here.token, there.token, here.csrf, "192.0.2.7"):
            assert kept_back not in answer.text
        as_cookie = await here.call("GET", "/me", cookie=f"igw-session={listed[0]['id']}")
        assert as_cookie.status_code == 401

        other = f"/sessions/{listed[1]['id']}"
        assert (await here.call("DELETE", other, x_csrf_token="")).status_code == 403
        ended = await here.call("DELETE", other)
        assert (ended.status_code, "set-cookie" in ended.headers) == (204, False)
        assert (await there.call("GET", "/me")).status_code == 401
        assert (await here.call("DELETE", other)).status_code == 404
        line = (await audit(stack))[0]
        assert (line["action"], line["actor"], line["subject"]) == (
            "session.end",
            operator_id,
            operator_id,
        )
        assert line["after"] == {"session": listed[1]["id"][:12]}

        own = await here.call("DELETE", f"/sessions/{listed[0]['id']}")
        assert (own.status_code, "Max-Age=0" in own.headers["set-cookie"]) == (204, True)
        assert here.token == ""


async def test_only_an_admin_sees_and_ends_the_logins_of_others(stack: Stack) -> None:
    adas = await operator(stack, Role.OPERATOR, "ada", PASSWORD)
    eves = await operator(stack, Role.VIEWER, "eve", PASSWORD)
    async with browser(stack) as ada, browser(stack) as eve, browser(stack) as key:
        for one, name in ((ada, "ada"), (eve, "eve")):
            await one.log_in(name, PASSWORD)
        await key.log_in_with_key(ADMIN)
        refused = await ada.call("GET", f"/sessions?operator_id={eves}")
        assert (refused.status_code, "operators" in refused.text) == (403, True)
        own = await ada.call("GET", f"/sessions?operator_id={adas}")
        assert len(own.json()["data"]) == 1
        (hers,) = (await key.call("GET", f"/sessions?operator_id={eves}")).json()["data"]
        assert (hers["operator_id"], hers["current"]) == (eves, False)
        (keys,) = (await key.call("GET", "/sessions")).json()["data"]
        assert (keys["operator_id"], keys["current"]) == ("admin-key", True)

        told = [
            (await ada.call("DELETE", f"/sessions/{asked}")).json()["error"]["message"]
            for asked in (hers["id"], keys["id"], "ses_none")
        ]
        assert told == [
            f"There is no open login '{asked}'." for asked in (hers["id"], keys["id"], "ses_none")
        ]
        assert (await eve.call("GET", "/me")).status_code == 200
        assert (await key.call("DELETE", f"/sessions/{hers['id']}")).status_code == 204
        assert (await eve.call("GET", "/me")).status_code == 401
    nobody = await stack.client.get("/admin/v1/sessions?operator_id=op_none", headers=BEARER)
    assert (nobody.status_code, "op_none" in nobody.text) == (404, True)
    by_key = await stack.client.get("/admin/v1/sessions?operator_id=admin-key", headers=BEARER)
    assert [one["id"] for one in by_key.json()["data"]] == [keys["id"]]


async def test_logins_are_listed_in_pages(stack: Stack) -> None:
    await operator(stack, Role.VIEWER, "ada", PASSWORD)
    async with browser(stack) as one:
        await one.log_in("ada", PASSWORD)
        for _ in range(2):
            async with browser(stack) as other:
                await other.log_in("ada", PASSWORD)
        whole = (await one.call("GET", "/sessions")).json()["data"]
        paged: list[Any] = []
        cursor = ""
        while len(paged) < 9:
            page = (await one.call("GET", f"/sessions?limit=1{cursor}")).json()
            paged += page["data"]
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert paged == whole
        assert len(paged) == 3
        bad = await one.call("GET", "/sessions?cursor=none")
        assert (bad.status_code, bad.json()["error"]["param"]) == (400, "cursor")
