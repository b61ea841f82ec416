"""Logging in at an issuer that answers well: who comes in, as what, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.settings import Settings, SettingsError
from tests.support.browsers import SESSION, Browser, browser
from tests.support.issuer import CLIENT_ID, CLIENT_SECRET, FakeIssuer, ec_key, issuer, parameters
from tests.support.stack import Stack, running_stack

ADMIN = "the-admin-key"
BEARER = {"authorization": f"Bearer {ADMIN}"}
LOGIN = "/admin/v1/oidc/login"
ROLES = "platform=admin,finance=finance,artists=member:atelier"
PAGE = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
async def fake() -> AsyncIterator[FakeIssuer]:
    async with issuer() as running:
        yield running


def configured(fake: FakeIssuer, **more: Any) -> dict[str, Any]:
    """Give the settings of a gateway whose operators log in there."""
    settings = {
        "admin_key": ADMIN,
        "oidc_issuer": fake.url,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
        "oidc_roles": ROLES,
        "oidc_allow_http": True,
    }
    return {**settings, **more}


@pytest.fixture
async def stack(
    tmp_path: Path, database_url: str, redis_url: str, fake: FakeIssuer
) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url, **configured(fake)) as running:
        yield running


async def logged_in(one: Browser, path: str = LOGIN, **headers: str) -> httpx.Response:
    """Follow a browser to the issuer and back; gives what it is answered in the end."""
    begun = await one.call("GET", path, **headers)
    if begun.status_code != 302:
        return begun
    back = await one.client.get(begun.headers["location"])
    assert back.status_code == 302, back.text
    return await one.call("GET", back.headers["location"], **headers)


async def who(one: Browser) -> dict[str, Any]:
    answer = await one.call("GET", SESSION)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    one.csrf = found["csrf_token"]
    return found


async def audit(stack: Stack, actor: str) -> list[dict[str, Any]]:
    answer = await stack.client.get(f"/admin/v1/audit?actor={actor}", headers=BEARER)
    lines: list[dict[str, Any]] = answer.json()["data"][::-1]
    return lines


async def test_somebody_comes_in_and_is_an_operator_from_then_on(
    stack: Stack, fake: FakeIssuer, capfd: pytest.CaptureFixture[str]
) -> None:
    async with browser(stack) as one:
        answer = await logged_in(one, f"{LOGIN}?next=/console%3Ftab%3D1")
        assert (answer.status_code, answer.headers["location"]) == (303, "/console?tab=1")
        first = await who(one)
        assert (first["name"], first["role"], first["method"]) == ("ada", "admin", "oidc")
        assert (await one.call("POST", "/teams", {"name": "studio"})).status_code == 201
        assert one.client.cookies.get("igw-oidc") is None
        await logged_in(one)
        assert (await who(one))["id"] == first["id"]
        session = one.token
    (operator,) = (await stack.client.get("/admin/v1/operators", headers=BEARER)).json()["data"]
    assert (operator["id"], operator["ends_with"]) == (first["id"], "")
    lines = await audit(stack, first["id"])
    assert [line["action"] for line in lines] == [
        "operator.create",
        "session.login",
        "team.create",
        "session.login",
    ]
    assert lines[0]["after"] == {"name": "ada", "role": "admin", "by": "oidc"}
    printed = "".join(capfd.readouterr())
    for secret in (session, CLIENT_SECRET, *fake.tokens, *(f["code"] for f in fake.forms)):
        assert secret not in printed
    for form in fake.forms:
        assert form["code_verifier"] not in printed


async def test_what_is_asked_of_the_issuer(stack: Stack, fake: FakeIssuer) -> None:
    async with browser(stack) as one:
        begun = await one.call("GET", LOGIN)
        asked = parameters(begun.headers["location"])
        assert begun.headers["location"].startswith(f"{fake.url}/authorize?tenant=1&")
        assert asked["redirect_uri"] == f"{stack.url}/admin/v1/oidc/callback"
        assert asked["scope"] == "openid profile email"
        assert len(asked["state"]) == len(asked["nonce"]) == len(asked["code_challenge"]) == 43
        kept = begun.headers["set-cookie"]
        assert kept.startswith("igw-oidc=")
        assert kept.endswith("; Path=/; Max-Age=600; HttpOnly; SameSite=Lax")
        for secret in (asked["state"], asked["nonce"]):
            assert secret not in kept
        again = parameters((await one.call("GET", LOGIN)).headers["location"])
        assert {again[name] for name in ("state", "nonce", "code_challenge")}.isdisjoint(
            asked.values()
        )
    # Read once and kept: the document of the issuer, not its keys.
    assert fake.asked == ["/.well-known/openid-configuration"]


@pytest.mark.parametrize(
    ("secret", "methods", "sent"),
    [
        (CLIENT_SECRET, None, "header"),
        (CLIENT_SECRET, ["client_secret_post", "client_secret_basic"], "header"),
        (CLIENT_SECRET, ["client_secret_post"], "form"),
        (None, ["none"], "nothing"),
    ],
)
async def test_the_gateway_proves_who_it_is_as_the_issuer_wants_it(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    fake: FakeIssuer,
    secret: str | None,
    methods: list[str] | None,
    sent: str,
) -> None:
    if methods is not None:
        fake.document["token_endpoint_auth_methods_supported"] = methods
    settings = configured(fake, oidc_client_secret=secret)
    async with (
        running_stack(tmp_path, database_url, redis_url, **settings) as stack,
        browser(stack) as one,
    ):
        assert (await logged_in(one)).status_code == 303
    (form,) = fake.forms
    basic = httpx.BasicAuth("image-gateway", "canary%2Bclient%2Fsecret")._auth_header
    assert form["authorization"] == (basic if sent == "header" else "")
    assert form.get("client_secret") == (CLIENT_SECRET if sent == "form" else None)
    assert ("client_id" in form) is (sent != "header")


async def test_over_https_what_the_browser_keeps_is_secure(
    tmp_path: Path, database_url: str, redis_url: str, fake: FakeIssuer
) -> None:
    settings = configured(fake, public_url="https://images.example.com")
    async with running_stack(tmp_path, database_url, redis_url, **settings) as stack:
        begun = await stack.client.get(LOGIN)
        asked = parameters(begun.headers["location"])
        assert asked["redirect_uri"] == "https://images.example.com/admin/v1/oidc/callback"
        kept = begun.headers["set-cookie"]
        assert kept.startswith("__Host-igw-oidc=")
        assert kept.endswith("; Secure")
        back = parameters((await stack.client.get(begun.headers["location"])).headers["location"])
        answer = await stack.client.get(
            "/admin/v1/oidc/callback", params=back, headers={"cookie": kept.partition(";")[0]}
        )
        assert answer.status_code == 303
        cookies = answer.headers.get_list("set-cookie")
        assert cookies[0].startswith("__Host-igw-session=se-igw-")
        assert cookies[1].startswith("__Host-igw-oidc=; Path=/; Max-Age=0")
    async with running_stack(tmp_path, database_url, redis_url, **configured(fake)) as stack:
        outside = await stack.client.get(LOGIN, headers={"host": "images.example.com"})
        assert outside.status_code == 403


async def test_a_role_is_what_the_groups_say_at_each_login(stack: Stack, fake: FakeIssuer) -> None:
    team = await stack.gateway.ledger.create_team("atelier")
    async with browser(stack) as one:
        for groups, role, team_id in (
            (["others", "finance"], "finance", None),
            (["artists"], "member", team.id),
            (["artists", "platform"], "admin", None),
        ):
            fake.claims["groups"] = groups
            assert (await logged_in(one)).status_code == 303
            found = await who(one)
            assert (found["role"], found["team_id"]) == (role, team_id)
        lines = await audit(stack, (await who(one))["id"])
        changes = [line["after"]["role"] for line in lines if line["action"] == "operator.update"]
        assert changes == ["member", "admin"]

        # Without a role nobody comes in, and who is in is put out.
        fake.claims["groups"] = ["others"]
        async with browser(stack) as two:
            page = await logged_in(two, **PAGE)
        assert page.status_code == 403
        assert "none of your groups has a role here" in page.text
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["content-security-policy"] == "default-src 'none'"
        assert (await one.call("GET", "/me")).status_code == 401
        refused = await logged_in(one)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "no_role")


async def test_a_member_of_a_team_that_is_not_there_does_not_come_in(
    stack: Stack, fake: FakeIssuer
) -> None:
    fake.claims["groups"] = ["artists"]
    async with browser(stack) as one:
        answer = await logged_in(one)
        assert (answer.status_code, "atelier" in answer.text) == (403, True)
    assert (await stack.client.get("/admin/v1/operators", headers=BEARER)).json()["data"] == []


async def test_a_name_that_is_taken_is_not_taken_over(stack: Stack, fake: FakeIssuer) -> None:
    body = {"name": "ada", "role": "viewer"}
    local = (await stack.client.post("/admin/v1/operators", json=body, headers=BEARER)).json()
    async with browser(stack) as one:
        await logged_in(one)
        found = await who(one)
    assert found["id"] != local["id"]
    assert found["name"] == f"ada ({found['id'][-6:]})"


async def test_first_logins_at_once_make_one_operator(stack: Stack, fake: FakeIssuer) -> None:
    async def first() -> str:
        async with browser(stack) as one:
            assert (await logged_in(one)).status_code == 303
            return str((await who(one))["id"])

    assert len(set(await asyncio.gather(*(first() for _ in range(6))))) == 1


async def test_an_operator_that_is_revoked_here_stays_out(stack: Stack, fake: FakeIssuer) -> None:
    async with browser(stack) as one:
        await logged_in(one)
        path = f"/admin/v1/operators/{(await who(one))['id']}"
        body = {"password": "correct horse battery"}
        password = await stack.client.put(f"{path}/password", json=body, headers=BEARER)
        assert (password.status_code, password.json()["error"]["code"]) == (409, "in_use")
        await stack.client.post(f"{path}/revoke", headers=BEARER)
        assert (await one.call("GET", "/me")).status_code == 401
        assert (await logged_in(one)).status_code == 401


async def test_a_token_on_p256_is_as_good(stack: Stack, fake: FakeIssuer) -> None:
    fake.keys = [ec_key("e1")]
    async with browser(stack) as one:
        assert (await logged_in(one)).status_code == 303


@pytest.mark.parametrize("way", ["//evil.example", "https://evil.example", "/\\evil", "x"])
async def test_nobody_is_sent_elsewhere_after_logging_in(stack: Stack, way: str) -> None:
    answer = await stack.client.get(LOGIN, params={"next": way})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "next")


async def test_without_an_issuer_there_is_nothing_to_log_in_at(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(tmp_path, database_url, redis_url, admin_key=ADMIN) as stack:
        for path in (LOGIN, "/admin/v1/oidc/callback?state=x&code=y"):
            answer = await stack.client.get(path)
            assert (answer.status_code, "GATEWAY_OIDC_ISSUER" in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"oidc_client_id": None}, "GATEWAY_OIDC_CLIENT_ID: is needed"),
        ({"oidc_roles": ""}, "GATEWAY_OIDC_ROLES: is needed"),
        ({"oidc_allow_http": False}, "GATEWAY_OIDC_ISSUER: must be an https URL"),
        ({"oidc_issuer": "http://id.example"}, "GATEWAY_OIDC_ISSUER: must be an https URL"),
        ({"oidc_issuer": None}, "GATEWAY_OIDC_CLIENT_SECRET: has no meaning without"),
    ],
)
async def test_settings_that_do_not_fit_are_named_at_the_start(
    tmp_path: Path,
    database_url: str,
    redis_url: str,
    fake: FakeIssuer,
    changes: dict[str, Any],
    complaint: str,
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        async with running_stack(tmp_path, database_url, redis_url, **configured(fake, **changes)):
            raise AssertionError("it started")


def test_an_issuer_is_taken_as_it_is_written() -> None:
    settings = Settings(oidc_issuer="https://id.example/", data_dir=Path())
    assert settings.oidc_issuer == "https://id.example/"
