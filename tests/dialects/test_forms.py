"""Forms whose names spell lists and objects in brackets, as the OpenAI SDKs send ``extra_body``."""

from __future__ import annotations

import pytest

from gateway.app.dialect import UploadedFile
from gateway.dialects import DIALECTS
from gateway.dialects._fields import Reading
from gateway.dialects._forms import form_values
from gateway.dialects._pictures import data_url
from tests.dialects.samples import PNG, call, catalog, route


def read(*form, files=()):
    reading = Reading()
    values = form_values(call(b"", form=form, files=files), reading, ("image", "images"))
    return values, [problem.field for problem in reading.problems]


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ([("n", "2"), ("prompt", "a [kite]")], {"n": "2", "prompt": "a [kite]"}),
        ([("n", "2"), ("n", "3")], {"n": "3"}),
        ([("image", "a"), ("image", "b")], {"image": ["a", "b"]}),
        ([("image", "a"), ("image[]", "b")], {"image": ["a", "b"]}),
        ([("images[]", "a")], {"images": ["a"]}),
        (
            [("provider[only][]", "a"), ("provider[only][]", "b"), ("provider[max_price]", "1")],
            {"provider": {"only": ["a", "b"], "max_price": "1"}},
        ),
        (
            [("p[][hex]", "#1"), ("p[][ratio]", "60"), ("p[][hex]", "#2"), ("p[][ratio]", "40")],
            {"p": [{"hex": "#1", "ratio": "60"}, {"hex": "#2", "ratio": "40"}]},
        ),
        (
            [("p[][hex]", "#1"), ("p[][hex]", "#2"), ("p[][ratio]", "60"), ("p[][ratio]", "40")],
            {"p": [{"hex": "#1", "ratio": "60"}, {"hex": "#2", "ratio": "40"}]},
        ),
        ([("images[][image_url]", "a")], {"images": [{"image_url": "a"}]}),
        ([("a[b", "x"), ("]", "y")], {"a[b": "x", "]": "y"}),
    ],
)
def test_brackets_make_lists_and_objects(form, values):
    assert read(*form) == (values, [])


@pytest.mark.parametrize(
    "form",
    [
        [("bbox_list[][][]", "1")],
        [("n", "1"), ("n[a]", "2")],
        [("n[]", "1"), ("n[a]", "2")],
        [("n" + "[a]" * 5, "1")],
    ],
)
def test_what_brackets_cannot_say_is_refused_by_its_plain_name(form):
    assert read(*form)[1] == [form[0][0].partition("[")[0]]


def test_switches_inside_an_object_of_a_form_are_texts_too():
    form = [("model", "m"), ("prompt", "p"), ("image", "https://a.example/1.png"),
            ("provider[allow_fallbacks]", "false"), ("provider[only][]", "dear")]  # fmt: skip

    openai = DIALECTS["openai"]
    request = call(b"", form=tuple(form))
    draft = openai.read_create(request, route(openai, "/images/edits"), catalog())

    assert draft.request.rules.allow_fallbacks is False
    assert draft.request.rules.only == ("dear",)


def test_files_are_data_after_the_texts_and_only_where_pictures_belong():
    files = [UploadedFile(name, "a.png", "", PNG) for name in ("image[]", "image[]", "mask", "doc")]

    values, problems = read(("prompt", "p"), files=tuple(files))

    data = data_url(PNG, "")
    assert values == {"prompt": "p", "image": [data, data], "mask": data}
    assert problems == ["doc"]
