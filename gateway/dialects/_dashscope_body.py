"""DashScope's create bodies: ``{model, input, parameters}`` with a prompt or with messages."""

from __future__ import annotations

from typing import Any

from gateway.dialects import _parts
from gateway.dialects._fields import WRONG_TYPE, Fields, Reading
from gateway.dialects._schemas import BOXES, PALETTE, flag, obj, pictures, text, whole
from gateway.domain.model import Catalog, CountRule, Limits
from gateway.domain.request import GenerationRequest, InputImage
from gateway.domain.validation import MISSING

INPUT_IMAGES = ("images", "base_image_url")
# Sent by SDKs in ``parameters``, without meaning for a picture.
DROPPED = ("is_async", "stream", "incremental_output", "result_format")

PARAMETERS = {
    "size": text("`W*H`, `1K`, `2K` or `4K`.", example="1280*1280"),
    "n": whole("How many pictures; absent: 4, or 1 (wan2.7), or 12 (wan2.7 groups).", minimum=1),
    "seed": whole("0 to 2147483647."),
    "watermark": flag("Whether to mark the picture as generated."),
    "prompt_extend": flag("Whether a language model may rewrite the prompt."),
    "negative_prompt": text("What to avoid (messages protocol)."),
    "thinking_mode": flag("Whether the model reasons first."),
    "enable_sequential": flag("Group mode."),
    "color_palette": PALETTE,
    "bbox_list": BOXES,
    "enable_interleave": flag("Text interleaved with pictures (wan2.6-image)."),
    "max_images": whole("How many pictures in interleave mode.", minimum=1),
    "style": text("The style of older models."),
    **{name: {"description": "Ignored."} for name in DROPPED},
}
_CONTENT = {
    "text": text("The prompt; exactly one item has it."),
    "image": text("An http(s), `data:` or `oss://` URL."),
    "type": text("`text` or `image`; what the item holds decides."),
}
_MESSAGE = obj(
    {
        "role": text("`user`", enum=["user"]),
        "content": {
            "anyOf": [{"type": "string"}, {"type": "array", "items": obj(_CONTENT)}],
        },
    },
    ("role", "content"),
)
INPUT = {
    "prompt": text("What to draw (prompt protocol)."),
    "negative_prompt": text("What to avoid (prompt protocol)."),
    "images": pictures("Input pictures (prompt protocol)."),
    "base_image_url": pictures("The picture to edit (older models)."),
    "mask_image_url": text("A mask picture (older models)."),
    "function": text("The editing function (older models)."),
    "messages": {"type": "array", "items": _MESSAGE, "minItems": 1, "maxItems": 1},
}
SCHEMA = obj(
    {
        "model": text("A model id or alias.", example="wan2.5-t2i-preview"),
        "input": obj(INPUT),
        "parameters": obj(PARAMETERS),
    },
    ("model", "input"),
)


def read_body(values: dict[str, Any], reading: Reading, catalog: Catalog) -> GenerationRequest:
    """Read a create body; problems go to the reading, in DashScope's field names.

    Texts that are too long are cut, as DashScope cuts them.
    """
    body = Fields(values, reading, SCHEMA["properties"])
    body.require("model")
    model = body.text("model") or ""
    body.require("input")
    content = body.child("input", INPUT) or Fields({}, reading, INPUT, path="input.")
    empty = Fields({}, reading, PARAMETERS, path="parameters.")
    more = body.child("parameters", PARAMETERS) or empty
    _name_fields(reading)
    prompt, images = _prompt_and_images(content)
    size = _parts.read_size(more)
    group = bool(more.flag("enable_sequential"))
    interleave = bool(more.flag("enable_interleave"))
    limits = _limits(catalog, model)
    negative = _negative_prompt(content, more)
    return GenerationRequest(
        model=model,
        prompt=prompt[: limits.prompt_max] if limits else prompt,
        negative_prompt=negative[: limits.negative_prompt_max] if negative and limits else negative,
        images=images,
        mask=_parts.read_image(content, "mask_image_url", uploads=True),
        n=_count(more, limits.count if limits else CountRule(), group=group, interleave=interleave),
        size=size.size,
        tier=size.tier,
        seed=_parts.read_seed(more, random=()),
        watermark=more.flag("watermark"),
        rewrite_prompt=more.flag("prompt_extend"),
        thinking=more.flag("thinking_mode"),
        group=group,
        palette=_parts.read_palette(more),
        boxes=_parts.read_boxes(more),
        interleave=interleave,
        options=_options(content, more),
    )


