"""Extras a model has of its own: legal for that model alone, typed as its rule says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.dialects import DIALECTS
from gateway.domain.errors import InvalidRequest
from gateway.domain.model import Catalog, OptionRule
from gateway.domain.submission import Draft
from tests.dialects.samples import call, catalog, route

MODEL = "wan2.6-t2i"
RULES = {"steps": OptionRule(minimum=1, maximum=50), "sampler": OptionRule(("ddim", "euler"))}


def extended() -> Catalog:
    model = catalog().models[MODEL]
    limits = replace(model.limits, options=RULES)
    return replace(catalog(), models={**catalog().models, MODEL: replace(model, limits=limits)})


def read(name: str, model: str, form: tuple[tuple[str, str], ...] = (), **body: Any) -> Draft:
    dialect = DIALECTS[name]
    words = call({"model": model, "prompt": "p", **body}, form=form)
    return dialect.read_create(words, route(dialect, "/images/generations"), extended())


@pytest.mark.parametrize("name", ["evolink", "openai"])
def test_they_are_read_for_the_model_that_has_them(name: str) -> None:
    draft = read(name, MODEL, steps=20, sampler="euler")
    assert draft.request.options == {"steps": 20, "sampler": "euler"}


def test_a_form_spells_their_numbers_in_text() -> None:
    form = (("model", MODEL), ("prompt", "p"), ("steps", "20"))
    assert read("openai", MODEL, form).request.options == {"steps": 20}


def test_they_are_unknown_fields_to_every_other_model() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read("evolink", "wan2.5-t2i-preview", steps=20)
    assert (refused.value.param, refused.value.code) == ("steps", "unknown_parameter")


def test_a_number_that_is_a_text_is_refused() -> None:
    with pytest.raises(InvalidRequest) as refused:
        read("evolink", MODEL, steps="twenty")
    assert refused.value.param == "steps"
