"""Calls the official DashScope SDK, whichever version this interpreter has, as a program would.

A name is a class and its method (``ImageSynthesis.async_call``), or a method of the object API's
client (``images.jobs.create``).
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from typing import Any

import dashscope
from dashscope.aigc import image_generation, image_synthesis, multimodal_conversation

from tests.sdk.lines import plain, serve

CLASSES = {
    name: kind
    for module in (image_generation, image_synthesis, multimodal_conversation)
    for name, kind in vars(module).items()
    if inspect.isclass(kind) and hasattr(kind, "call")
}
JOB_FACTS = ("status", "task_id", "succeeded", "finished", "image_urls", "submitted_at")


def call(
    name: str, *, base_url: str, api_key: str, options: dict[str, Any], arguments: dict[str, Any]
) -> Any:
    """Call a method; a stream is read to its end, an asynchronous method is run to its end."""
    dashscope.base_http_api_url = base_url
    owner, _, method = name.partition(".")
    if owner not in CLASSES:
        with dashscope.Client(api_key=api_key, base_url=base_url, **options) as client:
            on_client: Any = functools.reduce(getattr, name.split("."), client)
            return job(on_client(**arguments))
    function = getattr(CLASSES[owner], method)
    if owner.startswith("Aio"):
        return asyncio.run(awaited(function, api_key=api_key, **arguments))
    answer = function(api_key=api_key, **arguments)
    return list(answer) if inspect.isgenerator(answer) else answer


async def awaited(function: Any, **arguments: Any) -> Any:
    """Run an asynchronous method, then close the sockets that newer versions keep open."""
    answer = await function(**arguments)
    if inspect.isasyncgen(answer):
        answer = [part async for part in answer]
    try:
        from dashscope.api_entities.aio_session import close_shared_aio_session
    except ImportError:
        return answer
    await close_shared_aio_session()
    return answer


def job(found: Any) -> Any:
    """Give a job's fields and what its properties make of them; None stays None."""
    facts = {name: getattr(found, name) for name in JOB_FACTS if hasattr(found, name)}
    return {**plain(found), **facts} if facts else found


if __name__ == "__main__":
    serve(call)
