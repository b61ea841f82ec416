"""The `[models]` of `gateway.toml`: aliases, limits, models of one's own, rates."""

from __future__ import annotations

import pytest

from tests.support.catalogs import catalog_of, problems_of, upstream_toml

WAN25, WAN27 = "wan2.5-t2i-preview", "wan2.7-image"
UPSTREAM = upstream_toml("u", "evolink", {WAN25: "1"})


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
