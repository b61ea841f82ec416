"""The conflict and validity rules R1–R20 of models.md §4, each by its number.

Rules about one wire format alone (R11, R14, R15, R18) are kept by dialects and adapters; here
stands what the canonical request and the catalogue contribute to them.
"""

from __future__ import annotations

from decimal import Decimal

import pytest

from gateway.domain.address import check_callback_url
from gateway.domain.model import Feature
from gateway.domain.request import GenerationRequest, InputImage, Mode, PaletteColor
from gateway.domain.task import Ending, Image, Task, TaskStatus, charge
from gateway.domain.validation import check, demanded, normalize
from tests.support.catalogs import (
    ask,
    catalog_of,
    limits,
    model,
    offer_limits,
    pictures,
    upstream_toml,
)

WAN27 = "wan2.7-image"
PRO = "wan2.7-image-pro"


def palette(*shares: str, text: str = "#c2D1e6") -> tuple[PaletteColor, ...]:
    return tuple(PaletteColor(text, Decimal(share)) for share in shares)


def problems(request: GenerationRequest, provider: str | None = None) -> list[str]:
    found = model(request.model)
    judged = offer_limits(found.id, provider) if provider else found.limits
    return [str(problem) for problem in check(request, judged, defaults=found.defaults)]


def fields(request: GenerationRequest, provider: str | None = None) -> list[str]:
    found = model(request.model)
    judged = offer_limits(found.id, provider) if provider else found.limits
    return [problem.field for problem in check(request, judged, defaults=found.defaults)]


@pytest.mark.parametrize(
    ("extra", "ignored"),
    [
        ({"images": pictures(1)}, ("thinking",)),
        ({"group": True}, ("thinking",)),
        ({}, ()),
    ],
)
def test_r1_thinking_beside_pictures_or_in_a_group_is_dropped_with_a_warning(extra, ignored):
    request, dropped = normalize(ask(WAN27, thinking=True, **extra), model(WAN27))
    assert dropped == ignored
    assert request.thinking is (None if ignored else True)
    assert problems(request) == []


def test_r1_a_thinking_that_was_switched_off_is_dropped_without_a_warning():
    request, dropped = normalize(ask(WAN27, thinking=False, images=pictures(1)), model(WAN27))
    assert (request.thinking, dropped) == (None, ())


def test_r2_group_mode_drops_thinking_and_palette():
    wish = ask(WAN27, group=True, thinking=True, palette=palette("50", "30", "20"))
    request, dropped = normalize(wish, model(WAN27))
    assert dropped == ("palette", "thinking")
    assert (request.thinking, request.palette) == (None, ())


def test_r3_a_group_has_at_most_12_pictures_of_at_most_2k():
    assert problems(ask(WAN27, group=True, n=12, tier="2K")) == []
    assert problems(ask(WAN27, group=True, n=13)) == ["n is 13 (legal: 1 to 12)"]
    (text,) = problems(ask(PRO, group=True, n=12, tier="4K"))
    assert text.startswith("tier 4K is only made from text alone, without pictures or group mode")
    assert fields(ask(PRO, group=True, n=2, size="4096x4096")) == ["size"]


@pytest.mark.parametrize("name", [WAN27, PRO, "wan2.5-t2i-preview", "wan2.6-t2i"])
def test_r4_outside_group_mode_n_is_at_most_4(name):
    assert problems(ask(name, n=4)) == []
    assert fields(ask(name, n=5)) == ["n"]
    assert fields(ask(name, n=0)) == ["n"]


def test_r4_names_group_mode_where_it_would_allow_the_count():
    assert problems(ask(WAN27, n=5)) == ["n is 5 (legal: 1 to 4, or up to 12 in group mode)"]


def test_r5_a_group_is_billed_by_what_came():
    task = Task("t", "team", "key", "native", WAN27, WAN27, 12, "2K", 2_000, 24_000, 0, 1)
    images = tuple(Image(f"https://x/{i}") for i in range(7))
    assert charge(task, Ending(TaskStatus.COMPLETED, images)) == 14_000


@pytest.mark.parametrize(
    ("provider", "name", "extra", "legal"),
    [
        ("dashscope", PRO, {}, True),
        ("dashscope", PRO, {"images": pictures(1)}, False),
        ("dashscope", PRO, {"group": True}, False),
        ("modelverse", PRO, {}, True),
        ("qingbo", PRO, {}, True),
        ("dashscope", WAN27, {}, False),
        ("modelverse", WAN27, {}, False),
        ("qingbo", WAN27, {}, True),
        ("qingbo", WAN27, {"images": pictures(1)}, False),
    ],
)
def test_r6_4k_is_for_pro_from_text_alone_and_for_qingbo(provider, name, extra, legal):
    assert fields(ask(name, tier="4K", **extra), provider) == ([] if legal else ["tier"])


