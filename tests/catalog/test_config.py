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


# --- models and aliases ----------------------------------------------------------------------


def test_a_built_in_alias_is_there_and_the_operator_may_move_it():
    assert catalog_of(UPSTREAM).aliases["wan2.5-text-to-image"] == WAN25
    both = UPSTREAM + upstream_toml("w", "qingbo", {WAN27: "1"})
    moved = both + f'[models."{WAN27}"]\naliases = ["wan2.5-text-to-image", "gpt-image-1"]\n'
    aliases = catalog_of(moved).aliases
    assert aliases["wan2.5-text-to-image"] == aliases["gpt-image-1"] == WAN27


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            f'[models."{WAN25}"]\naliases = ["a"]\n[models."{WAN27}"]\naliases = ["a"]',
            f"'a' already stands for {WAN25!r}",
        ),
        (f'[models."{WAN25}"]\naliases = ["{WAN27}"]', "is the name of a model that is offered"),
        (f'[models."{WAN25}"]\naliases = ["two words"]', "'two words' is no usable name"),
        (f'[models."{WAN25}"]\naliases = [7]', "must be a text"),
        ('[models."wan2.5-text-to-image"]\nprice_credits = 1', f"is another name of {WAN25!r}"),
        ('[models."wan2.7-imag"]\nprice_credits = 1', "did you mean 'wan2.7-image'?"),
        ('[models."a b"]\nlike = "wan2.7-image"', "is no usable model name"),
        (f'[models."{WAN25}"]\nprice = 1', "is not a known key; did you mean 'price_credits'?"),
        (f'[models."{WAN25}"]\nprice_credits = 1.5', "money is exact"),
        (f'[models."{WAN25}".limits]\nprompt_max = 0', "must be at least 1"),
        (f'[models."{WAN25}".limits.size]\ndefault = "big"', "'big' is neither WxH, nor one of"),
        (f'[models."{WAN25}".limits.size]\nchoices = ["1by1"]', "'1by1' is no size such as"),
        (f'[models."{WAN25}".limits.size]\nratios = ["wide"]', "'wide' is no ratio such as 16:9"),
        (f'[models."{WAN25}".limits.size]\npixels_min = 9999999', "is larger than pixels_max"),
        (f'[models."{WAN25}".limits.images]\ncount_min = 2', "is larger than count_max"),
        (f'[models."{WAN25}".limits]\nmodes = ["edits"]', "did you mean 'edit'?"),
        (f'[models."{WAN25}"]\ntypical_seconds = "5"', "must be a number, not '5'"),
        (f'[models."{WAN25}"]\nreleased = "2026"', "must be a date such as 2025-09-24"),
        (f'models = ["{WAN25}"]', "must be a table"),
    ],
)
def test_each_mistake_in_a_model_has_its_words(models, message):
    text = UPSTREAM + upstream_toml("w", "qingbo", {WAN27: "1"})
    text = f"{models}\n{text}" if models.startswith("models") else text + models
    found = problems_of(text)
    assert any(message in words for _, words in found), found


def test_the_operator_overrides_limits_and_offers_are_narrowed_still():
    text = UPSTREAM + upstream_toml("d", "dashscope", {WAN25: "1"})
    text += f'[models."{WAN25}".limits]\nprompt_max = 300\n[models."{WAN25}".limits.size]\n'
    text += 'pixels_min = 1_000_000\ndefault = "1024x1024"\n'
    catalog = catalog_of(text)
    assert catalog.models[WAN25].limits.prompt_max == 300
    assert [o.limits.size.pixels_min for o in catalog.offers[WAN25]] == [1_000_000, 1_600_225]
    assert {o.limits.prompt_max for o in catalog.offers[WAN25]} == {300}


