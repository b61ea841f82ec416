"""The unified request body: every field of every dialect in one flat object.

The native dialect documents it; the OpenAI dialect accepts the same names, because that is how
OpenAI SDK users reach them (``extra_body``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.app.dialect import Call
from gateway.dialects import _parts
from gateway.dialects._actions import read_action
from gateway.dialects._fields import Fields, Reading, parse_object
from gateway.dialects._forms import form_values
from gateway.dialects._schemas import OPTIONS, Schema
from gateway.dialects._waiting import read_wait
from gateway.domain.model import Catalog, OptionRule
from gateway.domain.request import GenerationRequest, ResultFormat
from gateway.domain.submission import Draft
from gateway.domain.validation import MISSING

IMAGE_FIELDS = ("image_urls", "images", "image", "img_url", "first_frame_url")
EDIT = "edit"
_FORMATS = tuple(ResultFormat)
OPTION_MAX = 256
ECHOED = ("size", "quality", "background", "output_format")
# Canonical names that have one spelling only; the parts record theirs themselves.
_NAMES = {
    **{name: name for name in ("model", "prompt", "negative_prompt", "watermark", "mask")},
    "rewrite_prompt": "prompt_extend",
    "thinking": "thinking_mode",
    "group": "enable_sequential",
    **{option: option for option in OPTIONS},
}


def open_body(call: Call, reading: Reading, known: Schema, catalog: Catalog) -> Fields:
    """Give the fields of a JSON or multipart body; files become data URLs.

    The extras of the model that is named are legal beside the known ones. Raises InvalidRequest
    when the body cannot be read at all.
    """
    is_form = bool(call.form or call.files)
    values = form_values(call, reading, IMAGE_FIELDS) if is_form else parse_object(call.body)
    names, options = known["properties"], _options_of(values.get("model"), catalog)
    if options:
        names = {**names, **options}
    return Fields(values, reading, names, from_form=is_form)


def _options_of(name: object, catalog: Catalog) -> Mapping[str, OptionRule]:
    """Give the extras of a model by name; an operator's own model may have any."""
    model = catalog.models.get(catalog.aliases.get(name, "")) if isinstance(name, str) else None
    return model.limits.options if model is not None else {}


def read_request(fields: Fields, catalog: Catalog) -> GenerationRequest:
    """Read every canonical field of a unified body; problems go to the reading."""
    fields.reading.names.update(_NAMES)
    fields.require("model")
    size = _parts.read_any_size(fields)
    images = _parts.read_images(fields, IMAGE_FIELDS)
    boxes = _parts.read_boxes(fields)
    sequential = fields.flag("enable_sequential")
    n = _parts.read_count(fields)
    action = read_action(fields, pictures=len(images), boxes=any(boxes), group=sequential)
    return GenerationRequest(
        model=fields.text("model") or "",
        prompt=fields.text("prompt") or "",
        negative_prompt=fields.text("negative_prompt"),
        images=images,
        mask=_parts.read_image(fields, "mask"),
        n=1 if n is None else n,
        size=size.size,
        tier=size.tier,
        aspect_ratio=size.aspect_ratio,
        seed=_parts.read_seed(fields),
        watermark=fields.flag("watermark"),
        rewrite_prompt=fields.flag("prompt_extend"),
        thinking=fields.flag("thinking_mode"),
        group=bool(sequential) or action == "group",
        palette=_parts.read_palette(fields),
        boxes=boxes,
        options=read_options(fields, catalog),
        rules=_parts.read_rules(fields),
    )


def read_options(fields: Fields, catalog: Catalog) -> dict[str, str | int | bool]:
    """Read the vendor-neutral extras and the model's own; the core decides which are ignored."""
    found: dict[str, str | int | bool] = {}
    rules = _options_of(fields.raw("model"), catalog)
    for name in {**OPTIONS, **rules} if rules else OPTIONS:
        if name not in fields:
            continue
        is_number = rules[name].is_number if name in rules else OPTIONS[name]["type"] == "integer"
        value = fields.integer(name) if is_number else fields.text(name)
        if isinstance(value, str) and len(value) > OPTION_MAX:
            message = f"{name} is longer than {OPTION_MAX} characters."
            fields.refuse(name, message, "string_above_max_length")
        elif value is not None:
            found[name] = value
    return found


def read_format(fields: Fields, *, stream: bool) -> ResultFormat | None:
    """Read ``response_format``; a stream without one carries the pictures themselves."""
    word = fields.choice("response_format", _FORMATS)
    if word is not None:
        return ResultFormat(word)
    return ResultFormat.B64_JSON if stream else None


def read_draft(call: Call, schema: Schema, kind: str, catalog: Catalog, *, openai: bool) -> Draft:
    """Read a whole unified call. Raises InvalidRequest with all problems.

    ``kind`` is ``edit`` or empty. ``openai``: the call came to the OpenAI dialect, which is
    synchronous unless told otherwise, always has a prompt, and sends fixed sizes.
    """
    reading = Reading()
    fields = open_body(call, reading, schema, catalog)
    request = read_request(fields, catalog)
    if openai:
        fields.require("prompt")
    if kind == EDIT and not request.images:
        fields.refuse("image", "An edit needs at least one picture.", MISSING)
    callback = _parts.read_callback(fields)
    stream = bool(fields.flag("stream"))
    if stream and fields.raw("async") is True:
        fields.refuse("stream", "stream contradicts async: true.")
    result_format = read_format(fields, stream=stream)
    wait = read_wait(
        fields,
        call.headers,
        has_callback=callback is not None and not openai,
        has_result_wish=openai or stream or "response_format" in fields,
    )
    draft = Draft(
        request=request,
        wait=wait,
        result_format=result_format,
        callback=callback,
        stream=stream,
        snap_size=openai,
        ignored=tuple(reading.ignored),
        field_names=reading.names,
        echo=echo_of(fields, request, kind),
    )
    return reading.completed(draft)


def echo_of(fields: Fields, request: GenerationRequest, kind: str) -> dict[str, Any]:
    """Give what rendering needs later: the kind of call, the mode, and OpenAI's echoed fields."""
    echo: dict[str, Any] = {"kind": kind, "mode": request.mode.value}
    for name in ECHOED:
        if isinstance(value := fields.raw(name), str):
            echo[name] = value
    return echo
