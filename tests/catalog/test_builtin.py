"""The built-in files: every model and provider of the references, consistent with each other."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.catalog import load
from gateway.catalog.builtin import builtin, read_models
from gateway.catalog.limits import contradictions, widest
from gateway.domain.model import parse_size
from gateway.domain.sizes import legal_sizes, nominal, violations
from tests.support.catalogs import catalog_of, limits, model, offer_limits, upstream_toml

MODELS = builtin().models
SALES = [(adapter, name) for adapter, p in builtin().providers.items() for name in p.models]


def test_every_model_of_the_reference_is_there():
    wan = ["wan2.5-t2i-preview", "wan2.5-i2i-preview", "wan2.6-t2i", "wan2.6-image"]
    wan += ["wan2.7-image", "wan2.7-image-pro", "wan2.2-t2i-plus", "wan2.2-t2i-flash"]
    wan += ["wan2.1-t2i-plus", "wan2.1-t2i-turbo", "wanx2.0-t2i-turbo"]
    neighbours = ["wanx-v1", "wanx2.1-imageedit", "qwen-image", "qwen-image-edit"]
    neighbours += ["qwen-image-3.0", "z-image-turbo"]
    openai = ["gpt-image-2", "gpt-image-1.5", "gpt-image-1-mini", "gpt-image-1"]
    openai += [f"gpt-image-2.{minor}-{name}" for minor in (5, 6) for name in ("flare", "sunburst")]
    openai += ["chatgpt-image-latest", "dall-e-2", "dall-e-3"]
    wanted = [*wan, *neighbours, *openai]
    assert set(wanted) <= set(MODELS)


def test_without_a_configuration_nothing_is_sold():
    catalog = load(None, {})
    assert catalog.models == MODELS
    assert (catalog.aliases, catalog.upstreams, catalog.offers) == ({}, {}, {})


@pytest.mark.parametrize("name", MODELS)
def test_each_models_own_sizes_are_legal(name):
    rule = limits(name).size
    assert contradictions(limits(name)) == []
    assert MODELS[name].created > 1_600_000_000
    for text in (*rule.suggested, *rule.choices):
        size = parse_size(text)
        assert size is not None
        assert violations(size, rule, plain=True) == ()
    assert violations(nominal(rule), rule, plain=False) == ()
    assert "None" not in legal_sizes(rule, plain=True)


@pytest.mark.parametrize(("adapter", "name"), SALES)
def test_an_offer_never_allows_more_than_its_model(adapter, name):
    offered, own = offer_limits(name, adapter), limits(name)
    assert widest([own, offered]) == own
    assert offered.features <= own.features
    assert violations(nominal(offered.size), offered.size, plain=False) == ()


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("wan2.5-text-to-image", "wan2.5-t2i-preview"),
        ("wan2.5-image-to-image", "wan2.5-i2i-preview"),
        ("wanx2.1-t2i-plus", "wan2.1-t2i-plus"),
        ("wanx2.1-t2i-turbo", "wan2.1-t2i-turbo"),
        ("gpt-image-2-2026-04-21", "gpt-image-2"),
    ],
)
def test_names_of_other_dialects_are_aliases(name, canonical):
    assert name in model(canonical).aliases


@pytest.mark.parametrize(
    ("host", "upstream_model"),
    [
        ("dashscope.aliyuncs.com", "wanx2.1-t2i-plus"),
        ("dashscope-intl.aliyuncs.com", "wan2.1-t2i-plus"),
        ("ws1.cn-beijing.maas.aliyuncs.com", "wanx2.1-t2i-plus"),
        ("ws1.ap-southeast-1.maas.aliyuncs.com", "wan2.1-t2i-plus"),
    ],
)
def test_dashscope_names_and_rates_follow_the_region(host, upstream_model):
    text = upstream_toml("u", "dashscope", {"wan2.1-t2i-plus": "1", "wan2.6-t2i": "1"})
    catalog = catalog_of(text.replace("dashscope.aliyuncs.com", host))
    offer = catalog.offer("wan2.1-t2i-plus", "u")
    rate = catalog.offer("wan2.6-t2i", "u")
    assert offer is not None
    assert rate is not None
    assert offer.upstream_model == upstream_model
    assert rate.submit_per_second == (1 if upstream_model.startswith("wanx") else 5)


@pytest.mark.parametrize(
    ("adapter", "name", "upstream_model"),
    [
        ("evolink", "wan2.5-t2i-preview", "wan2.5-text-to-image"),
        ("evolink", "wan2.5-i2i-preview", "wan2.5-image-to-image"),
        ("fal", "wan2.5-t2i-preview", "fal-ai/wan-25-preview/text-to-image"),
        ("modelverse", "qwen-image", "Qwen/Qwen-Image"),
        ("qingbo", "wan2.7-image", "wan2.7-image"),
    ],
)
def test_vendors_have_their_own_names(adapter, name, upstream_model):
    offer = catalog_of(upstream_toml("u", adapter, {name: "1"})).offer(name, "u")
    assert offer is not None
    assert offer.upstream_model == upstream_model


def test_the_documented_narrowings():
    evolink = offer_limits("wan2.5-i2i-preview", "evolink")
    assert (evolink.images.count_max, evolink.negative_prompt_max) == (2, 500)
    assert {str(f) for f in evolink.features} == {"rewrite_prompt"}
    assert offer_limits("wan2.5-i2i-preview", "dashscope").images.count_max == 3
    assert offer_limits("wan2.5-t2i-preview", "dashscope").size.pixels_min == 1_600_225
    assert offer_limits("wan2.7-image", "dashscope").images.bytes_max == 20 * 2**20
    assert offer_limits("wan2.7-image", "qingbo").images.bytes_max == 30 * 2**20
    assert offer_limits("wan2.7-image", "modelverse").size.choices == ("1024x1024", "2048x2048")
    assert offer_limits("wan2.5-t2i-preview", "replicate").count.max == 1


def test_a_model_like_another_may_come_before_it_and_circles_are_told():
    notes: list[tuple[str, str]] = []
    size = {"default": "1x1"}
    documents: dict[str, dict[str, Any]] = {
        "a": {"id": "a", "like": "b"},
        "b": {"id": "b", "limits": {"prompt_max": 5, "size": size}},
        "c": {"id": "x", "like": "b"},
        "d": {"id": "d", "like": "e"},
        "e": {"id": "e", "like": "d"},
        "f": {"id": "f"},
    }
    models = read_models(documents, {}, notes)
    assert models["a"].limits == models["b"].limits
    assert notes == [
        ("f.limits.prompt_max", "is missing: a new model needs it"),
        ("f.limits.size.default", "is missing: a new model needs it"),
        ("c.id", "must be the name of the file"),
        ("d", "is like itself, in a circle"),
        ("e", "is like itself, in a circle"),
    ]
