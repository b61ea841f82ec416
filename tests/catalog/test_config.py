"""The operator's gateway.toml: what it makes, and every mistake told at once with a hint."""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.catalog import check, load
from gateway.domain.errors import ConfigError
from gateway.domain.model import OnAmbiguous
from gateway.domain.price_table import PriceTable
from tests.support.catalogs import catalog_of, problems_of, upstream_toml

WAN25, WAN27 = "wan2.5-t2i-preview", "wan2.7-image"
EXAMPLE = """
[credits]
per_usd = "68.1818"

[upstreams.dashscope-beijing]
adapter = "dashscope"
base_url = "https://dashscope.aliyuncs.com/api/v1/"
api_key = "env:DASHSCOPE_API_KEY"
max_in_flight = 7
submit_per_second = 4.5
query_per_second = 20
allow_private = false
submit_timeout_seconds = 12.5
on_ambiguous = "wait"
options = { workspace = "ws-1" }

[[upstreams.dashscope-beijing.offers]]
model = "wan2.5-t2i-preview"
upstream_model = "wan2.5-t2i-preview-2026"
cost_usd = "0.029"

[[upstreams.dashscope-beijing.offers]]
model = "wan2.7-image"
cost_usd = { "1K" = "0.02", "2K" = "0.03", "4K" = "0.06" }

[models."wan2.5-t2i-preview"]
price_credits = "1.5"
aliases = ["wan2.5-text-to-image", "gpt-image-1"]
"""
KEYS = {"DASHSCOPE_API_KEY": "sk-123"}


def test_the_documented_example():
    catalog = catalog_of(EXAMPLE, KEYS)
    upstream = catalog.upstreams["dashscope-beijing"]
    assert upstream.base_url == "https://dashscope.aliyuncs.com/api/v1"
    assert upstream.api_key.value == "sk-123"
    assert "sk-123" not in repr(catalog)
    assert upstream.max_in_flight == 7
    assert upstream.submit_per_second == Decimal("4.5")
    assert upstream.query_per_second == 20
    assert upstream.submit_timeout_ms == 12_500
    assert upstream.on_ambiguous is OnAmbiguous.WAIT
    assert upstream.options == {"workspace": "ws-1"}
    offer = catalog.offer(WAN25, "dashscope-beijing")
    assert offer is not None
    assert (offer.upstream_model, offer.cost) == ("wan2.5-t2i-preview-2026", PriceTable(29_000))
    assert catalog.price(WAN25, "2K") == 1_500_000
    assert catalog.aliases["gpt-image-1"] == WAN25
    assert catalog.credits_per_usd == Decimal("68.1818")


def test_a_model_without_a_price_costs_what_its_dearest_offer_does():
    text = EXAMPLE + upstream_toml("wave", "qingbo", {WAN27: "0.04"})
    catalog = catalog_of(text, KEYS)
    prices = [catalog.price(WAN27, tier) for tier in ("1K", "2K", "4K")]
    assert prices == [2_727_272, 2_727_272, 4_090_908]


def test_vendor_limits_are_the_defaults_of_an_account():
    catalog = catalog_of(upstream_toml("u", "dashscope", {WAN25: "1", "wan2.2-t2i-plus": "1"}))
    upstream = catalog.upstreams["u"]
    assert upstream.max_in_flight == 5
    assert upstream.submit_per_second == 5
    assert upstream.query_per_second == 20
    open_ended = catalog_of(upstream_toml("u", "evolink", {WAN25: "1"})).upstreams["u"]
    assert open_ended.max_in_flight == 0
    assert open_ended.query_per_second == 0
    assert open_ended.idempotent_submit
    assert not open_ended.exclusive_account
    ours = upstream_toml("u", "evolink", {WAN25: "1"}, "exclusive_account = true")
    assert catalog_of(ours).upstreams["u"].exclusive_account
    written = upstream_toml("u", "dashscope", {WAN25: "1"}, "max_in_flight = 0")
    assert catalog_of(written).upstreams["u"].max_in_flight == 0