@pytest.mark.parametrize("wish", [{"tier": "4K"}, {"size": "4096x4096"}])
def test_r6_elsewhere_the_refusal_names_the_pro_model(wish):
    (text,) = problems(ask(WAN27, **wish), "dashscope")
    assert PRO in text


@pytest.mark.parametrize(
    ("colors", "text"),
    [
        (palette("50", "50"), "palette has 2 colours (legal: 3 to 10 colours)"),
        (palette(*["9"] * 10, "10"), "palette has 11 colours (legal: 3 to 10 colours)"),
        (palette("50", "30", "19.99"), "palette shares sum to 99.99 (legal: exactly 100)"),
        (palette("50", "30", "20", text="#12345"), "palette[0] is '#12345' (legal: #RRGGBB)"),
        (palette("33.333", "33.333", "33.334"), "palette[0] has the share 33.333"),
        (palette("0", "50", "50"), "palette[0] has the share 0"),
        (palette("-1", "51", "50"), "palette[0] has the share -1"),
        (palette("NaN", "50", "50"), "palette[0] has the share NaN"),
        (palette("Infinity", "50", "50"), "palette[0] has the share Infinity"),
    ],
)
def test_r7_a_palette_has_3_to_10_colours_that_sum_to_100(colors, text):
    assert problems(ask(WAN27, palette=colors))[0].startswith(text)


def test_r7_a_share_that_is_no_number_is_not_summed():
    assert fields(ask(WAN27, palette=palette("NaN", "50", "50"))) == ["palette[0]"]


@pytest.mark.parametrize("shares", [("33.33", "33.33", "33.34"), ("50", "30", "20.00")])
def test_r7_shares_are_summed_exactly(shares):
    assert problems(ask(WAN27, palette=palette(*shares))) == []


def test_r7_qingbo_takes_whole_shares_only():
    assert problems(ask(WAN27, palette=palette("50", "30", "20.0")), "qingbo") == []
    assert fields(ask(WAN27, palette=palette("50.5", "29.5", "20")), "qingbo") == [
        "palette[0]",
        "palette[1]",
    ]


def test_r8_a_palette_acts_outside_group_mode():
    request, dropped = normalize(ask(WAN27, palette=palette("50", "30", "20")), model(WAN27))
    assert dropped == ()
    assert demanded(request, model(WAN27).defaults) == (Feature.PALETTE,)


@pytest.mark.parametrize(
    ("boxes", "text"),
    [
        (((), ()), []),
        ((((1, 2, 3, 4),), ()), []),
        ((((1, 2, 3, 4),),), ["boxes has 1 lists for 2 pictures"]),
        (((),), ["boxes has 1 lists for 2 pictures"]),
        ((((1, 2, 3, 4),) * 3, ()), ["boxes[0] has 3 boxes (legal: at most 2 per picture)"]),
    ],
)
def test_r9_boxes_are_one_list_per_picture_of_at_most_two(boxes, text):
    found = problems(ask(WAN27, images=pictures(2), boxes=boxes))
    assert [part[: len(wanted)] for part, wanted in zip(found, text, strict=True)] == text


@pytest.mark.parametrize("box", [(5, 2, 5, 4), (6, 2, 5, 4), (1, 4, 3, 4), (-1, 2, 3, 4)])
def test_r10_a_box_runs_from_top_left_to_bottom_right(box):
    assert fields(ask(WAN27, images=pictures(1), boxes=((box,),))) == ["boxes[0][0]"]


def test_r10_a_box_lies_inside_its_picture():
    image = (InputImage("https://x/1", width=300, height=400),)
    assert problems(ask(WAN27, images=image, boxes=(((0, 0, 300, 400),),))) == []
    for box in ((0, 0, 301, 400), (0, 0, 300, 401)):
        (text,) = problems(ask(WAN27, images=image, boxes=((box,),)))
        assert text.startswith("boxes[0][0] reaches out of its picture of 300x400")


def test_r11_boxes_make_the_mode_an_interactive_edit():
    assert ask(WAN27, images=pictures(1), boxes=(((1, 2, 3, 4),),)).mode is Mode.INTERACTIVE_EDIT
    assert ask(WAN27, images=pictures(1), boxes=((),)).mode is Mode.EDIT


