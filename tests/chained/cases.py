"""Every model and mode of every provider file, as one request in the gateway's own words.

The table is made from the catalogue, so a provider that learns a model or a mode is tested with it.
Each case says what the innermost vendor must be sent, word for word.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gateway.catalog.builtin import builtin
from gateway.domain.model import Feature, Limits, Model, parse_size
from gateway.domain.request import Mode
from gateway.domain.sizes import violations
from tests.support.catalogs import offer_limits

SEED = 4711
NEGATIVE = "text, watermark"
BOXES = [[[12, 8, 54, 46]]]
PALETTE = [
    {"hex": "#0A2540", "ratio": 50},
    {"hex": "#F5F5F0", "ratio": 35},
    {"hex": "#E04B3A", "ratio": 15},
]
# Modelverse sells it under this name; the inner gateway knows it as an alias.
ALIASES = {"qwen-image": "Qwen/Qwen-Image"}
# What Qingbo's wire, which always names a ratio, makes of 1K.
SQUARE = "1024*1024"


@dataclass(frozen=True)
class Case:
    """One request through ``adapter``; ``vendor`` is who must get it in the end, as ``wire``.

    ``wire`` is what the vendor is told beside model, prompt and pictures: DashScope's parameters,
    OpenAI's and Qingbo's other fields. ``pictures`` are kinds: ``link`` or ``data``.
    """

    adapter: str
    model: str
    what: str
    body: dict[str, Any]
    vendor: str
    wire: dict[str, Any]
    pictures: tuple[str, ...] = ()
    mask: bool = False
    negative: str | None = None
    n: int = 1
    path: str = "/v1/images/generations"
    headers: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Name it, also as its prompt."""
        return f"{self.adapter} {self.model} {self.what}"


def cases() -> Iterator[Case]:
    """Give every case."""
    for adapter in ("evolink", "dashscope", "modelverse", "qingbo", "openai"):
        for name in builtin().providers[adapter].models:
            limits = offer_limits(name, adapter)
            for mode in sorted(limits.modes):
                if mode is Mode.GENERATE and limits.images.count_min:
                    continue  # Without a picture only interleaved with text, see below.
                yield _case(adapter, builtin().models[name], limits, mode)
    yield from _special()


def _case(adapter: str, model: Model, limits: Limits, mode: Mode) -> Case:
    """Give a request of a mode with everything an adapter can say about the model."""
    vendor = "openai" if adapter == "openai" else "dashscope"
    n = 3 if mode is Mode.GROUP else min(2, limits.count.max)
    if vendor == "openai":
        n = 1  # Each of its pictures travels inline, three times.
    inert = model.inert_with_group if mode is Mode.GROUP else frozenset[Feature]()
    pictures = _pictures(adapter, limits, mode)
    if pictures:
        inert |= model.inert_with_images
    words = _words(model, limits, mode, inert)
    size, wire_size = _size(adapter, vendor, limits)
    own = words | ({"size": size} if size else {}) | {"n": n}
    wire = {"n": n} | ({"size": wire_size} if wire_size else {})
    if vendor == "openai":
        wire |= {name: words[name] for name in limits.options if name in words}
    else:
        wire |= _parameters(model, words, inert)
    has_mask = Feature.MASK in limits.features and mode is Mode.EDIT
    return Case(
        adapter=adapter,
        model=model.id,
        what=mode.value,
        body=own,
        vendor=vendor,
        wire=wire,
        pictures=pictures,
        mask=has_mask,
        negative=words.get("negative_prompt"),
        n=n,
    )


def _words(model: Model, limits: Limits, mode: Mode, inert: frozenset[Feature]) -> dict[str, Any]:
    """Give the optional fields, switches turned against the model's default."""
    defaults = model.defaults
    known = limits.features - inert
    found: dict[str, Any] = {}
    if Feature.SEED in known:
        found["seed"] = SEED
    if Feature.NEGATIVE_PROMPT in known:
        found["negative_prompt"] = NEGATIVE
    if Feature.WATERMARK in known:
        found["watermark"] = not defaults.get("watermark", False)
    if Feature.REWRITE_PROMPT in known:
        found["prompt_extend"] = not defaults.get("rewrite_prompt", False)
    if Feature.THINKING in known:
        found["thinking_mode"] = not defaults.get("thinking", False)
    if Feature.PALETTE in known and mode is Mode.GENERATE:
        found["color_palette"] = PALETTE
    if mode is Mode.INTERACTIVE_EDIT:
        found["bbox_list"] = BOXES
    if mode is Mode.GROUP:
        found["enable_sequential"] = True
    if "quality" in limits.options:
        found["quality"] = limits.options["quality"].choices[-1]
    if "function" in limits.options:
        found["function"] = "description_edit_with_mask"
    return found


