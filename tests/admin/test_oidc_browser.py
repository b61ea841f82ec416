"""A real browser logs in at an issuer: redirects, cookies and SameSite as browsers do them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.admin.test_oidc import LOGIN, configured
from tests.support.browsers import SESSION
from tests.support.issuer import issuer
from tests.support.stack import running_stack

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed"),
]


async def test_a_browser_comes_back_logged_in(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with (
        issuer() as fake,
        running_stack(tmp_path, database_url, redis_url, **configured(fake)) as stack,
        async_playwright() as playwright,
    ):
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=sandbox)
        page = await chromium.new_page()
        # Another host than the issuer's: for the browser these are two sites.
        gateway = stack.url.replace("127.0.0.1", "localhost")

        answer = await page.goto(f"{gateway}{LOGIN}?next={SESSION}")

        assert answer is not None
        assert (answer.url, answer.status) == (f"{gateway}{SESSION}", 200)
        told = json.loads(await answer.text())
        assert (told["name"], told["role"], told["method"]) == ("ada", "admin", "oidc")
        (cookie,) = await page.context.cookies()
        assert (cookie["name"], cookie["httpOnly"]) == ("igw-session", True)
        assert (cookie["sameSite"], cookie["path"]) == ("Lax", "/")
        assert await page.evaluate("document.cookie") == ""

        post = """async ([path, headers]) => (await fetch(path, {
            method: "POST", headers, body: JSON.stringify({name: "studio"}),
        })).status"""
        without = await page.evaluate(post, ["/admin/v1/teams", {}])
        with_it = await page.evaluate(
            post, ["/admin/v1/teams", {"x-csrf-token": told["csrf_token"]}]
        )
        assert (without, with_it) == (403, 201)

        # Another site's page posts a form: the cookie does not travel, or its origin tells.
        await page.goto(f"{fake.url}/.well-known/openid-configuration")
        async with page.expect_navigation():
            await page.evaluate(
                """action => {
                    const form = document.createElement("form");
                    form.method = "POST"; form.action = action;
                    document.body.append(form); form.submit();
                }""",
                f"{gateway}/admin/v1/teams",
            )
        assert "Send an API key" in await page.content()
        await chromium.close()
