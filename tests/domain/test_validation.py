"""Validation beyond the numbered rules: limits per model, pictures, masks, options, defaults."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.builtin import builtin
from gateway.domain.model import Feature, Limits, OptionRule, SizeRule
from gateway.domain.request import GenerationRequest, InputImage, Mode
from gateway.domain.validation import check, close_names, demanded
from tests.support.catalogs import ask, limits, model, offer_limits, pictures


def problems(request: GenerationRequest, judged: Limits | None = None) -> list[str]:
    found = model(request.model)
    return [str(p) for p in check(request, judged or found.limits, defaults=found.defaults)]


PROMPTS = {
    "wan2.5-t2i-preview": (2000, 500),
    "wan2.5-i2i-preview": (2000, 500),
    "wan2.6-t2i": (2100, 500),
    "wan2.6-image": (2000, 500),
    "wan2.7-image": (5000, None),
    "wan2.7-image-pro": (5000, None),
    "wan2.2-t2i-plus": (500, 500),
    "wan2.2-t2i-flash": (500, 500),
    "wan2.1-t2i-plus": (500, 500),
    "wan2.1-t2i-turbo": (500, 500),
    "wanx2.0-t2i-turbo": (800, 500),
    "gpt-image-2": (32_000, None),
    "gpt-image-1.5": (32_000, None),
    "dall-e-3": (4000, None),
    "dall-e-2": (1000, None),
}


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_counted_in_characters(name):
    most, negative = PROMPTS[name]
    images = pictures(limits(name).images.count_min)
    assert problems(ask(name, "山" * most, images=images)) == []
    assert problems(ask(name, "山" * (most + 1), images=images)) == [
        f"prompt has {most + 1} characters (legal: at most {most} characters)"
    ]
    if negative is None:
        wish = ask(name, negative_prompt="text", images=images)
        assert problems(wish) == ["negative_prompt is not supported"]
    else:
        wish = ask(name, negative_prompt="x" * (negative + 1), images=images)
        assert problems(wish) == [
            f"negative_prompt has {negative + 1} characters (legal: at most {negative} characters)"
        ]


SIZES = [
    ("wan2.5-t2i-preview", "768x768", True),
    ("wan2.5-t2i-preview", "767x768", False),
    ("wan2.5-t2i-preview", "1440x1440", True),
    ("wan2.5-t2i-preview", "1441x1440", False),
    ("wan2.5-t2i-preview", "768x2700", True),
    ("wan2.5-t2i-preview", "2000x500", True),
    ("wan2.5-t2i-preview", "2004x500", False),
    ("wan2.5-i2i-preview", "1280x1280", True),
    ("wan2.5-i2i-preview", "1281x1280", False),
    ("wan2.6-t2i", "1265x1265", True),
    ("wan2.6-t2i", "1264x1265", False),
    ("wan2.6-t2i", "960x1696", True),
    ("wan2.6-t2i", "1104x1472", True),
    ("wan2.6-image", "768x768", True),
    ("wan2.6-image", "1296x1280", False),
    ("wan2.7-image", "2048x2048", True),
    ("wan2.7-image", "2172x272", True),
    ("wan2.7-image", "4096x4096", True),
    ("wan2.7-image-pro", "4096x4096", True),
    ("wan2.7-image-pro", "4097x4096", False),
    ("wan2.2-t2i-plus", "512x1440", True),
    ("wan2.2-t2i-plus", "511x1440", False),
    ("wan2.2-t2i-flash", "1440x1440", True),
    ("wan2.1-t2i-plus", "1441x1000", False),
    ("wanx2.0-t2i-turbo", "1024x1024", True),
    ("gpt-image-2", "3840x2160", True),
    ("gpt-image-2", "2160x3840", True),
    ("gpt-image-2", "3856x2160", False),
    ("gpt-image-2", "3840x2176", False),
    ("gpt-image-2", "1024x1020", False),
    ("gpt-image-2", "1536x496", False),
    ("gpt-image-1.5", "1536x1024", True),
    ("gpt-image-1.5", "1024x1792", False),
    ("dall-e-3", "1792x1024", True),
    ("dall-e-3", "512x512", False),
    ("dall-e-2", "256x256", True),
    ("dall-e-2", "1024x1536", False),
]


@pytest.mark.parametrize(("name", "size", "legal"), SIZES)
def test_sizes_per_model(name, size, legal):
    images = pictures(limits(name).images.count_min)
    found = check(ask(name, size=size, images=images), limits(name))
    assert [p.field for p in found] == ([] if legal else ["size"])


COUNTS = {
    "wan2.5-t2i-preview": (4, 0, 0),
    "wan2.5-i2i-preview": (4, 1, 3),
    "wan2.6-t2i": (4, 0, 0),
    "wan2.6-image": (4, 1, 4),
    "wan2.7-image": (4, 0, 9),
    "wan2.7-image-pro": (4, 0, 9),
    "wan2.2-t2i-plus": (4, 0, 0),
    "wanx2.0-t2i-turbo": (4, 0, 0),
    "qwen-image": (1, 0, 0),
    "qwen-image-3.0": (6, 0, 3),
    "z-image-turbo": (1, 0, 0),
    "gpt-image-2": (10, 0, 16),
    "gpt-image-1-mini": (10, 0, 16),
    "dall-e-3": (1, 0, 0),
    "dall-e-2": (10, 0, 1),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_of_pictures_out_and_in_per_model(name):
    most, low, high = COUNTS[name]
    images = pictures(low)
    assert problems(ask(name, n=most, images=images)) == []
    assert [p.field for p in check(ask(name, n=most + 1, images=images), limits(name))] == ["n"]
    assert problems(ask(name, images=pictures(high))) == []
    too_many = check(ask(name, images=pictures(high + 1)), limits(name))
    assert [p.field for p in too_many] == ["images"]
    if low:
        assert problems(ask(name))[0].startswith("images: a picture is required")


def test_a_model_of_one_picture_says_so():
    name = "dall-e-2"
    assert problems(ask(name, images=pictures(2))) == [
        "images: 2 pictures were sent (legal: 0 to 1)"
    ]
    assert problems(ask("dall-e-3", n=2)) == ["n is 2 (legal: 1)"]
    assert problems(ask("qwen-image-edit", images=pictures(2))) == [
        "images: 2 pictures were sent (legal: 1)"
    ]


def test_group_mode_is_for_models_that_have_it():
    assert problems(ask("wan2.5-t2i-preview", group=True, n=9)) == ["group mode is not supported"]


def test_interleave_has_its_own_counts():
    name = "wan2.6-image"
    assert problems(ask(name, interleave=True, n=5)) == []
    assert problems(ask(name, interleave=True, n=6)) == ["n is 6 (legal: 1 to 5)"]
    assert problems(ask(name, interleave=True, images=pictures(2))) == [
        "images: 2 pictures were sent (legal: 0 to 1)"
    ]
    assert problems(ask("wan2.5-t2i-preview", interleave=True, n=9)) == [
        "interleave is not supported"
    ]


def test_a_mode_a_provider_lacks_is_refused():
    text_only = Limits(100, SizeRule("1024x1024"), images=limits("wan2.7-image").images)
    assert problems(ask("wan2.7-image", images=pictures(1)), text_only) == [
        "images: edit is not supported"
    ]


PICTURES = [
    ("wan2.5-i2i-preview", {"width": 384, "height": 5000}, True),
    ("wan2.5-i2i-preview", {"width": 383, "height": 500}, False),
    ("wan2.5-i2i-preview", {"width": 500, "height": 5001}, False),
    ("wan2.5-i2i-preview", {"byte_count": 10_485_760}, True),
    ("wan2.5-i2i-preview", {"byte_count": 10_485_761}, False),
    ("wan2.5-i2i-preview", {"media_type": "image/bmp"}, True),
    ("wan2.5-i2i-preview", {"media_type": "image/gif"}, False),
    ("wan2.7-image", {"width": 240, "height": 240}, True),
    ("wan2.7-image", {"width": 239, "height": 240}, False),
    ("wan2.7-image", {"width": 8000, "height": 1000}, True),
    ("wan2.7-image", {"width": 8000, "height": 999}, False),
    ("wan2.7-image", {"byte_count": 31_457_281}, False),
    ("gpt-image-2", {"byte_count": 52_428_800}, False),
    ("gpt-image-2", {"media_type": "image/bmp"}, False),
    ("gpt-image-2", {"width": 1, "height": 99_999, "has_alpha": True}, True),
    ("dall-e-2", {"width": 100, "height": 100, "media_type": "image/png"}, True),
    ("dall-e-2", {"width": 100, "height": 101}, False),
]


@pytest.mark.parametrize(("name", "facts", "legal"), PICTURES)
def test_input_pictures_per_model(name, facts, legal):
    found = check(ask(name, images=(*pictures(0), *pictures(1, **facts))), limits(name))
    assert [p.field for p in found] == ([] if legal else ["images[0]"])


def test_a_picture_as_data_is_refused_where_only_links_are_taken():
    name = "wan2.5-i2i-preview"
    wish = ask(name, images=(InputImage("data:image/png;base64,AAAA"),))
    assert problems(wish) == []
    assert problems(wish, offer_limits(name, "evolink")) == [
        "images[0] is picture data (legal: an http(s) link)"
    ]


def test_picture_bounds_in_words():
    only_low = Limits(
        100,
        SizeRule("1x1"),
        images=type(limits("dall-e-2").images)(count_max=1, side_min=9),
        modes=frozenset(Mode),
    )
    (text,) = problems(ask("dall-e-2", images=pictures(1, width=5, height=5)), only_low)
    assert text == "images[0] is 5x5 (legal: sides of 9 pixels or more)"
    (text,) = problems(ask("dall-e-2", images=pictures(1, width=5, height=6)))
    assert text == "images[0] is 5x6 (legal: square)"


PNG = InputImage("https://x/mask.png", "image/png", 64, 64, 100, has_alpha=True)


@pytest.mark.parametrize(
    ("mask", "facts", "text"),
    [
        (PNG, {"width": 64, "height": 64}, None),
        (InputImage("https://x/mask.png"), {}, None),
        (PNG, {"width": 64, "height": 65}, "mask is 64x64, the first picture 64x65"),
        (InputImage("https://x/m", "image/jpeg"), {}, "mask must be a PNG with transparency"),
        (InputImage("https://x/m", has_alpha=False), {}, "mask must be a PNG with transparency"),
        (InputImage("https://x/m", byte_count=5_000_000), {}, "mask has 5000000 bytes"),
    ],
)
def test_a_mask_fits_its_picture(mask, facts, text):
    found = problems(ask("gpt-image-2", images=pictures(1, **facts), mask=mask))
    assert [part[: len(text or "")] for part in found] == ([text] if text else [])


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (InputImage("https://x/m", "image/jpeg", 600, 600, 100, has_alpha=False), None),
        (InputImage("https://x/m", "image/png", 600, 600, 100, has_alpha=True), None),
        (InputImage("https://x/m", "image/gif"), "mask is image/gif"),
        (InputImage("https://x/m", "image/png", 600, 64), "mask is 600x64, the first picture 600"),
        (InputImage("https://x/m", byte_count=11_000_000), "mask has 11000000 bytes"),
    ],
)
def test_a_black_and_white_mask_needs_no_transparency(mask, text):
    images = pictures(1, width=600, height=600)
    found = problems(ask("wanx2.1-imageedit", images=images, mask=mask))
    assert [part[: len(text or "")] for part in found] == ([text] if text else [])


def test_a_mask_needs_a_picture_and_a_model_that_takes_one():
    assert problems(ask("gpt-image-2", mask=PNG)) == ["mask needs a picture it covers"]
    assert problems(ask("wan2.7-image", images=pictures(1), mask=PNG)) == ["mask is not supported"]


@pytest.mark.parametrize(
    ("seed", "name", "legal"),
    [
        (0, "wan2.7-image", True),
        (2_147_483_647, "wan2.7-image", True),
        (2_147_483_648, "wan2.7-image", False),
        (-1, "wan2.7-image", False),
        (5, "gpt-image-2", False),
    ],
)
def test_seeds(seed, name, legal):
    found = check(ask(name, seed=seed), limits(name))
    assert [p.field for p in found] == ([] if legal else ["seed"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"quality": "high", "output_compression": 80, "user": "u-1"}, None),
        ({"quality": "best"}, "quality is 'best' (legal: auto, low, medium, high, xhigh, max)"),
        (
            {"output_compression": 101},
            "output_compression is '101' (legal: a whole number",
        ),
        ({"output_compression": True}, "output_compression is 'True'"),
        ({"output_compression": "80"}, "output_compression is '80'"),
        ({"user": 7}, "user is '7' (legal: a text)"),
        ({"glow": "yes"}, "glow is not supported"),
    ],
)
def test_options_obey_their_rules(options, text):
    found = problems(ask("gpt-image-2", options=options))
    assert [part[: len(text or "")] for part in found] == ([text] if text else [])


@pytest.mark.parametrize(
    ("rule", "value", "legal"),
    [
        (OptionRule(minimum=2), 2, None),
        (OptionRule(minimum=2), 1, "a whole number 2 to any"),
        (OptionRule(maximum=2), 2, None),
        (OptionRule(maximum=2), 3, "a whole number any to 2"),
    ],
)
def test_half_open_options(rule, value, legal):
    judged = Limits(100, SizeRule("1024x1024"), options={"frames": rule})
    found = check(ask("m", options={"frames": value}), judged)
    assert [p.legal for p in found] == ([legal] if legal else [])


def test_every_problem_is_told_at_once():
    request = ask("wan2.5-t2i-preview", "", n=9, size="1x1", seed=-5, mask=PNG, tier="8K")
    found = check(request, limits("wan2.5-t2i-preview"))
    assert [p.field for p in found] == ["prompt", "n", "size", "tier", "size", "mask", "seed"]


@pytest.mark.parametrize(
    ("fields", "features"),
    [
        ({}, ()),
        ({"watermark": False, "rewrite_prompt": True}, ()),
        ({"watermark": True}, (Feature.WATERMARK,)),
        ({"rewrite_prompt": False}, (Feature.REWRITE_PROMPT,)),
        ({"thinking": False}, ()),
        ({"thinking": True}, (Feature.THINKING,)),
        ({"seed": 0}, (Feature.SEED,)),
        ({"negative_prompt": ""}, ()),
        ({"negative_prompt": "x"}, (Feature.NEGATIVE_PROMPT,)),
    ],
)
def test_a_field_equal_to_the_models_default_demands_nothing(fields, features):
    name = "wan2.5-t2i-preview"
    assert demanded(ask(name, **fields), model(name).defaults) == features


@given(st.text(max_size=30), st.integers(-3, 20), st.integers(-(2**70), 2**70))
def test_whatever_is_asked_check_answers_with_words(prompt, n, seed):
    request = ask("wan2.7-image", prompt, n=n, seed=seed, aspect_ratio=prompt, tier=prompt)
    for problem in check(request, limits("wan2.7-image")):
        assert problem.message.startswith(problem.field)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("WAN2.5-text-to-imag", ("wan2.5-text-to-image",)),
        ("gpt-image-3", ("gpt-image-2", "gpt-image-1", "gpt-image-1.5")),
        ("zzzzzz", ()),
        ("", ()),
    ],
)
def test_close_names(name, close):
    known = ["gpt-image-1", "gpt-image-2", "gpt-image-1.5", "wan2.5-text-to-image"]
    assert set(close_names(name, known)) == set(close)


@given(st.text(alphabet=string.printable, max_size=200))
def test_close_names_survive_any_name(name):
    assert len(close_names(name, builtin().models)) <= 3
