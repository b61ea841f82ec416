"""What callers are told of a model: list entry, limits, price, and the schema of its parameters."""

from __future__ import annotations

import json

import pytest
from jsonschema_rs import Draft202012Validator, meta

from gateway.catalog.builtin import builtin
from gateway.catalog.schema import (
    limits_in_force,
    limits_view,
    model_view,
    parameter_schema,
    tiers_made,
)
from gateway.domain.model import Limits, OptionRule, SizeRule
from tests.support.catalogs import catalog_of, limits, upstream_toml

WAN25, WAN27 = "wan2.5-t2i-preview", "wan2.7-image"
CATALOG = catalog_of(
    upstream_toml("beijing", "dashscope", {WAN25: "0.029", WAN27: "0.0294", "wan2.6-image": "1"})
    + upstream_toml("wave", "qingbo", {WAN27: "0.02295"})
    + upstream_toml("oa", "openai", {"gpt-image-2": "0.04", "dall-e-2": "0.02"})
    + f'[models."{WAN25}"]\nprice_credits = {{ "1K" = "1", "2K" = "1.5" }}\naliases = ["mine"]\n'
)


def schema(name: str) -> dict:
    return parameter_schema(CATALOG.models[name], CATALOG)


@pytest.mark.parametrize("name", builtin().models)
def test_every_model_has_a_valid_schema_and_json_view(name):
    view = model_view(builtin().models[name], CATALOG)
    meta.validate(view["parameters"])
    assert json.loads(json.dumps(view)) == view


def test_an_entry_has_openais_fields_and_ours():
    view = model_view(CATALOG.models[WAN25], CATALOG)
    assert (view["id"], view["object"], view["owned_by"]) == (WAN25, "model", "alibaba")
    assert isinstance(view["created"], int)
    assert view["aliases"] == ["mine", "wan2.5-text-to-image"]
    assert view["price"] == {"unit": "credits", "per_image": "1.5", "by_tier": {"2K": "1.5"}}


def test_a_model_nobody_sells_has_no_price():
    view = model_view(CATALOG.models["dall-e-3"], CATALOG)
    assert (view["price"], view["aliases"]) == (None, [])


def test_limits_are_those_of_the_configured_offers():
    assert limits_in_force(CATALOG.models[WAN25], CATALOG).size.pixels_min == 1_600_225
    assert limits_in_force(CATALOG.models["wan2.6-t2i"], CATALOG) == limits("wan2.6-t2i")
    both = limits_in_force(CATALOG.models[WAN27], CATALOG)
    assert both.size.tiers_plain == ("4K",)
    assert both.size.choices == ()
    assert both.images.bytes_max == 30 * 2**20
    assert both.images.formats == ("image/jpeg", "image/png", "image/webp", "image/bmp")


def test_limits_as_numbers_and_in_words():
    view = limits_view(limits_in_force(CATALOG.models[WAN27], CATALOG))
    assert view["n"] == {"default": 1, "max": 4, "group_max": 12}
    assert view["size"]["tiers_text_only"] == ["4K"]
    assert view["size"]["legal"].startswith("1K; 2K; 4K; 768x768 to 4096x4096 pixels")
    assert view["features"] == [
        "bbox_list", "color_palette", "seed", "thinking_mode", "watermark",
    ]  # fmt: skip
    assert limits_view(limits(WAN25))["images"]["formats"] == []


