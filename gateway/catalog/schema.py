"""Models as callers see them: list entries, limits, prices, and a JSON Schema of the parameters.

Everything is derived from the limits that are checked, so it cannot drift from them. A model's
limits here are those its offers leave together: what at least one configured upstream can do.
Field names are those of the unified call (`POST /v1/images/generations`).
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from gateway.catalog.limits import MEDIA_TYPES, widest
from gateway.domain.model import (
    Catalog,
    Feature,
    ImageRule,
    Limits,
    Model,
    OptionRule,
    SizeRule,
    parse_size,
)
from gateway.domain.money import format_micro
from gateway.domain.request import TIER_SIDES, GenerationRequest, Mode, Size
from gateway.domain.sizes import legal_sizes, size_problems, tiers_of

Json = dict[str, Any]

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
SIZE_PATTERN = r"[1-9][0-9]{1,4} ?[xX*×] ?[1-9][0-9]{1,4}"
RATIO_PATTERN = r"^[1-9][0-9]{0,4}:[1-9][0-9]{0,4}$"

USUAL_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3")

_SWITCHES = {
    Feature.WATERMARK: ("watermark", "Whether to mark the picture as generated."),
    Feature.REWRITE_PROMPT: ("prompt_extend", "Whether a language model may rewrite the prompt."),
    Feature.THINKING: ("thinking_mode", "Whether the model reasons first."),
}
_NAMES = {
    Feature.REWRITE_PROMPT: "prompt_extend",
    Feature.THINKING: "thinking_mode",
    Feature.PALETTE: "color_palette",
    Feature.BOXES: "bbox_list",
}


def model_view(model: Model, catalog: Catalog) -> Json:
    """Give a model's entry of GET /v1/models: OpenAI's fields, price, limits and parameters."""
    limits = limits_in_force(model, catalog)
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": model.owned_by,
        "canonical": model.id,
        "title": model.title,
        "aliases": _other_names(model, catalog),
        "modes": sorted(mode.value for mode in limits.modes),
        "price": _price_view(model, limits, catalog),
        "limits": limits_view(limits),
        "parameters": parameter_schema(model, catalog),
    }


def limits_in_force(model: Model, catalog: Catalog) -> Limits:
    """Give what at least one configured upstream can do; the model's own limits without one."""
    offers = catalog.offers.get(model.id)
    return widest(offer.limits for offer in offers) if offers else model.limits


def _other_names(model: Model, catalog: Catalog) -> list[str]:
    return sorted(n for n, owner in catalog.aliases.items() if owner == model.id and n != owner)


def _price_view(model: Model, limits: Limits, catalog: Catalog) -> Json | None:
    """Give credits per picture, as decimal texts: the lowest, and one per tier that is made."""
    if model.id not in catalog.prices:
        return None
    amounts = {tier: catalog.price(model.id, tier) for tier in tiers_made(limits)}
    lowest = min(amounts.values())
    by_tier = {tier: format_micro(amount) for tier, amount in amounts.items()}
    edit = catalog.prices[model.id].edit
    return {
        "unit": "credits",
        "per_image": format_micro(lowest),
        "by_tier": by_tier,
        **({"edit_surcharge": format_micro(edit)} if edit else {}),
    }


def tiers_made(limits: Limits) -> list[str]:
    """Give the tiers pictures of these limits can have, smallest first."""
    rule = limits.size
    named = tiers_of(rule, plain=True)
    if not named and rule.choices:
        named = tuple(size.tier for text in rule.choices if (size := parse_size(text)))
    if not named:
        least = rule.pixels_min or (rule.side_min or 1) ** 2
        most = rule.pixels_max or (rule.side_max or TIER_SIDES["4K"]) ** 2
        order = list(TIER_SIDES)
        first, last = (order.index(Size(area, 1).tier) for area in (least, most))
        named = tuple(order[first : last + 1])
    return [tier for tier in TIER_SIDES if tier in named]