def test_an_offers_limits_may_replace_the_providers_but_not_exceed_the_models():
    text = upstream_toml("d", "dashscope", {WAN25: "1"})
    text += 'limits = { size = { pixels_min = 1 }, prompt_max = 99999, features = ["seed"] }\n'
    (offer,) = catalog_of(text).offers[WAN25]
    assert offer.limits.size.pixels_min == 589_824
    assert offer.limits.prompt_max == 2000
    assert {str(f) for f in offer.limits.features} == {"seed"}


NEW_MODEL = """
[models."flux-9"]
price_credits = "3"
title = "Flux nine"
typical_seconds = 5
deadline_seconds = 60
released = 2026-10-01
defaults = { watermark = true }
inert = { group = ["thinking"], images = [] }

[models."flux-9".limits]
prompt_max = 100
options = { glow = { choices = ["soft", "hard"] }, steps = { minimum = 1, maximum = 50 } }
features = ["watermark"]

[models."flux-9".limits.size]
default = "512x512"
choices = ["512x512"]
"""


@pytest.mark.parametrize("adapter", ["openai", "qingbo"])
def test_an_operator_may_define_a_model_any_upstream_can_offer(adapter):
    catalog = catalog_of(upstream_toml("u", adapter, {"flux-9": "0.01"}) + NEW_MODEL)
    model = catalog.models["flux-9"]
    assert (model.title, model.owned_by, model.typical_ms) == ("Flux nine", "operator", 5000)
    assert model.defaults == {"watermark": True}
    assert model.limits.options["glow"].choices == ("soft", "hard")
    (offer,) = catalog.offers["flux-9"]
    assert offer.upstream_model == "flux-9"
    assert offer.limits.size.choices == ("512x512",)


def test_a_model_may_be_like_a_built_in_one():
    text = upstream_toml("u", "openai", {"my-wan": "0.01"})
    text += '[models."my-wan"]\nlike = "wan2.7-image"\n[models."my-wan".limits]\nprompt_max = 9\n'
    model = catalog_of(text).models["my-wan"]
    assert (model.limits.prompt_max, model.aliases, model.title) == (9, (), "my-wan")
    assert model.limits.count.group_max == 12


def test_a_new_model_needs_its_limits():
    found = problems_of(UPSTREAM + '[models."flux-9".limits]\nmodes = ["generate"]\n')
    assert [place for place, _ in found] == [
        "models.flux-9.limits.prompt_max",
        "models.flux-9.limits.size.default",
    ]


def test_a_built_in_model_can_be_offered_elsewhere_when_the_protocol_is_named():
    text = upstream_toml("u", "evolink", {WAN27: "0.01"}) + 'protocol = "images"\n'
    (offer,) = catalog_of(text).offers[WAN27]
    assert offer.protocol == "images"
    openai = catalog_of(upstream_toml("o", "openai", {WAN27: "0.01"})).offers[WAN27][0]
    assert {str(mode) for mode in openai.limits.modes} == {"generate", "edit", "reference"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("per_usd = 68.1818", "money is exact"),
        ('per_usd = "0"', "must be more than 0"),
        ('perusd = "60"', "did you mean 'per_usd'?"),
    ],
)
def test_the_credit_rate(line, message):
    ((_, words),) = problems_of(f"[credits]\n{line}\n")
    assert message in words


def test_a_rate_of_ones_own_sets_derived_prices():
    catalog = catalog_of(UPSTREAM + '[credits]\nper_usd = "10"\n')
    assert catalog.price(WAN25, "1K") == 10_000_000


def test_arrays_and_tables_are_not_mixed_up():
    notes = problems_of('upstreams = 7\n[models."wan2.7-image"]\ndefaults = 1\n')
    assert [message for _, message in notes] == ["must be a table, not 1", "must be a table, not 7"]
    text = '[upstreams.u]\nadapter = "evolink"\nbase_url = "https://a/v1"\napi_key = "k"\n'
    assert problems_of(text + "offers = [7]\n") == [("upstreams.u.offers[0]", "must be a table")]
    assert problems_of("[upstreams]\nu = 7\n") == [("upstreams.u", "must be a table, not 7")]


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