@pytest.mark.parametrize("amount", ["0.02", "1.5", "3"])
def test_amounts_in_floats_are_refused_with_the_reason(amount):
    where = "upstreams.u.offers[0].cost_usd"
    text = upstream_toml("u", "evolink", {WAN25: "1"}).replace('"1"', amount)
    if "." in amount:
        reason = f'money is exact, a float is not: write it in quotes, "{amount}"'
        assert problems_of(text) == [(where, reason)]
    else:
        assert catalog_of(text).offers[WAN25][0].cost == PriceTable(3_000_000)


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ('"-1"', "must not be negative"),
        ('"1.0000001"', "1.0000001 has more than six decimals"),
        ('"cheap"', "'cheap' is not a decimal number"),
        ("true", 'must be an amount such as "0.022", not True'),
        ("[1]", 'must be an amount such as "0.022", not [1]'),
        ("{}", 'needs at least one tier, such as { "2K" = "0.03" }'),
        ('{ "2k" = "1" }', "is not a known key; did you mean '2K'?"),
    ],
)
def test_amounts_that_are_none(amount, reason):
    text = upstream_toml("u", "evolink", {WAN25: "1"}).replace('"1"', amount)
    assert [message for _, message in problems_of(text)] == [reason]


def test_a_missing_cost_is_asked_for():
    text = upstream_toml("u", "evolink", {WAN25: "1"}).replace('cost_usd = "1"', "")
    assert problems_of(text) == [
        ("upstreams.u.offers[0].cost_usd", "is missing: what does one picture cost?")
    ]


UPSTREAM = upstream_toml("u", "evolink", {WAN25: "1"})


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ('"evolink"', '"evolnk"', ".adapter", "'evolnk' is not known; did you mean 'evolink'?"),
        ('adapter = "evolink"', "", ".adapter", "is missing; known: dashscope, evolink, fal"),
        ('api_key = "k"', "", ".api_key", "is missing"),
        ('"k"', '""', ".api_key", "must not be empty"),
        ('"k"', '"env:NOPE"', ".api_key", "the environment variable NOPE is not set"),
        ('"k"', '"file:/no/such"', ".api_key", "the file /no/such cannot be read: No such file"),
        ('"k"', '"a b"', ".api_key", "holds characters no HTTP header can carry"),
        ('"k"', "7", ".api_key", "must be a text, not 7"),
        ("https:", "http:", ".base_url", "must be https; plain http is only for allow_private"),
        ("https://api.evolink.ai/v1", "api.evolink.ai", ".base_url", "must be a URL such as"),
        ("https://api.evolink.ai/v1", "", ".base_url", "must not be empty"),
        ("evolink.ai/v1", "evolink.ai:x/v1", ".base_url", "is no URL"),
        ("ai/v1", "ai/v1?a=b", ".base_url", "must not have a query, a fragment or a password"),
        ("//api", "//me:pw@api", ".base_url", "must not have a query, a fragment or a password"),
        ('"k"', '"k"\nmax_inflight = 3', ".max_inflight", "did you mean 'max_in_flight'?"),
        ('"k"', '"k"\nmax_in_flight = -3', ".max_in_flight", "must be at least 0"),
        ('"k"', '"k"\nmax_in_flight = true', ".max_in_flight", "must be a whole number, not True"),
        ('"k"', '"k"\nsubmit_per_second = -1', ".submit_per_second", "must be a number of at"),
        ('"k"', '"k"\nsubmit_timeout_seconds = 0', ".submit_timeout_seconds", "more than 0"),
        ('"k"', '"k"\non_ambiguous = "retry"', ".on_ambiguous", "'retry' is not known; known:"),
        ('"k"', '"k"\nallow_private = 1', ".allow_private", "must be true or false, not 1"),
        ('"k"', '"k"\noptions = { x = 1 }', ".options.x", "is not a known key"),
        (WAN25, "wan2.5-t2i-prview", ".offers[0].model", f"did you mean {WAN25!r}?"),
        (WAN25, "wan2.5-text-to-image", ".offers[0].model", f"write {WAN25!r}"),
        (WAN25, "", ".offers[0].model", "must not be empty"),
        (WAN25, "gpt-image-2", ".offers[0].model", "EvoLink does not sell 'gpt-image-2'"),
        ("cost_usd", "cost", ".offers[0].cost", "did you mean 'cost_usd'?"),
        ('"1"', '"1"\nlimits = { nmax = 1 }', ".offers[0].limits.nmax", "is not a known key"),
        ("upstreams.u", "upstreams.U!", "U!", "an upstream's name is 1 to 63 of"),
        ("upstreams.u", "upstreams.fal", "fal", "is the name of another adapter, not of 'evolink'"),
    ],
)
def test_each_mistake_in_an_upstream_has_its_place_and_words(old, new, where, message):
    text = UPSTREAM.replace(old, new)
    if "U!" in new:
        text = UPSTREAM.replace(old, 'upstreams."U!"')
    found = problems_of(text)
    assert any(place.strip('"').endswith(where) and message in words for place, words in found), (
        found
    )


