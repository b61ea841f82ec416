"""JSON Schema of the gateway's own answers, alike in every dialect: models, credits, usage."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.app.dialect import Operation
from gateway.app.schemas import (
    DECIMAL,
    SECONDS,
    TEXT,
    TEXT_OR_NULL,
    WHOLE,
    WHOLE_OR_NULL,
    Schema,
    answer,
    listed,
    word,
)
from gateway.app.usage import AMOUNTS
from gateway.domain.request import Mode
from gateway.domain.strategy import Strategy
from gateway.domain.usage import GROUPS

_SIZES = answer(
    {
        "default": TEXT_OR_NULL,
        "legal": TEXT,
        "tiers": listed(TEXT),
        "tiers_text_only": listed(TEXT),
        "aspect_ratios": listed(TEXT),
        "choices": listed(TEXT),
        "suggested": listed(TEXT),
        "pixels_min": WHOLE_OR_NULL,
        "pixels_max": WHOLE_OR_NULL,
        "pixels_max_text_only": WHOLE_OR_NULL,
        "side_min": WHOLE_OR_NULL,
        "side_max": WHOLE_OR_NULL,
        "side_multiple": WHOLE_OR_NULL,
        "ratio_max": WHOLE_OR_NULL,
    }
)
_PICTURES = answer(
    {
        "min": WHOLE,
        "max": WHOLE,
        "bytes_max": WHOLE_OR_NULL,
        "side_min": WHOLE_OR_NULL,
        "side_max": WHOLE_OR_NULL,
        "formats": listed(TEXT),
    }
)
_PRICE = answer(
    {
        "unit": word("credits"),
        "per_image": DECIMAL,
        "by_tier": {"type": "object", "additionalProperties": DECIMAL},
    },
    {"edit_surcharge": DECIMAL},
)
MODEL = answer(
    {
        "id": TEXT,
        "object": word("model"),
        "created": SECONDS,
        "owned_by": TEXT,
        "canonical": TEXT,
        "title": TEXT,
        "aliases": listed(TEXT),
        "modes": listed(word(*Mode)),
        "price": {"anyOf": [_PRICE, {"type": "null"}]},
        "limits": answer(
            {
                "prompt_max": WHOLE,
                "negative_prompt_max": WHOLE,
                "n": answer({"default": WHOLE, "max": WHOLE, "group_max": WHOLE}),
                "size": _SIZES,
                "images": _PICTURES,
                "features": listed(TEXT),
                "options": listed(TEXT),
            }
        ),
        "parameters": {"type": "object", "description": "A JSON Schema of the unified call."},
    },
    title="Model",
)
_FIGURES = {
    name: WHOLE_OR_NULL if name.endswith("_ms") else DECIMAL if "_" in name else WHOLE
    for name in AMOUNTS
}
USAGE = answer(
    {
        "object": word("usage"),
        "since": SECONDS,
        "until": SECONDS,
        "by": listed(word(*GROUPS)),
        "credits_charged": DECIMAL,
        "images": WHOLE,
        "data": listed(
            answer(
                _FIGURES,
                {
                    **dict.fromkeys(GROUPS, TEXT),
                    "team_id": TEXT,
                    "key_id": TEXT,
                },
            )
        ),
    },
    title="Usage",
)
_OFFER = answer(
    {
        "upstream": TEXT,
        "adapter": TEXT,
        "upstream_model": TEXT,
        "cost_usd": DECIMAL,
        "note": TEXT_OR_NULL,
    }
)
OWN: Mapping[Operation, Schema] = {
    Operation.MODELS: answer({"object": word("list"), "data": listed(MODEL)}, title="ModelList"),
    Operation.MODEL: MODEL,
    Operation.CREDITS: answer(
        {"object": word("credits"), "balance": DECIMAL, "held": DECIMAL, "available": DECIMAL},
        title="Credits",
    ),
    Operation.USAGE: USAGE,
    Operation.QUOTE: answer(
        {
            "object": word("quote"),
            "model": TEXT,
            "n": WHOLE,
            "tier": TEXT,
            "credits_per_image": DECIMAL,
            "credits": DECIMAL,
            "strategy": word(*Strategy),
            "offers": listed(_OFFER),
            "excluded": listed(answer({"upstream": TEXT, "reason": TEXT})),
            "warning": TEXT_OR_NULL,
            "ignored_params": listed(TEXT),
        },
        title="Quote",
    ),
}
"""By operation; what a route's dialect renders is the dialect's to say."""