LEGAL = [
    (WAN25, {"prompt": "x"}),
    (WAN25, {"prompt": "x", "size": "1280*1280", "n": 4, "prompt_extend": False, "seed": -1}),
    (WAN27, {"prompt": "x", "size": "2K", "n": 12, "enable_sequential": True}),
    (WAN27, {"prompt": "x", "resolution": "4K", "aspect_ratio": "16:9"}),
    (WAN27, {"prompt": "x", "color_palette": [{"hex": "#0A2540", "ratio": "33%"}] * 3}),
    (WAN27, {"prompt": "x", "image_urls": ["https://x/1"], "bbox_list": [[[1, 2, 3, 4]]]}),
    ("wan2.6-image", {"prompt": "x", "image_urls": ["https://x/1"]}),
    ("gpt-image-2", {"prompt": "x", "size": "auto", "quality": "high", "output_compression": 5}),
    ("dall-e-2", {"prompt": "x", "size": "256x256", "mask": "https://x/m", "user": "u"}),
]
ILLEGAL = [
    (WAN25, {}),
    (WAN25, {"prompt": ""}),
    (WAN25, {"prompt": "x" * 2001}),
    (WAN25, {"prompt": "x", "n": 5}),
    (WAN25, {"prompt": "x", "size": "2K"}),
    (WAN25, {"prompt": "x", "prompt_extend": "yes"}),
    (WAN27, {"image_urls": ["https://x/1"]}),
    (WAN27, {"prompt": "x", "n": 5}),
    (WAN27, {"prompt": "x", "n": 5, "enable_sequential": False}),
    (WAN27, {"prompt": "x", "image_urls": ["https://x"] * 10}),
    (WAN27, {"prompt": "x", "color_palette": []}),
    (WAN27, {"prompt": "x", "bbox_list": [[[1, 2, 3]]]}),
    ("wan2.6-image", {"prompt": "x"}),
    ("gpt-image-2", {"prompt": "x", "quality": "best"}),
    ("gpt-image-2", {"prompt": "x", "output_compression": 101}),
    ("dall-e-2", {"prompt": "x", "size": "1000x1000"}),
]


@pytest.mark.parametrize(
    ("name", "body", "legal"),
    [*((*case, True) for case in LEGAL), *((*case, False) for case in ILLEGAL)],
)
def test_the_schema_agrees_with_the_rules(name, body, legal):
    found = Draft202012Validator(schema(name)).is_valid({"model": name, **body})
    assert found is legal


def test_a_picture_is_enough_where_an_upstream_says_so():
    verse = catalog_of(upstream_toml("verse", "modelverse", {WAN27: "1"}))
    judge = Draft202012Validator(parameter_schema(verse.models[WAN27], verse))
    assert judge.is_valid({"model": WAN27, "image_urls": ["https://x/1"]})
    assert judge.is_valid({"model": WAN27, "prompt": "x"})
    assert not judge.is_valid({"model": WAN27})


def test_fields_a_model_does_not_have_are_not_in_its_schema():
    assert "seed" not in schema("gpt-image-2")["properties"]
    assert (
        "size" not in parameter_schema(builtin().models["qwen-image-edit"], CATALOG)["properties"]
    )
    assert schema(WAN25)["properties"]["model"]["enum"] == [WAN25, "mine", "wan2.5-text-to-image"]


@pytest.mark.parametrize(
    ("size", "tiers"),
    [
        (SizeRule("1K", tiers=("2K", "1K")), ["1K", "2K"]),
        (SizeRule("1024x1024", choices=("1024x1024", "4000x4000")), ["1K", "4K"]),
        (SizeRule("1x1", pixels_min=2_000_000, pixels_max=3_000_000), ["2K"]),
        (SizeRule("1x1", side_min=512, side_max=1440), ["1K", "2K"]),
        (SizeRule("auto"), ["1K", "2K", "4K"]),
    ],
)
def test_the_tiers_a_rule_can_make(size, tiers):
    assert tiers_made(Limits(1, size)) == tiers


def test_half_open_numbers_have_one_bound():
    judged = Limits(1, SizeRule("1x1", auto=False), options={"steps": OptionRule(minimum=1)})
    model = type(builtin().models[WAN25])("m", "M", "me", judged)
    found = parameter_schema(model, CATALOG)["properties"]
    assert found["steps"] == {"type": "integer", "minimum": 1}
    assert found["size"]["examples"] == ["1x1"]
    assert "auto" not in found["size"]["pattern"]
