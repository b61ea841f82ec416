"""What is filled in, canonical, dropped before a request is judged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.catalog.builtin import builtin
from gateway.domain.validation import normalize
from tests.support.catalogs import ask, model, pictures


def test_normalize_fills_in_the_models_own_defaults():
    request, ignored = normalize(ask("wan2.7-image"), model("wan2.7-image"))
    assert (request.thinking, request.watermark, request.rewrite_prompt) == (True, False, None)
    assert ignored == ()
    request, _ = normalize(ask("wan2.7-image", thinking=False), model("wan2.7-image"))
    assert request.thinking is False


def test_normalize_gives_the_canonical_name_and_the_dialects_way_with_sizes():
    sold = model("wan2.7-image")
    request, _ = normalize(ask("an-alias"), sold, snap_size=True)
    assert (request.model, request.snap_size) == ("wan2.7-image", True)
    assert normalize(request, sold)[0].snap_size is True
    assert normalize(request, sold, snap_size=False)[0].snap_size is False


def test_normalize_drops_options_the_model_does_not_have():
    wish = ask("wan2.7-image", options={"quality": "high", "style": "vivid"})
    request, ignored = normalize(wish, model("wan2.7-image"))
    assert (request.options, ignored) == ({}, ("quality", "style"))
    request, ignored = normalize(
        ask("gpt-image-2", options={"quality": "high", "style": "vivid"}), model("gpt-image-2")
    )
    assert (request.options, ignored) == ({"quality": "high"}, ("style",))


def test_normalize_tidies_what_says_nothing():
    wish = ask("wan2.7-image", tier="2k", negative_prompt="  ", images=pictures(1), boxes=((),))
    request, ignored = normalize(wish, model("wan2.7-image"))
    assert (request.tier, request.negative_prompt, request.boxes) == ("2K", None, ())
    assert ignored == ()


@given(
    st.sampled_from(sorted(builtin().models)),
    st.fixed_dictionaries(
        {},
        optional={
            "thinking": st.booleans(),
            "watermark": st.booleans(),
            "group": st.booleans(),
            "images": st.integers(0, 3).map(pictures),
            "options": st.dictionaries(st.sampled_from(["quality", "style"]), st.just("x")),
            "negative_prompt": st.text(max_size=3),
        },
    ),
)
def test_normalizing_twice_changes_nothing_more(name, fields):
    once, _ = normalize(ask(name, **fields), model(name))
    assert normalize(once, model(name)) == (once, ())
