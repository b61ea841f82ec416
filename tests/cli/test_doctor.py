"""`gateway doctor` says where the secret key lies."""

from __future__ import annotations

import pytest

from gateway.cli.doctor import examine


@pytest.mark.parametrize(("key", "said"), [(None, "warning: "), ("k" * 32, "set")])
async def test_a_secret_key_that_is_kept_beside_the_secrets_is_warned_of(
    database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, key: str | None, said: str
) -> None:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)
    monkeypatch.setenv("GATEWAY_SECRET_KEY", key or "")
    findings = {finding["check"]: finding for finding in await examine(quick=False)}
    assert findings["secret key"]["detail"].startswith(said)
