"""An issuer, a browser or somebody between them misbehaves: nobody comes in, and it is said why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from gateway.egress import issuer as http_issuer
from tests.admin.test_oidc import ADMIN, LOGIN, PAGE, configured, logged_in
from tests.support.browsers import browser
from tests.support.issuer import (
    CLIENT_ID,
    FakeIssuer,
    Key,
    issuer,
    parameters,
    rsa_key,
    signed_with_the_public_key,
    unsigned,
)
from tests.support.stack import Stack, running_stack

CALLBACK = "/admin/v1/oidc/callback"
STRANGER = rsa_key("k1")
SHORT = rsa_key("short", 1024)


@pytest.fixture
async def fake() -> AsyncIterator[FakeIssuer]:
    async with issuer() as running:
        yield running


@pytest.fixture
async def stack(
    tmp_path: Path, database_url: str, redis_url: str, fake: FakeIssuer
) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, database_url, redis_url, **configured(fake)) as running:
        yield running


async def refused(stack: Stack, status: int = 401) -> httpx.Response:
    """Log in, fail unless that is refused."""
    async with browser(stack) as one:
        answer = await logged_in(one)
        assert answer.status_code == status, answer.text
        assert one.token == ""
        assert (await one.call("GET", "/me")).status_code == 401
    operators = stack.gateway.core.admin.operators
    assert (await operators.operator_page(10, None)).items == ()
    return answer


# --- tokens ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": None},
        {"azp": "another-client"},
        {"iss": "https://another.example"},
        {"iss": None},
        {"exp": -3600},
        {"exp": None},
        {"exp": "later"},
        {"iat": 3600},
        {"nbf": 3600},
        {"sub": None},
        {"sub": ""},
    ],
    ids=str,
)
async def test_a_token_that_does_not_answer_our_question_lets_nobody_in(
    stack: Stack, fake: FakeIssuer, claims: dict[str, Any]
) -> None:
    now = int(time.time())
    fake.claims |= {
        name: now + value if isinstance(value, int) else value for name, value in claims.items()
    }
    await refused(stack)


def forged(how: str, key: Key) -> Any:
    """Give a signer that the issuer's keys do not stand behind."""

    def by_nobody_at_all(claims: dict[str, Any]) -> str:
        return key.sign(claims).rpartition(".")[0] + "."

    signers: dict[str, Any] = {
        "no algorithm": unsigned,
        "the public key as a secret": signed_with_the_public_key(key),
        "another key under the same kid": STRANGER.sign,
        "a kid nobody publishes": lambda claims: key.sign(claims, kid="k9"),
        "a kid that is no text": lambda claims: jwt.encode(
            claims, key.private, "RS256", headers={"kid": "k1", "jwk": STRANGER.public()}
        ).replace(".", "..", 1),
        "an algorithm we do not take": lambda claims: jwt.encode(
            claims, key.private, "PS256", headers={"kid": "k1"}
        ),
        "no signature": by_nobody_at_all,
        "no token at all": lambda claims: "nothing",
    }
    return signers[how]


@pytest.mark.parametrize(
    "how",
    [
        "no algorithm",
        "the public key as a secret",
        "another key under the same kid",
        "a kid nobody publishes",
        "a kid that is no text",
        "an algorithm we do not take",
        "no signature",
        "no token at all",
    ],
)
async def test_a_forged_token_lets_nobody_in(stack: Stack, fake: FakeIssuer, how: str) -> None:
    fake.sign = forged(how, fake.keys[0])
    answer = await refused(stack)
    assert answer.json()["error"]["code"] == "invalid_login"


async def test_a_key_that_is_too_short_proves_nothing(stack: Stack, fake: FakeIssuer) -> None:
    fake.keys = [SHORT]
    with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
        await refused(stack)


async def test_a_key_for_encrypting_proves_nothing(stack: Stack, fake: FakeIssuer) -> None:
    async def published(_: Request) -> Response:
        return JSONResponse({"keys": [{**fake.keys[0].public(), "use": "enc"}, "no key"]})

    fake.answers["/jwks"] = published
    await refused(stack)


