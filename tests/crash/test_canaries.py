"""Secrets planted everywhere one is taken, and looked for everywhere one could come out."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.embedded.programs import binary
from gateway.simulator import Script
from tests.crash.site import Site, running_site
from tests.support.issuer import CLIENT_SECRET, FakeIssuer, issuer, parameters, unsigned
from tests.support.stack import CONFIGURATION, MODEL

KINDS = ("cheap", "dear", "openai")
VENDOR_KEYS = {f"key-of-{name}": f"canaryvendor{name}0123456789abcdef" for name in KINDS}
SECRET_KEY = "canary-secret-key-that-is-long-enough-for-it"
ADMIN_KEY = "canary-admin-key-0123456789"
STRANGER = "sk-igw-canarystranger0123456789abcdefghijkl"
TOKENS = {
    "callback query": "canarycallbacktoken",
    "alert query": "canaryalerttoken",
    "callback user": "canarycallbackuser",
    "image query": "canaryimagesignature",
    "idempotency key": "canaryidempotencykey",
    "operator's idempotency key": "canaryoperatorskey",
    "cookie": "canarycookievalue",
    "header": "canaryheadervalue",
    "end user": "canaryenduser",
    "metadata": "canarymetadatavalue",
}
PASSWORDS = {
    "password": "canary password of an operator",
    "wrong password": "canary password of nobody",
    "stranger's name": "canarynameofnobody",
}
PROMPT = {"prompt": "canarypromptwords"}


@dataclass
class Seen:
    """What came out, by where."""

    texts: dict[str, str] = field(default_factory=dict)

    def assert_free_of(self, secrets: dict[str, str], *, but: str = "") -> None:
        found = [
            (what, where)
            for what, secret in secrets.items()
            for where, text in self.texts.items()
            if (secret in text or secret.encode().hex() in text) and where != but
        ]
        assert found == []


async def everything(site: Site, seen: Seen) -> None:
    """Succeed, fail and be refused, in every way that has a secret at hand."""
    sent_along = {"cookie": f"s={TOKENS['cookie']}", "x-note": TOKENS["header"]}
    key = {"authorization": f"Bearer {site.key}", **sent_along}
    hook = f"{site.callback_url}?token={TOKENS['callback query']}"
    body = {"model": MODEL, "prompt": f"a kite {PROMPT['prompt']}", "callback_url": hook}
    site.simulator.script("evolink", Script(error="server_error", times=1))
    site.simulator.script("evolink", Script(error="bad_key", times=1))
    for number in range(4):
        headers = {"idempotency-key": f"{TOKENS['idempotency key']}{number}", **sent_along}
        extra = dict.fromkeys(("user", "safety_identifier"), TOKENS["end user"])
        await site.generate({**body, **extra}, **headers)
    query = f"?token={TOKENS['callback query']}"
    await site.batch(2, token=query, callback_url=hook)
    refused = [
        ("POST", {**body, "n": 99}, key),
        ("POST", {**body, "metadata": {"note": TOKENS["metadata"]}}, key),
        ("POST", {**body, "callback_url": f"https://{TOKENS['callback user']}@localhost/x"}, key),
        ("POST", {**body, "image": f"https://localhost/a.png?sig={TOKENS['image query']}"}, key),
        ("POST", {**body, "model": "nothing"}, key),
        ("POST", body, {"authorization": f"Bearer {STRANGER}"}),
        ("POST", "not an object", key),
        ("PUT", body, key),
    ]
    for number, (method, sent, headers) in enumerate(refused):
        answer = await site.client.request(
            method, "/v1/images/generations", json=sent, headers=headers
        )
        assert 400 <= answer.status_code < 500, answer.text
        seen.texts[f"error {number}"] = answer.text
    for headers in ({}, {"authorization": f"Bearer {ADMIN_KEY[:-1]}"}):
        wrong = await site.client.get("/admin/v1/teams", headers=headers)
        seen.texts["admin error"] = seen.texts.get("admin error", "") + wrong.text


async def administered(site: Site) -> None:
    """Make a team under an Idempotency-Key, have alerts sent somewhere secret, cause one."""
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    keyed = {**admin, "idempotency-key": TOKENS["operator's idempotency key"]}
    for _ in range(2):
        made = await site.client.post("/admin/v1/teams", json={"name": "other"}, headers=keyed)
        assert made.status_code == 201, made.text
    url = f"{site.callback_url}?token={TOKENS['alert query']}"
    alerts = {"low_balance": "1000000", "alert_url": url}
    path = f"/admin/v1/teams/{site.team_id}"
    changed = await site.client.patch(path, json=alerts, headers=admin)
    assert changed.json()["alert_url"] == url, changed.text
    await site.generate({"model": MODEL})


async def logged_in(site: Site, seen: Seen) -> dict[str, str]:
    """Log an operator in and be refused in every way; gives the secrets of the login."""
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    body = {"name": "ada", "role": "admin"}
    made = (await site.client.post("/admin/v1/operators", json=body, headers=admin)).json()
    path, password = f"/admin/v1/operators/{made['id']}/password", PASSWORDS["password"]
    put = await site.client.put(path, json={"password": password}, headers=admin)
    assert put.status_code == 204, put.text
    for name, tried in (
        ("ada", PASSWORDS["wrong password"]),
        (PASSWORDS["stranger's name"], password),
        ("ada", password * 99),
    ):
        refused = await site.client.post(
            "/admin/v1/session", json={"name": name, "password": tried}
        )
        assert refused.status_code in (400, 401), refused.text
        seen.texts[f"login of {name} {len(tried)}"] = refused.text
    answer = await site.client.post("/admin/v1/session", json={"name": "ada", "password": password})
    assert answer.status_code == 200, answer.text
    token, csrf = site.client.cookies["igw-session"], answer.json()["csrf_token"]
    for sent in ("", csrf):
        write = await site.client.post(
            "/admin/v1/teams", json={"name": "by login"}, headers={"x-csrf-token": sent}
        )
        assert write.status_code == (201 if sent else 403), write.text
        seen.texts[f"write by login {bool(sent)}"] = write.text
    site.client.cookies.clear()
    return {"operator's token": made["token"], "session": token, "csrf token": csrf}


async def logged_in_elsewhere(site: Site, fake: FakeIssuer) -> dict[str, str]:
    """Log in at the issuer, once well and once with a forged token; gives its secrets."""
    codes = []
    for sign in (None, unsigned):
        fake.sign = sign
        begun = await site.client.get("/admin/v1/oidc/login")
        back = (await site.client.get(begun.headers["location"])).headers["location"]
        codes.append(parameters(back)["code"])
        answer = await site.client.get(back)
        assert answer.status_code == (401 if sign else 303), answer.text
        site.client.cookies.pop("igw-oidc", None)
    token = site.client.cookies["igw-session"]
    site.client.cookies.clear()
    return {
        "client secret": CLIENT_SECRET,
        "session from the issuer": token,
        **{f"code {number}": code for number, code in enumerate(codes)},
        **{f"verifier {no}": form["code_verifier"] for no, form in enumerate(fake.forms)},
        **{f"id token {no}": text for no, text in enumerate(fake.tokens)},
    }


async def shown_to_operators(site: Site) -> set[str]:
    """Give the tokens of the addresses that callbacks went to, as the list of them shows."""
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    answer = await site.client.get("/admin/v1/callbacks", headers=admin)
    return {callback["url"].partition("?token=")[2] for callback in answer.json()["data"]}


async def asked(site: Site, *words: str) -> str:
    """Give what a command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", *words),
        env=site.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return output.decode()


