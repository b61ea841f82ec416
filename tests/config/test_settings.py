"""The environment: defaults, the manual, and what a wrong variable is told."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load_settings

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / ".env.example").read_text()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("GATEWAY_")]:
        monkeypatch.delenv(name)


def manual_entries() -> dict[str, str]:
    return dict(re.findall(r"^(GATEWAY_\w+)=(.*)$", MANUAL, re.MULTILINE))


def test_the_manual_lists_exactly_the_settings():
    assert list(manual_entries()) == [f"GATEWAY_{name.upper()}" for name in Settings.model_fields]


def test_the_manual_states_the_defaults(monkeypatch):
    for name, value in manual_entries().items():
        monkeypatch.setenv(name, value)

    assert load_settings() == Settings.model_construct()


def test_the_manual_gives_each_setting_a_reason():
    blocks = MANUAL.split("\n\n")
    bare = [block for block in blocks if "=" in block and not block.startswith("# ")]

    assert bare == []


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("DATABASE_URL", "postgresql+asyncpg://x/y", "plain postgresql:// URL"),
        ("REDIS_URL", "http://x", "redis://, rediss:// or unix://"),
        ("PORT", "eighty", "valid integer"),
        ("PORT", "70000", "less than or equal to 65535"),
        ("SECRET_KEY", "short", "32 characters"),
        ("PUBLIC_URL", "images.example.com", "http:// or https:// URL"),
        ("PUBLIC_URL", "https://images.example.com?a=b", "without a query"),
        ("ASSET_STORE", "s4://bucket", "off, file:DIR or s3://bucket/prefix"),
        ("CALLBACK_ALLOWED_HOSTS", "good:1,bad", "'bad' is not host:port"),
        ("CALLBACK_ALLOWED_HOSTS", "http://a:1", "is not host:port"),
        ("FETCH_ALLOWED_HOSTS", "a:70000", "is not host:port"),
        ("CONFIG", "/nowhere/gateway.toml", "no such file"),
        ("CALLBACK_CA_FILE", "/nowhere/ca.pem", "no such file"),
        ("LOG_FORMAT", "xml", "'console' or 'json'"),
        ("OIDC_ISSUER", "id.example.com", "http:// or https:// URL"),
        ("OIDC_ROLES", "platform=king", "'platform=king' is not group=role"),
        ("OIDC_ROLES", "artists=member", "group=member:team"),
        ("SESSION_IDLE_HOURS", "0", "greater than or equal to 1"),
        ("SYNC_WAIT_SECONDS", "0", "greater than or equal to 1"),
    ],
)
def test_a_bad_value_is_named_with_what_it_should_be(monkeypatch, name, value, complaint):
    monkeypatch.setenv(f"GATEWAY_{name}", value)

    with pytest.raises(SettingsError) as caught:
        load_settings()

    (problem,) = caught.value.problems
    assert problem.startswith(f"GATEWAY_{name}: ")
    assert complaint in problem


def test_every_problem_is_reported_at_once_and_no_value_of_a_secret(monkeypatch):
    monkeypatch.setenv("GATEWAY_DATABSE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "hunter3")
    monkeypatch.setenv("GATEWAY_PORT", "x")

    with pytest.raises(SettingsError) as caught:
        load_settings()

    assert str(caught.value).splitlines() == [
        "the environment is not usable:",
        "  GATEWAY_DATABSE_URL: no such setting, did you mean GATEWAY_DATABASE_URL?",
        "  GATEWAY_REDIS_URL: must start with redis://, rediss:// or unix://",
        "  GATEWAY_PORT: Input should be a valid integer, unable to parse string as an integer",
    ]


def test_a_stranger_under_our_prefix_is_refused_even_without_a_near_name(monkeypatch):
    monkeypatch.setenv("GATEWAY_ZZZZZZ", "1")

    with pytest.raises(SettingsError, match=r"GATEWAY_ZZZZZZ: no such setting, see \.env\.example"):
        load_settings()


def test_a_command_line_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("GATEWAY_PORT", "9000")

    assert load_settings(port=9001, host=None).port == 9001
    assert load_settings(port=None).port == 9000


def test_allowed_hosts_are_split_and_lower_cased(monkeypatch):
    monkeypatch.setenv(
        "GATEWAY_CALLBACK_ALLOWED_HOSTS", "Hooks.Internal:8443, [::1]:9000\n10.0.0.5:80"
    )

    assert load_settings().callback_allowed_hosts == {
        "hooks.internal:8443",
        "[::1]:9000",
        "10.0.0.5:80",
    }


def test_secrets_do_not_show_in_the_settings_text(monkeypatch):
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://u:hunter2@h/d")
    monkeypatch.setenv("GATEWAY_ADMIN_KEY", "hunter3")
    settings = load_settings()

    assert "hunter" not in f"{settings!r} {settings}"
    assert settings.admin_key is not None
    assert settings.admin_key.get_secret_value() == "hunter3"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"host": "::1", "port": 81}, "http://[::1]:81"),
        ({"public_url": "https://images.example.com/"}, "https://images.example.com"),
    ],
)
def test_the_base_url_is_the_public_one_or_where_we_listen(overrides, expected):
    assert load_settings(**overrides).base_url == expected