def _name_fields(reading: Reading) -> None:
    reading.names.update(
        model="model",
        prompt="input.prompt",
        negative_prompt="input.negative_prompt",
        mask="input.mask_image_url",
        function="input.function",
        watermark="parameters.watermark",
        rewrite_prompt="parameters.prompt_extend",
        thinking="parameters.thinking_mode",
        group="parameters.enable_sequential",
        interleave="parameters.enable_interleave",
        style="parameters.style",
    )


def _limits(catalog: Catalog, name: str) -> Limits | None:
    model = catalog.models.get(catalog.aliases.get(name, ""))
    return model.limits if model else None


def _count(more: Fields, rule: CountRule, *, group: bool, interleave: bool) -> int:
    """Give how many pictures are asked for; without a word DashScope's own default (R16)."""
    asked = _parts.read_count(more)
    default = rule.vendor_group_default if group else rule.vendor_default
    if interleave:
        asked = _parts.read_count(more, "max_images")
        default = rule.interleave_max
    return default if asked is None else asked


def _negative_prompt(content: Fields, more: Fields) -> str | None:
    """Read it where either protocol has it (rule R15)."""
    if "negative_prompt" in more:
        more.reading.names["negative_prompt"] = "parameters.negative_prompt"
        return more.text("negative_prompt") or None
    return content.text("negative_prompt") or None


def _options(content: Fields, more: Fields) -> dict[str, str | int | bool]:
    found = {"style": more.text("style"), "function": content.text("function")}
    return {name: value for name, value in found.items() if value}


def _prompt_and_images(content: Fields) -> tuple[str, tuple[InputImage, ...]]:
    if "messages" not in content:
        content.require("prompt")
        images = _parts.read_images(content, INPUT_IMAGES, uploads=True)
        return content.text("prompt") or "", images
    for name in ("prompt", *INPUT_IMAGES):
        if name in content:
            content.refuse(name, f"input.{name} and input.messages exclude each other.")
    return _message(content)


def _message(content: Fields) -> tuple[str, tuple[InputImage, ...]]:
    names = content.reading.names
    label = "messages[0].content"
    names.update(prompt=f"input.{label}", images=f"input.{label}")
    messages = content.items("messages") or []
    first = messages[0] if messages else None
    if len(messages) != 1 or not isinstance(first, dict) or first.get("role") != "user":
        legal = '[{"role": "user", "content": […]}]'
        content.refuse("messages", "input.messages takes exactly one user message.", legal=legal)
        return "", ()
    items = first.get("content")
    items = [{"text": items}] if isinstance(items, str) else items
    if not isinstance(items, list):
        content.refuse(label, f"input.{label} must be an array.", WRONG_TYPE, "an array")
        return "", ()
    return _content_items(content, label, items)


def _content_items(
    content: Fields, label: str, items: list[Any]
) -> tuple[str, tuple[InputImage, ...]]:
    prompts: list[str] = []
    images: list[InputImage] = []
    for index, item in enumerate(items):
        at = f"{label}[{index}]"
        if not isinstance(item, dict):
            content.refuse(at, f"input.{at} must be an object.", WRONG_TYPE, "text or image")
            continue
        part = Fields(item, content.reading, _CONTENT, path=f"input.{at}.")
        if "image" in part:
            url = part.raw("image")
            content.reading.names[f"images[{len(images)}]"] = f"input.{at}.image"
            images.append(_parts.image_of(part, "image", url, uploads=True) or InputImage(""))
        if "text" in part:
            prompts.append(part.text("text") or "")
    if len(prompts) > 1:
        content.refuse(label, f"input.{label} takes one text, not {len(prompts)}.")
    elif not any(prompts):
        content.refuse(label, f"input.{label} needs a text.", MISSING)
    return "".join(prompts), tuple(images)