def ratios_made(rule: SizeRule) -> list[str]:
    """Give the aspect ratios that may be asked for; empty where any within the bounds may.

    Where sizes are enumerated, the usual ratios that one of them has, else their exact ones.
    """
    if rule.ratios or not rule.choices or tiers_of(rule, plain=True):
        return list(rule.ratios)
    sizes = [size for text in rule.choices if (size := parse_size(text))]
    exact = [Fraction(size.width, size.height) for size in sizes]
    usual = [word for word in USUAL_RATIOS if _is_made(word, rule)]
    return usual or [f"{ratio.numerator}:{ratio.denominator}" for ratio in exact]


def _is_made(ratio: str, rule: SizeRule) -> bool:
    return not any(size_problems(GenerationRequest("", aspect_ratio=ratio), rule))


def limits_view(limits: Limits) -> Json:
    """Give limits as JSON: numbers for programs, and the legal sizes in words."""
    rule, images, count = limits.size, limits.images, limits.count
    return {
        "prompt_max": limits.prompt_max,
        "negative_prompt_max": limits.negative_prompt_max,
        "n": {"default": count.default, "max": count.max, "group_max": count.group_max},
        "size": {
            "default": rule.default,
            "legal": legal_sizes(rule, plain=True),
            "tiers": list(rule.tiers),
            "tiers_text_only": list(rule.tiers_plain),
            "aspect_ratios": ratios_made(rule),
            "choices": list(rule.choices),
            "suggested": list(rule.suggested),
            "pixels_min": rule.pixels_min,
            "pixels_max": rule.pixels_max,
            "pixels_max_text_only": rule.pixels_max_plain,
            "side_min": rule.side_min,
            "side_max": rule.side_max,
            "side_multiple": rule.side_multiple,
            "ratio_max": rule.ratio_max,
        },
        "images": {
            "min": images.count_min,
            "max": images.count_max,
            "bytes_max": images.bytes_max,
            "side_min": images.side_min,
            "side_max": images.side_max,
            "formats": list(images.formats) if images.count_max else [],
        },
        "features": sorted(_NAMES.get(feature, feature.value) for feature in limits.features),
        "options": sorted(limits.options),
    }


# --- parameters ----------------------------------------------------------------------------


def parameter_schema(model: Model, catalog: Catalog) -> Json:
    """Give the JSON Schema of a unified call of this model."""
    limits = limits_in_force(model, catalog)
    properties: Json = {
        "model": {"type": "string", "enum": [model.id, *_other_names(model, catalog)]},
        "prompt": {"type": "string", "minLength": 1, "maxLength": limits.prompt_max},
        "n": _count_schema(limits),
        **_size_schemas(limits),
        **_feature_schemas(limits, model),
        **{name: _option_schema(rule) for name, rule in limits.options.items()},
    }
    if limits.images.count_max:
        properties["image_urls"] = _images_schema(limits.images)
    schema: Json = {
        "$schema": SCHEMA_DIALECT,
        "title": model.title,
        "type": "object",
        "properties": properties,
        "required": ["model", *(["prompt"] if limits.prompt_required else [])],
    }
    if limits.images.count_min:
        schema["required"].append("image_urls")
    if not limits.prompt_required:
        schema["anyOf"] = [{"required": ["prompt"]}, {"required": ["image_urls"]}]
    if Mode.GROUP in limits.modes:
        schema |= _outside_groups(limits)
    return schema


def _count_schema(limits: Limits) -> Json:
    most = max(limits.count.max, limits.count.group_max if Mode.GROUP in limits.modes else 0)
    return {"type": "integer", "minimum": 1, "maximum": most, "default": limits.count.default}


def _outside_groups(limits: Limits) -> Json:
    """R3, R4: the larger n is for group mode only."""
    in_group = {"enable_sequential": {"const": True}}
    return {
        "if": {"not": {"properties": in_group, "required": ["enable_sequential"]}},
        "then": {"properties": {"n": {"maximum": limits.count.max}}},
    }


