"""Output sizes: resolving, judging and snapping (models.md §1, §3, qingbo.md §2)."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.builtin import builtin
from gateway.domain.model import SizeRule, parse_size
from gateway.domain.request import InputImage, Size
from gateway.domain.sizes import (
    legal_sizes,
    nominal,
    read_ratio,
    resolve,
    size_problems,
    snap,
    tier_size,
    violations,
)
from tests.support.catalogs import ask, limits, offer_limits

AREA_RULE = SizeRule("1280x1280", pixels_min=1_600_225, pixels_max=2_073_600, ratio_max=4)
SIDE_RULE = SizeRule("1024x1024", side_min=512, side_max=1440, pixels_max=2_073_600)
CHOICES = SizeRule("auto", choices=("1024x1024", "1536x1024", "1024x1536"))


def resolved(model: str, **fields: Any) -> tuple[str, str]:
    found = resolve(ask(model, **fields), limits(model).size)
    return found.size.text(), found.tier


TABLE = {
    "1K": "1024x1024 1280x720 720x1280 1152x864 864x1152 1248x832 832x1248",
    "2K": "2048x2048 2688x1512 1512x2688 2336x1752 1752x2336 2496x1664 1664x2496",
    "4K": "4096x4096 5376x3024 3024x5376 4704x3528 3528x4704 5016x3344 3344x5016",
}


@pytest.mark.parametrize("tier", TABLE)
def test_tier_and_ratio_give_the_table_of_qingbo(tier):
    ratios = ["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]
    made = [tier_size(tier, Fraction(*map(int, r.split(":")))).text() for r in ratios]
    assert made == TABLE[tier].split()


def test_an_odd_ratio_is_met_within_eight_pixels():
    size = tier_size("1K", Fraction(1023, 767))
    assert size.pixels <= 1024 * 1024
    assert abs(size.width - size.height * 1023 / 767) < 16


def test_an_endless_ratio_still_gives_a_picture():
    assert tier_size("1K", Fraction(99999, 1)).height == 8


@pytest.mark.parametrize(
    ("model", "fields", "size", "tier"),
    [
        ("wan2.5-t2i-preview", {}, "1280x1280", "2K"),
        ("wan2.5-t2i-preview", {"aspect_ratio": "16:9"}, "1696x960", "2K"),
        ("wan2.5-t2i-preview", {"aspect_ratio": "3:2"}, "1568x1056", "2K"),
        ("wan2.5-t2i-preview", {"size": "768x768"}, "768x768", "1K"),
        ("wan2.2-t2i-plus", {}, "1024x1024", "1K"),
        ("wan2.7-image", {}, "2048x2048", "2K"),
        ("wan2.7-image", {"tier": "1K"}, "1024x1024", "1K"),
        ("wan2.7-image", {"tier": "4K", "aspect_ratio": "16:9"}, "5376x3024", "4K"),
        ("wan2.7-image", {"aspect_ratio": "3:4"}, "1752x2336", "2K"),
        ("gpt-image-2", {}, "1024x1024", "1K"),
        ("gpt-image-1.5", {"aspect_ratio": "3:2"}, "1536x1024", "2K"),
        ("gpt-image-1.5", {"aspect_ratio": "16:9"}, "1536x1024", "2K"),
        ("qwen-image-edit", {"size": "640x480"}, "1024x1024", "1K"),
    ],
)
def test_a_request_resolves_to_pixels_and_a_tier(model, fields, size, tier):
    assert resolved(model, **fields) == (size, tier)


def test_the_nominal_size_of_a_rule():
    assert nominal(SizeRule("auto")) == Size(1024, 1024)
    assert nominal(SizeRule("2K", tiers=("2K",))) == Size(2048, 2048)
    assert nominal(CHOICES) == Size(1024, 1024)


@pytest.mark.parametrize(
    ("size", "snapped"),
    [
        ("1024x1024", "1280x1280"),
        ("1536x1024", "1568x1056"),
        ("1024x1536", "1056x1568"),
        ("1792x1024", "1792x1024"),
        ("2048x2048", "1440x1440"),
        ("100x4000", "640x2560"),
    ],
)
def test_snap_scales_to_a_legal_area(size, snapped):
    wish = parse_size(size)
    assert wish is not None
    assert snap(wish, AREA_RULE).text() == snapped


@pytest.mark.parametrize(
    ("size", "snapped"),
    [("1024x1024", "1024x1024"), ("1792x1024", "1536x1024"), ("512x512", "1024x1024")],
)
def test_snap_takes_the_nearest_choice(size, snapped):
    wish = parse_size(size)
    assert wish is not None
    assert snap(wish, CHOICES).text() == snapped


def test_snap_leaves_a_fixed_size_to_the_vendor():
    assert snap(Size(3, 5), limits("qwen-image-edit").size) == Size(1024, 1024)


def test_snap_gives_the_default_where_nothing_near_is_legal():
    broken = SizeRule("1000x1000", choices=("10x10",), pixels_min=500)
    assert snap(Size(10, 10), broken) == Size(1000, 1000)
    impossible = SizeRule("512x512", side_min=512, side_max=512, pixels_max=100)
    assert snap(Size(700, 20), impossible) == Size(512, 512)


def test_snap_moves_a_small_picture_to_the_least_area_where_the_default_is_a_tier():
    assert snap(Size(512, 512), limits("wan2.7-image").size) == Size(768, 768)


def test_snap_takes_the_plain_maximum_only_for_text_alone():
    rule = limits("wan2.7-image-pro").size
    assert snap(Size(4096, 4096), rule) == Size(4096, 4096)
    assert snap(Size(4096, 4096), rule, plain=False) == Size(2048, 2048)


RULES = {
    f"{name}/{plain}": (item.limits.size, plain)
    for name, item in builtin().models.items()
    for plain in (True, False)
}


@given(
    st.sampled_from(sorted(RULES)),
    st.integers(1, 20_000),
    st.integers(1, 20_000),
)
def test_a_snapped_size_is_legal_close_in_ratio_and_stays(key, width, height):
    rule, plain = RULES[key]
    size = snap(Size(width, height), rule, plain=plain)
    if rule.fixed:
        return
    assert not violations(size, rule, plain=plain)
    assert snap(size, rule, plain=plain) == size
    bounds = [float(rule.ratio_max)] if rule.ratio_max else []
    if rule.side_max and rule.side_min:
        bounds.append(rule.side_max / rule.side_min)
    possible = max(width, height) <= min(bounds, default=3) * min(width, height)
    if not rule.choices and possible and min(width, height) >= 256:
        wished, made = width / height, size.width / size.height
        assert max(wished / made, made / wished) < 1.1


@given(
    st.integers(1, 3000),
    st.integers(1, 3000),
    st.integers(64, 1000),
    st.integers(0, 3000),
    st.sampled_from([1, 2, 8, 16, 32]),
    st.sampled_from([None, 2, 3, 8]),
)
def test_snap_is_legal_under_any_sensible_rule(width, height, low, span, step, ratio_max):
    least = -(-low // 64) * 64
    most = (least + span) // 64 * 64
    rule = SizeRule(
        f"{least}x{least}",
        side_min=least,
        side_max=most,
        side_multiple=step,
        ratio_max=ratio_max,
    )
    assert not violations(snap(Size(width, height), rule), rule, plain=True)


def messages(model: str, **fields: Any) -> list[str]:
    rule = SizeRule("2K", tiers=("1K", "2K")) if model == "small" else limits(model).size
    return [str(problem) for problem in size_problems(ask(model, **fields), rule)]


def test_an_illegal_size_is_told_with_its_reasons_and_the_nearest_legal_one():
    (text,) = messages("wan2.6-t2i", size="1024x1024")
    assert text.startswith(
        "size 1024x1024 has 1048576 pixels, fewer than 1265x1265; "
        "the nearest legal size is 1280x1280 (legal: 1265x1265 to 1440x1440 pixels in all"
    )


@pytest.mark.parametrize(
    ("model", "size", "reason"),
    [
        ("wan2.5-t2i-preview", "2048x2048", "more than 1440x1440"),
        ("wan2.5-t2i-preview", "400x2000", "is longer than 4:1"),
        ("wan2.2-t2i-plus", "511x1000", "a side below 512"),
        ("wan2.2-t2i-plus", "512x1441", "a side above 1440"),
        ("gpt-image-2", "1000x1000", "16 does not divide"),
        ("gpt-image-1.5", "1792x1024", "is not one of the sizes made here"),
    ],
)
def test_each_size_bound_has_its_own_words(model, size, reason):
    (text,) = messages(model, size=size)
    assert reason in text


@pytest.mark.parametrize(
    ("model", "fields", "text"),
    [
        ("wan2.5-t2i-preview", {"tier": "2K"}, "tier 2K is not known here; the nearest size"),
        ("wan2.7-image", {"tier": "8K"}, "tier 8K is not known (legal: 1K"),
        ("small", {"tier": "4K"}, "tier 4K is not made here (legal: 1K, 2K)"),
        ("wan2.7-image", {"size": "1024x1024", "tier": "1K"}, "exclude each other"),
        ("wan2.7-image", {"aspect_ratio": "wide"}, "aspect_ratio 'wide' is not WIDTH:HEIGHT"),
        ("wan2.7-image", {"aspect_ratio": "9:1"}, "aspect_ratio 9:1 is too long (legal: 1:8"),
        (
            "wan2.7-image",
            {"size": "1024x1024", "aspect_ratio": "16:9"},
            "aspect_ratio 16:9 is not that of 1024x1024",
        ),
        (
            "gpt-image-1.5",
            {"aspect_ratio": "16:9"},
            "aspect_ratio 16:9 is not made here; the nearest size is 1536x1024",
        ),
        # Nothing says how long a picture may be, but its sides have bounds.
        (
            "wan2.2-t2i-plus",
            {"aspect_ratio": "100:1"},
            "aspect_ratio 100:1 is not made here; the nearest size is 1440x512",
        ),
        ("qwen-image-edit", {"size": "512x512"}, "size cannot be chosen here"),
    ],
)
def test_tiers_and_ratios_have_their_own_words(model, fields, text):
    (found,) = messages(model, **fields)
    assert text in found


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("wan2.7-image", {"size": "1024x1024", "aspect_ratio": "1:1"}),
        ("gpt-image-1.5", {"aspect_ratio": "2:3"}),
        ("wan2.2-t2i-plus", {"aspect_ratio": "14:5"}),
        ("wan2.7-image", {"tier": "2K", "aspect_ratio": "7:3"}),
        ("wan2.5-t2i-preview", {"tier": "2K", "snap_size": True}),
        ("gpt-image-1.5", {"aspect_ratio": "16:9", "snap_size": True}),
        ("wan2.6-t2i", {"size": "1024x1024", "snap_size": True}),
        ("qwen-image-edit", {"size": "512x512", "snap_size": True}),
    ],
)
def test_legal_wishes_and_snapped_ones_are_no_problem(model, fields):
    assert messages(model, **fields) == []


def test_a_snapped_request_resolves_to_a_legal_size_of_the_offer_that_is_tried():
    wish = ask("wan2.5-t2i-preview", size="1024x1024", snap_size=True)
    rules = {
        name: offer_limits("wan2.5-t2i-preview", name).size for name in ("evolink", "dashscope")
    }
    assert resolve(wish, rules["evolink"]).size == Size(1024, 1024)
    assert resolve(wish, rules["dashscope"]).size == Size(1280, 1280)


def test_a_tier_is_snapped_where_only_pixels_are_known():
    wish = ask("wan2.5-t2i-preview", tier="1K", snap_size=True)
    found = resolve(wish, AREA_RULE)
    assert (found.size, found.tier) == (Size(1280, 1280), "2K")


def test_a_ratio_word_of_a_provider_without_it_is_refused():
    rule = offer_limits("wan2.7-image", "modelverse").size
    (problem,) = size_problems(ask("wan2.7-image", tier="2K", aspect_ratio="16:9"), rule)
    assert (problem.field, problem.legal) == ("aspect_ratio", "1:1")


def test_r17_the_last_picture_gives_the_ratio():
    images = (InputImage("https://a/1", width=500, height=500), InputImage("https://a/2"))
    known = (*images[:1], InputImage("https://a/2", width=1000, height=500))
    assert resolved("wan2.5-i2i-preview", images=images) == ("1280x1280", "2K")
    size, _ = resolved("wan2.5-i2i-preview", images=known)
    assert size == "1792x896"
    assert resolved("wan2.7-image", images=known, tier="2K") == ("2896x1448", "2K")
    assert resolved("wan2.7-image", images=known, aspect_ratio="1:1") == ("2048x2048", "2K")


def test_r17_a_very_long_picture_is_followed_as_far_as_the_rule_goes():
    long = (InputImage("https://a/1", width=5000, height=400),)
    size, _ = resolved("wan2.5-i2i-preview", images=long)
    assert size == "2560x640"


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (SIDE_RULE, "up to 1440x1440 pixels in all, sides 512 to 1440"),
        (SizeRule("1x1", pixels_min=7), "7 pixels or more"),
        (SizeRule("1x1", side_max=9), "sides 1 to 9"),
        (SizeRule("1x1", side_min=9), "sides 9 to any length"),
        (SizeRule("2K", tiers=("1K", "2K")), "1K, 2K"),
        (CHOICES, "1024x1024, 1536x1024, 1024x1536"),
    ],
)
def test_legal_sizes_in_words(rule, text):
    assert legal_sizes(rule, plain=True) == text


@pytest.mark.parametrize("text", ["16:9", "1:1", "99999:1"])
def test_a_ratio_is_read(text):
    wide, high = map(int, text.split(":"))
    assert read_ratio(text) == Fraction(wide, high)


@pytest.mark.parametrize("text", ["", "16/9", "0:9", "16:", "1.5:1", "-1:2", "100000:1"])
def test_what_is_no_ratio(text):
    assert read_ratio(text) is None


@pytest.mark.parametrize("separator", ["x", "X", "*", "×", " x "])
def test_a_size_is_read_with_any_separator(separator):
    assert parse_size(f"1280{separator}720") == Size(1280, 720)


@pytest.mark.parametrize("text", ["1280", "x", "0x5", "-1x5", "1e3x5", "99999999x1", "١x١", "2K"])
def test_what_is_no_size(text):
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("size", "tier"),
    [("1024x1024", "1K"), ("1025x1024", "2K"), ("4096x4096", "4K"), ("9000x9000", "4K")],
)
def test_the_tier_of_a_size_is_the_smallest_that_holds_it(size, tier):
    wish = parse_size(size)
    assert wish is not None
    assert wish.tier == tier
