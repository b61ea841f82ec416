"""JSON Schema of answers: an object has exactly the fields of its schema.

So a live answer that differs in a field fails a test. A schema with a ``title`` is a component of
`/openapi.json` under that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
WHOLE: Schema = {"type": "integer"}
WHOLE_OR_NULL: Schema = {"type": ["integer", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
SECONDS: Schema = {"type": "integer", "description": "Unix seconds."}
TIME: Schema = {"type": "string", "format": "date-time"}
TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
DECIMAL: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,6})?$"}
DECIMAL_OR_NULL: Schema = {**DECIMAL, "type": ["string", "null"]}


def answer(
    required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None, **more: Any
) -> Schema:
    """Give the schema of an object that has the first fields always, the second at times."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def listed(item: Schema) -> Schema:
    """Give the schema of a list."""
    return {"type": "array", "items": item}


def word(*words: str) -> Schema:
    """Give the schema of a text that is one of these words."""
    return {"type": "string", "enum": list(words)}
