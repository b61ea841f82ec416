"""Calls the official OpenAI SDK, whichever version this interpreter has, as a program would.

A name is the method on the client (``images.generate``). An argument ``{"file": path}``, or a list
of them, is an opened file.
"""

from __future__ import annotations

import functools
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import openai

from tests.sdk.lines import serve


def call(
    name: str, *, base_url: str, api_key: str, options: dict[str, Any], arguments: dict[str, Any]
) -> Any:
    """Call a method of a new client; a stream and a page are read to their end."""
    with ExitStack() as opened:
        client = opened.enter_context(openai.OpenAI(base_url=base_url, api_key=api_key, **options))

        def given(value: Any) -> Any:
            if isinstance(value, list):
                return [given(item) for item in value]
            if isinstance(value, dict) and value.keys() == {"file"}:
                return opened.enter_context(Path(value["file"]).open("rb"))
            return value

        given_arguments = {field: given(value) for field, value in arguments.items()}
        method: Any = functools.reduce(getattr, name.split("."), client)
        answer = method(**given_arguments)
        return list(answer) if arguments.get("stream") or name == "models.list" else answer


if __name__ == "__main__":
    serve(call)