def test_all_mistakes_are_told_at_once():
    broken = UPSTREAM.replace('"k"', '"env:NOPE"').replace("https", "http") + "[creditz]\n"
    places = [place for place, _ in problems_of(broken)]
    assert places == ["upstreams.u.base_url", "upstreams.u.api_key", "creditz"]


def test_an_offer_is_made_once_per_upstream():
    text = UPSTREAM + '[[upstreams.u.offers]]\nmodel = "wan2.5-t2i-preview"\ncost_usd = "2"\n'
    assert problems_of(text) == [
        ("upstreams.u.offers[1].model", f"{WAN25!r} is offered twice by 'u'")
    ]


def test_a_key_may_stand_in_a_file(tmp_path):
    path = tmp_path / "key"
    path.write_text("sk-file\n")
    text = UPSTREAM.replace('"k"', f'"file:{path}"')
    assert catalog_of(text).upstreams["u"].api_key.value == "sk-file"
    path.write_text("")
    assert problems_of(text)[0][1] == f"the file {path} is empty"
    path.write_bytes(b"\xff\xfe")
    assert problems_of(text)[0][1] == f"the file {path} cannot be read: it is no text file"


def test_plain_http_is_for_private_upstreams():
    text = UPSTREAM.replace("https", "http").replace('"k"', '"k"\nallow_private = true')
    assert catalog_of(text).upstreams["u"].base_url == "http://api.evolink.ai/v1"


# --- the file --------------------------------------------------------------------------------


def test_a_file_is_loaded(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(EXAMPLE, encoding="utf-8")
    assert load(path, KEYS) == catalog_of(EXAMPLE, KEYS)


def test_a_broken_file_is_told_with_its_place(tmp_path):
    path = tmp_path / "gateway.toml"
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(path, {})
    path.write_text("[credits\n")
    with pytest.raises(ConfigError, match=r"is not valid TOML: .*line 1"):
        load(path, {})
    path.write_text("[creditz]\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert caught.value.problems == (("creditz", "is not a known key; did you mean 'credits'?"),)
    assert "creditz: is not a known key" in str(caught.value)


def test_an_error_without_problems_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="at least one problem"):
        ConfigError()


# --- catalog check ---------------------------------------------------------------------------


def warnings_for(tmp_path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    report = check(path, KEYS)
    assert report.problems == ()
    assert report.catalog is not None
    return list(report.warnings)


def test_check_tells_problems_and_no_catalogue(tmp_path):
    path = tmp_path / "gateway.toml"
    path.write_text(EXAMPLE)
    report = check(path, {})
    assert report.catalog is None
    assert report.problems == (
        (
            "upstreams.dashscope-beijing.api_key",
            "the environment variable DASHSCOPE_API_KEY is not set",
        ),
    )
    assert check(tmp_path / "none.toml", {}).problems[0][1].startswith("cannot be read")


def test_check_warns_of_what_was_probably_not_meant(tmp_path):
    text = EXAMPLE + upstream_toml("idle", "evolink", {}).replace("ai/v1", "ai")
    text += '[models."wan2.6-t2i"]\nprice_credits = "1"\n'
    assert warnings_for(tmp_path, text) == [
        ("upstreams.idle.offers", "there is none: this upstream is never used"),
        (
            "upstreams.idle.base_url",
            "ends unlike https://api.evolink.ai/v1; a version segment may be missing or doubled",
        ),
        (
            "upstreams.idle.api_key",
            "is written in the file; env:NAME or file:/path keeps it out",
        ),
        ('models."wan2.6-t2i"', "no upstream offers it: callers will not find it"),
        (
            'models."wan2.5-t2i-preview"',
            "only dashscope-beijing offers it: nothing to fail over to",
        ),
        (
            'models."wan2.5-t2i-preview"',
            "is sold below what dashscope-beijing takes for it: 2K 1.5 < 1.977273 credits",
        ),
        ('models."wan2.7-image"', "only dashscope-beijing offers it: nothing to fail over to"),
        (
            'models."wan2.7-image"',
            "has no price_credits: it costs what its dearest offer does, from 1.363636",
        ),
    ]


def test_check_of_nothing_warns_that_nothing_is_sold():
    report = check(None, {})
    assert report.warnings == (("upstreams", "there is none: every request will be refused"),)