async def ended(site: Site) -> None:
    async with asyncio.timeout(60), site.books() as books:
        while True:
            tasks = [await books.tasks.get(task_id) for task_id in site.tasks.values()]
            if all(task is not None and task.status.is_terminal for task in tasks):
                return
            await asyncio.sleep(0.2)


def dump_of(postgres: EmbeddedPostgres) -> str:
    """Give the whole database as text, columns of bytes as hexadecimal digits."""
    command = [str(binary("pg_dump")), "--dbname", postgres.url]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


async def test_no_secret_comes_out_anywhere(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    configuration = CONFIGURATION
    for plain, canary in VENDOR_KEYS.items():
        configuration = configuration.replace(plain, canary)
    variables = {
        "GATEWAY_SECRET_KEY": SECRET_KEY,
        "GATEWAY_ADMIN_KEY": ADMIN_KEY,
        "GATEWAY_LOG_FORMAT": "json",
    }
    seen, secrets = Seen(), dict(VENDOR_KEYS)
    async with (
        issuer() as fake,
        running_site(
            tmp_path,
            own_postgres,
            own_valkey,
            configuration=configuration,
            variables={**variables, **fake.environment()},
        ) as site,
    ):
        async with site.books() as books:
            team = await books.ledger.team(site.team_id)
        assert team is not None
        secrets |= {"webhook secret": team.webhook_secret, "key": site.key}
        secrets |= {"secret key": SECRET_KEY, "admin key": ADMIN_KEY, "stranger": STRANGER}
        await everything(site, seen)
        await administered(site)
        secrets |= await logged_in(site, seen)
        secrets |= await logged_in_elsewhere(site, fake)
        await site.restart_postgres()
        await site.kill("worker")
        await ended(site)
        admin = {"authorization": f"Bearer {ADMIN_KEY}"}
        for path in ("/metrics", "/readyz", "/openapi.json", "/admin/v1/audit", "/admin/v1/keys"):
            answer: httpx.Response = await site.client.get(path, headers=admin)
            assert answer.status_code == 200, answer.text
            seen.texts[path] = answer.text
        for words in (("doctor", "--json"), ("upstream", "list"), ("catalog", "check")):
            seen.texts[" ".join(words)] = await asked(site, *words)
        told = await shown_to_operators(site)
        assert told == {TOKENS["callback query"], TOKENS["alert query"], ""}
        seen.texts["pg_dump"] = await asyncio.to_thread(dump_of, own_postgres)
    for role in ("api", "worker"):
        log = (site.folder / f"{role}.log").read_text()
        assert any(json.loads(line).get("event") for line in log.splitlines() if line[:1] == "{")
        seen.texts[f"{role} log"] = log
    assert "CREATE TABLE" in seen.texts["pg_dump"]
    seen.assert_free_of(secrets | TOKENS | PASSWORDS)
    # What a picture is made of is kept with its task, and comes out nowhere else.
    seen.assert_free_of(PROMPT, but="pg_dump")


def test_a_secret_that_comes_out_is_noticed() -> None:
    seen = Seen({"log": "…canary…", "pg_dump": "\\x" + b"canary".hex()})
    for where in seen.texts:
        only = Seen({where: seen.texts[where]})
        with pytest.raises(AssertionError):
            only.assert_free_of({"key": "canary"})