@pytest.mark.parametrize(
    ("count", "extra", "mode"),
    [
        (0, {}, Mode.GENERATE),
        (1, {}, Mode.EDIT),
        (2, {}, Mode.REFERENCE),
        (9, {}, Mode.REFERENCE),
        (0, {"group": True}, Mode.GROUP),
    ],
)
def test_r12_the_picture_count_gives_the_mode(count, extra, mode):
    request = ask(WAN27, images=pictures(count), **extra)
    assert request.mode is mode
    assert problems(request) == []


def test_r12_qingbo_gets_boxes_for_one_picture_only():
    boxed = ask(WAN27, images=pictures(2), boxes=(((1, 2, 3, 4),), ()))
    assert problems(boxed) == []
    assert problems(boxed, "qingbo") == ["images: 2 pictures were sent (legal: 0 to 1)"]


def test_r13_a_picture_without_a_prompt_is_for_modelverse():
    wish = ask(WAN27, prompt="", images=pictures(1))
    assert problems(wish) == []
    assert problems(wish, "modelverse") == []
    assert problems(wish, "dashscope") == ["prompt is required"]
    assert problems(wish, "qingbo") == ["prompt is required"]
    assert problems(ask(WAN27, prompt=" ")) == ["prompt or a picture is required"]


def test_r14_wan27_thinks_and_does_not_rewrite():
    for provider in ("modelverse", "qingbo", "dashscope"):
        features = offer_limits(WAN27, provider).features
        assert Feature.THINKING in features
        assert Feature.REWRITE_PROMPT not in features
    assert problems(ask(WAN27, rewrite_prompt=True)) == ["rewrite_prompt is not supported"]


@pytest.mark.parametrize(
    ("name", "protocol"),
    [
        ("wan2.7-image", "image-generation"),
        ("wan2.6-t2i", "image-generation"),
        ("wan2.5-t2i-preview", "text2image"),
        ("wan2.5-i2i-preview", "image2image"),
        ("wan2.2-t2i-flash", "text2image"),
        ("wanx2.0-t2i-turbo", "text2image"),
    ],
)
def test_r15_the_protocol_says_where_the_negative_prompt_goes(name, protocol):
    offer = catalog_of(upstream_toml("u", "dashscope", {name: "1"})).offer(name, "u")
    assert offer is not None
    assert offer.protocol == protocol


@pytest.mark.parametrize(
    ("name", "alone", "group"),
    [("wan2.5-t2i-preview", 4, None), ("wan2.6-image", 4, None), ("wan2.7-image", 1, 12)],
)
def test_r16_one_picture_is_meant_where_the_vendor_would_make_more(name, alone, group):
    count = limits(name).count
    assert (count.default, count.vendor_default) == (1, alone)
    assert group is None or count.vendor_group_default == group
    assert ask(name).n == 1


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://hooks.example.com/done", True),
        ("http://hooks.example.com/done", False),
        ("https://10.0.0.5/done", False),
        ("https://hooks.example.com/" + "x" * 2022, True),
        ("https://hooks.example.com/" + "x" * 2023, False),
    ],
)
def test_r18_a_callback_goes_to_a_public_https_address_of_at_most_2048_characters(url, public):
    assert (check_callback_url(url) is None) is public


def test_r19_wan25_sizes_obey_area_and_ratio():
    (text,) = problems(ask("wan2.5-t2i-preview", size="4000x200"))
    assert "has 800000 pixels" not in text
    assert "is longer than 4:1" in text
    (text,) = problems(ask("wan2.5-t2i-preview", size="2400x200"))
    assert "has 480000 pixels, fewer than 768x768 and is longer than 4:1" in text


@pytest.mark.parametrize("name", ["wan2.5-i2i-preview", "wan2.7-image", "wan2.7-image-pro"])
def test_r20_transparency_is_refused(name):
    opaque = pictures(1, has_alpha=False)
    assert problems(ask(name, images=opaque)) == []
    assert problems(ask(name, images=pictures(1, has_alpha=True))) == [
        "images[0] has transparency (legal: an opaque picture)"
    ]


def test_an_upstream_sells_what_its_offers_name():
    u = upstream_toml("u", "dashscope", {"wan2.5-t2i-preview": "1", "wan2.6-t2i": "1"})
    catalog = catalog_of(u + upstream_toml("v", "dashscope", {"wan2.6-t2i": "1"}))
    assert sorted(offer.model for offer in catalog.offers_of("u")) == [
        "wan2.5-t2i-preview",
        "wan2.6-t2i",
    ]
    assert [offer.model for offer in catalog.offers_of("v")] == ["wan2.6-t2i"]
    assert catalog.offers_of("w") == ()