async def test_new_keys_are_read_when_a_token_names_one_and_not_all_the_time(
    stack: Stack, fake: FakeIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser(stack) as one:
        assert (await logged_in(one)).status_code == 303
        fake.keys = [rsa_key("k2")]
        for _ in range(3):
            assert (await logged_in(one)).status_code == 401
        assert fake.asked.count("/jwks") == 1
        monkeypatch.setattr(http_issuer, "KEYS_PAUSE_S", 0.0)
        assert (await logged_in(one)).status_code == 303
        assert (await logged_in(one)).status_code == 303
    assert fake.asked.count("/jwks") == 2
    assert fake.asked.count("/.well-known/openid-configuration") == 1


# --- the way there and back --------------------------------------------------------------------


async def test_an_answer_is_taken_once_and_by_the_browser_that_asked(
    stack: Stack, fake: FakeIssuer
) -> None:
    async with browser(stack) as one, browser(stack) as other:
        begun = await one.call("GET", LOGIN)
        kept = one.client.cookies["igw-oidc"]
        back = (await one.client.get(begun.headers["location"])).headers["location"]
        assert (await other.call("GET", back)).status_code == 401
        await other.call("GET", LOGIN)
        assert (await other.call("GET", back)).status_code == 401
        assert fake.forms == []
        assert (await one.call("GET", back)).status_code == 303
        replayed = await other.call("GET", back, cookie=f"igw-oidc={kept}")
        assert (replayed.status_code, "before" in replayed.text) == (401, True)
        assert len(fake.forms) == 1


async def test_answers_at_once_are_taken_once(stack: Stack) -> None:
    async with browser(stack) as one:
        begun = await one.call("GET", LOGIN)
        kept = one.client.cookies["igw-oidc"]
        back = (await one.client.get(begun.headers["location"])).headers["location"]
        answers = await asyncio.gather(
            *(one.call("GET", back, cookie=f"igw-oidc={kept}") for _ in range(5))
        )
    assert sorted(answer.status_code for answer in answers) == [303, 401, 401, 401, 401]


async def test_a_code_that_was_used_lets_nobody_in(stack: Stack, fake: FakeIssuer) -> None:
    async with browser(stack) as one, browser(stack) as thief:
        begun = await one.call("GET", LOGIN)
        back = (await one.client.get(begun.headers["location"])).headers["location"]
        code = parameters(back)["code"]
        assert (await one.call("GET", back)).status_code == 303
        state = parameters((await thief.call("GET", LOGIN)).headers["location"])["state"]
        stolen = await thief.call("GET", f"{CALLBACK}?state={state}&code={code}")
        assert (stolen.status_code, "no such login" in stolen.text) == (401, True)


async def test_a_code_that_was_stolen_is_worth_nothing_in_another_browser(
    stack: Stack, fake: FakeIssuer
) -> None:
    async with browser(stack) as one, browser(stack) as thief:
        begun = await one.call("GET", LOGIN)
        back = (await one.client.get(begun.headers["location"])).headers["location"]
        state = parameters((await thief.call("GET", LOGIN)).headers["location"])["state"]
        code = parameters(back)["code"]
        stolen = await thief.call("GET", f"{CALLBACK}?state={state}&code={code}")
        # Its verifier is another one (PKCE).
        assert stolen.status_code == 401


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("state={state}&error=access_denied&error_description=<b>", "(access_denied)"),
        ("state={state}&error=<script>", "(error)"),
        ("state={state}", "no code"),
        ("state={state}&code=x&iss=https://another.example", "Another issuer"),
        ("state=&code=x", "not begun in this browser"),
        ("state=w%C3%B6rng&code=x", "not begun in this browser"),
        ("code=x", "not begun in this browser"),
        ("", "not begun in this browser"),
    ],
)
async def test_an_answer_that_is_none_is_told_as_such(stack: Stack, query: str, named: str) -> None:
    async with browser(stack) as one:
        state = parameters((await one.call("GET", LOGIN)).headers["location"])["state"]
        page = await one.call("GET", f"{CALLBACK}?{query.format(state=state)}", **PAGE)
        assert (page.status_code, named in page.text) == (401, True), page.text
        assert "<script>" not in page.text
        assert "<b>" not in page.text
        assert one.client.cookies.get("igw-oidc") is None


