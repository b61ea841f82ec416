"""Reading untrusted JSON: every problem at once, in the caller's words, and never a crash."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects._fields import Fields, Reading, parse_object
from gateway.domain.errors import InvalidRequest

KNOWN = ("size", "seed", "prompt", "watermark", "list", "inner")


def fields(values, *, from_form=False):
    return Fields(values, Reading(), KNOWN, from_form=from_form)


def problem_of(values, read, *, from_form=False):
    subject = fields(values, from_form=from_form)
    read(subject)
    with pytest.raises(InvalidRequest) as caught:
        subject.reading.finish()
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"nonsense",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1} {"b": 2}',
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b'{"a": ' + b"9" * 5000 + b"}",
        b'["a"]',
        b'"text"',
        b"null",
        b"\xef\xbb\xbf{}",
    ],
)
def test_a_body_that_is_no_json_object_is_one_clear_problem(body):
    with pytest.raises(InvalidRequest) as caught:
        parse_object(body)
    assert caught.value.status == 400
    assert caught.value.code in ("invalid_json", "invalid_type", "missing_required_parameter")


def test_numbers_keep_their_digits():
    assert parse_object(b'{"ratio": 33.30}') == {"ratio": Decimal("33.30")}


@pytest.mark.parametrize("text", ["a\x00b", "\x00", "a\ud800"])
def test_text_that_no_store_can_keep_is_refused(text):
    problem = problem_of({"prompt": text}, lambda f: f.text("prompt"))
    assert problem.field == "prompt"


@pytest.mark.parametrize("value", [1, True, ["a"], {"a": 1}, Decimal("1.5")])
def test_a_text_field_takes_text_only(value):
    assert problem_of({"prompt": value}, lambda f: f.text("prompt")).code == "invalid_type"


@pytest.mark.parametrize("value", ["7", True, False, [7], {}])
def test_an_integer_field_takes_no_text_and_no_boolean(value):
    problem = problem_of({"seed": value}, lambda f: f.integer("seed"))
    assert problem.code == "invalid_type"
    assert "must be an integer" in problem.message


@pytest.mark.parametrize("value", [2**63, -(2**64), 10**400, Decimal("1E+999999999")])
def test_an_integer_beyond_63_bits_is_out_of_range(value):
    problem = problem_of({"seed": value}, lambda f: f.integer("seed"))
    assert problem.message == "seed is out of range."


@pytest.mark.parametrize(
    ("value", "found"), [(7, 7), (Decimal("7.0"), 7), (0, 0), (-1, -1), (2**63 - 1, 2**63 - 1)]
)
def test_whole_numbers_are_read(value, found):
    assert fields({"seed": value}).integer("seed") == found


def test_half_a_picture_is_no_integer():
    problem = problem_of({"seed": Decimal("1.5")}, lambda f: f.integer("seed"))
    assert problem.code == "invalid_type"


@pytest.mark.parametrize("value", ["true", 1, 0, "yes", []])
def test_a_boolean_field_takes_booleans_only(value):
    problem = problem_of({"watermark": value}, lambda f: f.flag("watermark"))
    assert problem.code == "invalid_type"


@pytest.mark.parametrize(
    ("text", "found"), [("true", True), ("False", False), ("1", True), ("0", False)]
)
def test_a_form_spells_booleans(text, found):
    assert fields({"watermark": text}, from_form=True).flag("watermark") is found


def test_a_form_spells_numbers_and_lists():
    form = fields({"seed": "12", "list": "[1, 2]", "inner": '{"seed": 1}'}, from_form=True)
    inner = form.child("inner", ("seed",))
    assert (form.integer("seed"), form.items("list")) == (12, [1, 2])
    assert inner is not None
    assert inner.integer("seed") == 1


@pytest.mark.parametrize("text", ["", "twelve", "1e3", "0x10", "١٢", "NaN", "9" * 50])
def test_a_form_number_is_written_in_digits(text):
    problem_of({"seed": text}, lambda f: f.integer("seed"), from_form=True)


@pytest.mark.parametrize(
    ("name", "nearest"), [("sise", "size"), ("Seed", "seed"), ("promt", "prompt")]
)
def test_an_unknown_field_names_the_nearest_legal_one(name, nearest):
    problem = problem_of({name: 1}, lambda f: None)
    assert (problem.field, problem.code, problem.legal) == (name, "unknown_parameter", nearest)


def test_an_unknown_field_unlike_any_lists_the_legal_ones():
    problem = problem_of({"zzz": 1}, lambda f: None)
    assert problem.legal == "inner, list, prompt, seed, size, watermark"


def test_a_long_unknown_name_is_not_repeated_whole():
    problem = problem_of({"x" * 10_000: 1}, lambda f: None)
    assert len(problem.field) < 100
    assert len(problem.message) < 200


def test_null_means_absent():
    subject = fields({"seed": None, "prompt": None, "list": None})
    assert "seed" not in subject
    assert (subject.integer("seed"), subject.text("prompt"), subject.items("list")) == (
        None,
        None,
        None,
    )
    subject.reading.finish()


def test_problems_inside_an_object_carry_its_path():
    subject = fields({"inner": {"sed": 1, "seed": "x"}})
    inner = subject.child("inner", ("seed",))
    assert inner is not None
    inner.integer("seed")
    with pytest.raises(InvalidRequest) as caught:
        subject.reading.finish()
    assert [problem.field for problem in caught.value.problems] == ["inner.sed", "inner.seed"]


def test_all_problems_are_reported_at_once():
    subject = fields({"seed": "x", "prompt": 3, "watermark": 1, "colour": 1})
    subject.integer("seed")
    subject.text("prompt")
    subject.flag("watermark")
    with pytest.raises(InvalidRequest) as caught:
        subject.reading.finish()
    assert [p.field for p in caught.value.problems] == ["colour", "seed", "prompt", "watermark"]
    assert caught.value.param == "colour"


def test_a_thousand_unknown_fields_do_not_make_a_thousand_lines():
    subject = fields({f"field{number}": 1 for number in range(1000)})
    with pytest.raises(InvalidRequest) as caught:
        subject.reading.finish()
    assert len(caught.value.problems) == 20


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.dictionaries(st.sampled_from(KNOWN), JSON), from_form=st.booleans())
def test_no_value_crashes_a_reader(values, from_form):
    subject = fields(values, from_form=from_form)
    for name in KNOWN:
        subject.text(name)
        subject.flag(name)
        subject.number(name)
        subject.integer(name)
        subject.items(name)
        subject.texts(name)
        subject.choice(name, ("a",))
        subject.child(name, KNOWN)
        subject.require(name)
    for problem in subject.reading.problems:
        str(problem).encode()