def _size_schemas(limits: Limits) -> Json:
    rule = limits.size
    if rule.fixed:
        return {}
    tiers = list(tiers_of(rule, plain=True))
    words = [*tiers, *(["auto"] if rule.auto else [])]
    size: Json = {"type": "string", "description": f"Legal: {legal_sizes(rule, plain=True)}."}
    size["default"] = rule.default
    if rule.choices:
        size["enum"] = [*words, *rule.choices]
    else:
        size["pattern"] = f"^({'|'.join([*words, SIZE_PATTERN])})$"
        size["examples"] = list(rule.suggested) or [rule.default]
    ratios = ratios_made(rule)
    ratio: Json = {"type": "string"}
    ratio |= {"enum": ratios} if ratios else {"pattern": RATIO_PATTERN}
    found = {"size": size, "aspect_ratio": ratio}
    if tiers:
        found["resolution"] = {"type": "string", "enum": tiers}
    return found


def _feature_schemas(limits: Limits, model: Model) -> Json:
    found: Json = {}
    for feature, (name, description) in _SWITCHES.items():
        if feature in limits.features:
            default = model.defaults.get(feature, False)
            found[name] = {"type": "boolean", "default": default, "description": description}
    if Feature.NEGATIVE_PROMPT in limits.features:
        found["negative_prompt"] = {"type": "string", "maxLength": limits.negative_prompt_max}
    if Feature.SEED in limits.features:
        found["seed"] = {
            "type": "integer",
            "minimum": -1,
            "maximum": limits.seed_max,
            "description": "-1 or absent: random.",
        }
    if Mode.GROUP in limits.modes:
        most = limits.count.group_max
        description = f"Group mode: up to {most} pictures that belong together."
        found["enable_sequential"] = {"type": "boolean", "description": description}
    if Feature.PALETTE in limits.features:
        found["color_palette"] = _palette_schema(limits)
    if Feature.BOXES in limits.features:
        found["bbox_list"] = _boxes_schema(limits)
    if Feature.MASK in limits.features:
        black_white = limits.images.mask_black_white
        kind = "White where to paint, black elsewhere" if black_white else "PNG with transparency"
        description = f"{kind}, as large as the first picture; URL or data URL."
        found["mask"] = {"type": "string", "description": description}
    return found


def _palette_schema(limits: Limits) -> Json:
    share = {"type": ["number", "string"], "description": "Share in percent; all sum to 100."}
    color = {
        "type": "object",
        "properties": {
            "hex": {"type": "string", "pattern": "^#[0-9A-Fa-f]{6}$"},
            "ratio": share,
        },
        "required": ["hex", "ratio"],
    }
    return {
        "type": "array",
        "items": color,
        "minItems": limits.palette_min,
        "maxItems": limits.palette_max,
    }


def _boxes_schema(limits: Limits) -> Json:
    box = {
        "type": "array",
        "items": {"type": "integer", "minimum": 0},
        "minItems": 4,
        "maxItems": 4,
    }
    per_picture = {"type": "array", "items": box, "maxItems": limits.boxes_per_image_max}
    description = "One list per picture: boxes [x1, y1, x2, y2] in its own pixels, or []."
    return {"type": "array", "items": per_picture, "description": description}


def _images_schema(rule: ImageRule) -> Json:
    parts = [", ".join(name.removeprefix("image/") for name in MEDIA_TYPES if name in rule.formats)]
    if rule.bytes_max is not None:
        parts.append(f"at most {math.ceil(rule.bytes_max / 2**20)} MiB each")
    if rule.side_min is not None and rule.side_max is not None:
        parts.append(f"sides of {rule.side_min} to {rule.side_max} pixels")
    return {
        "type": "array",
        "items": {"type": "string", "description": "An http(s) URL or a data URL."},
        "minItems": rule.count_min,
        "maxItems": rule.count_max,
        "description": "; ".join(parts),
    }


def _option_schema(rule: OptionRule) -> Json:
    if rule.choices:
        return {"type": "string", "enum": list(rule.choices)}
    if not rule.is_number:
        return {"type": "string"}
    bounds = {"minimum": rule.minimum, "maximum": rule.maximum}
    return {"type": "integer", **{k: v for k, v in bounds.items() if v is not None}}