def _parameters(model: Model, words: dict[str, Any], inert: frozenset[Feature]) -> dict[str, Any]:
    """Give DashScope's parameters: what was said, else the model's own defaults said aloud."""
    names = {
        "watermark": "watermark",
        "rewrite_prompt": "prompt_extend",
        "thinking": "thinking_mode",
    }
    found: dict[str, Any] = {
        names[feature]: value for feature, value in model.defaults.items() if feature not in inert
    }
    said = ("seed", "watermark", "prompt_extend", "thinking_mode", "enable_sequential", "bbox_list")
    found |= {name: words[name] for name in said if name in words}
    if "color_palette" in words:
        found["color_palette"] = [
            {"hex": color["hex"], "ratio": f"{color['ratio']}.00%"} for color in PALETTE
        ]
    return found


def _pictures(adapter: str, limits: Limits, mode: Mode) -> tuple[str, ...]:
    """Give kinds of pictures: ``link`` or ``data``, both where the adapter takes both."""
    other = "data" if limits.images.inline else "link"
    first = "data" if adapter == "openai" else "link"
    if mode in (Mode.EDIT, Mode.INTERACTIVE_EDIT):
        return (first,)
    if mode is not Mode.REFERENCE:
        return ()
    return (first, other)


def _size(adapter: str, vendor: str, limits: Limits) -> tuple[str | None, str | None]:
    """Give a size to ask for, and how it reaches the vendor."""
    rule = limits.size
    if rule.fixed:
        return None, None
    if "1K" in rule.tiers:
        return "1K", SQUARE if adapter == "qingbo" else "1K"
    usual = "1024x1024" if vendor == "openai" else "1280x1280"
    candidates = (usual, "1024x1024", rule.default, *rule.choices)
    text = next(text for text in candidates if _is_legal(text, limits))
    return text, text if vendor == "openai" else text.replace("x", "*")


def _is_legal(text: str, limits: Limits) -> bool:
    size = parse_size(text)
    return size is not None and not violations(size, limits.size, plain=True)


def _special() -> Iterator[Case]:
    """Give what no table of modes holds: 4K, the most pictures, n above 4, interleaved text."""
    square = {"size": "4K", "seed": SEED}
    pro = {"n": 1, "size": "4K", "seed": SEED, "watermark": False, "thinking_mode": True}
    for adapter in ("dashscope", "modelverse"):
        yield Case(adapter, "wan2.7-image-pro", "4K", square, "dashscope", pro)
    wide = {"resolution": "4K", "aspect_ratio": "16:9", "seed": SEED, "thinking_mode": False}
    wave = {"action": "generate", "n": 1, "watermark": False}
    yield Case("qingbo", "wan2.7-image", "4K", wide, "qingbo", wide | wave)
    for adapter in ("dashscope", "modelverse", "qingbo"):
        twelve = {"n": 12, "enable_sequential": True, "watermark": False}
        size = {"size": SQUARE if adapter == "qingbo" else "1K"}
        body = {"n": 12, "enable_sequential": True, "size": "1K"}
        yield Case(adapter, "wan2.7-image", "of 12", body, "dashscope", twelve | size, n=12)
        nine = {"n": 1, "watermark": False} | size
        nine_pictures = ("link",) * 9
        yield Case(
            adapter, "wan2.7-image", "nine", {"size": "1K"}, "dashscope", nine, nine_pictures
        )
    # An OpenAI-compatible third party may sell anything in OpenAI's words.
    plain = {"n": 2, "size": "1K", "watermark": False, "thinking_mode": True}
    yield Case(
        "openai", "wan2.7-image", "compatible", {"n": 2, "size": "1K"}, "dashscope", plain, n=2
    )
    yield _interleaved()


def _interleaved() -> Case:
    """Give wan2.6-image's text with pictures between, which only DashScope's protocol can ask."""
    content = [{"text": "dashscope wan2.6-image interleaved"}]
    parameters = {"enable_interleave": True, "max_images": 3, "size": "1280*1280"}
    wire = {"n": 1, "watermark": False, "prompt_extend": True} | parameters
    return Case(
        adapter="dashscope",
        model="wan2.6-image",
        what="interleaved",
        body={
            "input": {"messages": [{"role": "user", "content": content}]},
            "parameters": parameters,
        },
        vendor="dashscope",
        wire=wire,
        n=3,
        path="/dashscope/api/v1/services/aigc/image-generation/generation",
        headers={"x-dashscope-async": "enable"},
    )
