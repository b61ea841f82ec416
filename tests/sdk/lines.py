"""Lets a test call functions in another interpreter: a line of JSON in, a line of JSON out.

Imports the standard library alone: the interpreter is the one of an environment that holds an SDK
and nothing of ours.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Call = Callable[..., Any]
FACTS = ("status_code", "code", "param", "type", "message", "request_id", "task_id")


def serve(call: Call) -> None:
    """Answer ``{"name", "arguments"}`` lines with ``{"answer"}`` or ``{"raised"}`` until EOF."""
    # What an SDK prints must not end up between the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            result = {"answer": call(asked["name"], **asked["arguments"])}
        except Exception as error:  # noqa: BLE001 - whatever an SDK raises is the answer
            result = {"raised": facts_of(error)}
        answers.write(json.dumps(result, default=plain) + "\n")
        answers.flush()


def facts_of(error: Exception) -> dict[str, Any]:
    """Give what a program can read off an SDK's exception."""
    found = {name: getattr(error, name, None) for name in FACTS}
    classes = [kind.__name__ for kind in type(error).__mro__]
    return {**found, "text": str(error), "class": classes[0], "classes": classes}


def plain(value: Any) -> Any:
    """Give what JSON lacks as text, and a model as its fields."""
    dump = getattr(value, "model_dump", None)
    return dump(mode="json") if dump else str(value)