async def test_what_a_browser_kept_is_worth_nothing_when_it_is_old_or_not_ours(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with browser(stack) as one:
        for kept in ("nothing", "AAAA", "ä", ""):
            sent = f"{CALLBACK}?state=&code=x"
            assert (await one.call("GET", sent, cookie=f"igw-oidc={kept}")).status_code == 401
        monkeypatch.setattr("gateway.app.oidc.BEGUN_MS", 0)
        assert (await logged_in(one)).status_code == 401


async def test_failures_at_the_issuer_count_for_the_address_and_are_audited(
    stack: Stack, fake: FakeIssuer
) -> None:
    async with browser(stack, "192.0.2.1") as one:
        answers = [await one.call("GET", f"{CALLBACK}?state=x&code=y") for _ in range(22)]
    assert [answer.status_code for answer in answers] == [401] * 20 + [429] * 2
    headers = {"authorization": f"Bearer {ADMIN}"}
    async with asyncio.timeout(10):
        while True:
            log = (await stack.client.get("/admin/v1/audit", headers=headers)).json()["data"]
            if log:
                break
            await asyncio.sleep(0.05)
    assert [(one["action"], one["subject"], one["after"]["method"]) for one in log] == [
        ("session.refused", "unknown", "oidc")
    ]


# --- the issuer itself -------------------------------------------------------------------------


async def slow(_: Request) -> Response:
    await asyncio.sleep(1.5)
    return JSONResponse({})


async def huge(_: Request) -> Response:
    return Response(b" " * (http_issuer.ANSWER_MAX + 1), media_type="application/json")


async def broken(_: Request) -> Response:
    return JSONResponse({"error": "server_error"}, 500)


async def words(_: Request) -> Response:
    return Response("<html>", media_type="text/html")


async def listed(_: Request) -> Response:
    return JSONResponse([])


async def nested(_: Request) -> Response:
    return Response(b'{"a":' * 100_000, media_type="application/json")


async def elsewhere(_: Request) -> Response:
    return RedirectResponse("http://127.0.0.1:9/")


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/jwks"])
@pytest.mark.parametrize("how", [slow, huge, broken, words, listed, nested, elsewhere])
async def test_an_issuer_that_does_not_answer_lets_nobody_in(
    stack: Stack, fake: FakeIssuer, monkeypatch: pytest.MonkeyPatch, path: str, how: Any
) -> None:
    monkeypatch.setattr(http_issuer, "ANSWER_S", 0.8)
    fake.answers[path] = how
    answer = await refused(stack, 502)
    assert answer.json()["error"]["code"] == "issuer_unavailable"
    assert fake.url not in answer.text
    # It is asked again by the next login.
    del fake.answers[path]
    monkeypatch.setattr(http_issuer, "ANSWER_S", 10.0)
    async with browser(stack) as one:
        assert (await logged_in(one)).status_code == 303


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://another.example"},
        {"issuer": None},
        {"token_endpoint": "http://id.example/token"},
        {"jwks_uri": None},
        {"authorization_endpoint": "javascript:alert(1)"},
    ],
    ids=str,
)
async def test_a_discovery_document_that_leads_elsewhere_is_not_followed(
    stack: Stack, fake: FakeIssuer, document: dict[str, Any]
) -> None:
    fake.document = document
    await refused(stack, 502)
    assert set(fake.asked) == {"/.well-known/openid-configuration"}


async def test_an_endpoint_inside_the_network_that_is_not_the_issuers_is_not_called(
    stack: Stack, fake: FakeIssuer, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.document["token_endpoint"] = fake.url.replace("127.0.0.1", "127.0.0.2") + "/token"
    await refused(stack, 502)
    assert "/token: the address is not public" in "".join(capfd.readouterr())


async def test_a_token_endpoint_without_a_token_lets_nobody_in(
    stack: Stack, fake: FakeIssuer
) -> None:
    async def nothing(_: Request) -> Response:
        return JSONResponse({"access_token": "any"})

    async def unknown_client(_: Request) -> Response:
        return JSONResponse({"error": "invalid_client"}, 401)

    for answer in (nothing, unknown_client):
        fake.answers["/token"] = answer
        await refused(stack, 502)
