"""Every answer that `/openapi.json` documents is given like that by a running gateway.

`tests/support/stack.py` holds every answer of every test to the document; here each operation is
made to succeed and to fail once, so that no schema is left that nothing was held to.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.contract import JSON, Contract
from tests.support.pictures import PNG, PNG_DATA
from tests.support.stack import MODEL, Stack, Team, running_stack

KITE = {"model": MODEL, "prompt": "a kite"}
WAN27 = {"model": "wan2.7-image", "prompt": "a kite"}
REFUSED = "a kite [sim:fail=content_policy]"
NATIVE = ("/v1", "/evolink/v1")
ALIBABA = ("/api/v1", "/dashscope/api/v1")
ASYNC = {"x-dashscope-async": "enable"}
JSONL = {"content-type": "application/jsonl"}
ADMIN = {"authorization": "Bearer the-admin-key"}


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    """A gateway whose worker is started by the test."""
    async with running_stack(tmp_path, database_url, redis_url, workers=0) as running:
        yield running


def old(prompt: str = "a kite", **more: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": {"prompt": prompt, **more}, "parameters": {"n": 1}}


def new() -> dict[str, Any]:
    message = {"role": "user", "content": [{"text": "a kite"}]}
    return {"model": "wan2.7-image", "input": {"messages": [message]}, "parameters": {"n": 1}}


class Caller:
    """A team that calls by every dialect."""

    def __init__(self, stack: Stack, team: Team) -> None:
        self.stack, self.team = stack, team

    async def post(self, path: str, body: Any = None, **headers: str) -> Any:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await self.stack.post(self.team, body, path, sent)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.headers["content-type"] == JSON else answer.text

    async def get(self, path: str) -> Any:
        answer = await self.stack.get(self.team, path)
        assert answer.status_code == 200, answer.text
        return answer.json() if answer.headers["content-type"] == JSON else answer.text

    async def cancel_everything(self) -> None:
        """Cancel tasks that no worker has taken, at every address for it."""
        for base in (*NATIVE, "/openai/v1"):
            made = await self.post(f"{base}/images/generations", {**KITE, "async": True})
            await self.post(f"{base}/tasks/{made['id']}/cancel")
        made = await self.post("/qingbo/v1/tasks", WAN27)
        await self.post(f"/qingbo/v1/tasks/{made['task_id']}/cancel")
        for base in ALIBABA:
            path = f"{base}/services/aigc/text2image/image-synthesis"
            task_id = (await self.post(path, old(), **ASYNC))["output"]["task_id"]
            await self.post(f"{base}/tasks/{task_id}/cancel")
            # What is cancelled may be cancelled again.
            await self.post(f"{base}/tasks/{task_id}/cancel/")
            await self.get(f"{base}/tasks/{task_id}/cancel/")
            await self.get(f"{base}/tasks/{task_id}")

    async def natively(self) -> None:
        """Make, edit, price and read, as the native dialect and OpenAI's do."""
        for base in (*NATIVE, "/openai/v1"):
            await self.post(f"{base}/images/generations", {**KITE, "async": False})
            inline = {"response_format": "b64_json", "quality": "low"}
            gpt = {"model": "gpt-image-1.5", "prompt": "a kite", **inline}
            await self.post(f"{base}/images/generations", gpt)
            await self.post(f"{base}/images/generations", {**KITE, "stream": True})
            edit = {"model": "wan2.5-i2i-preview", "prompt": "bluer", "image": PNG_DATA}
            await self.post(f"{base}/images/edits", {**edit, "async": False})
            for prompt in ("a kite", REFUSED):
                body = {**KITE, "prompt": prompt, "async": True}
                task_id = (await self.post(f"{base}/images/generations", body))["id"]
                await self.stack.ended(self.team, task_id)
                await self.get(f"{base}/tasks/{task_id}")
            await self.get(f"{base}/models")
            await self.get(f"{base}/models/{MODEL}")
        task_id = (await self.post("/v1/images/generations", {**KITE, "async": True}))["id"]
        for base in NATIVE:
            await self.post(f"{base}/images/quote", {**KITE, "provider": {"only": ["dear"]}})
            for query in ("", "?page=1&page_size=5", "?limit=1"):
                await self.get(f"{base}/tasks{query}")
            await self.get(f"{base}/tasks/{task_id}/events")
            await self.get(f"{base}/credits")
            every = "day,hour,team,key,model,upstream,status"
            for query in ("", f"?by={every}", "?format=csv", "?format=ndjson"):
                await self.get(f"{base}/usage{query}")

    async def in_batches(self) -> None:
        """Batches that pause for want of credits; one goes on and one is cancelled."""
        poor = Caller(self.stack, await self.stack.team(credits=2))
        lines = "\n".join([json.dumps(KITE)] * 3)
        headers = {**poor.team.headers, **JSONL}
        for base in NATIVE:
            for act in ("resume", "cancel"):
                made = await self.stack.client.post(
                    f"{base}/batches?concurrency=1", content=lines, headers=headers
                )
                one = f"{base}/batches/{made.json()['id']}"
                async with asyncio.timeout(20):
                    while (await poor.get(one))["status"] != "paused":
                        await asyncio.sleep(0.05)
                await poor.post(f"{one}/{act}")
                await poor.get(f"{one}/results")
            await poor.get(f"{base}/batches")

    async def as_modelverse(self) -> None:
        await self.post("/modelverse/v1/images/generations", WAN27)
        for base in ("/v1", "/modelverse/v1"):
            for prompt in ("a kite", REFUSED):
                body = {"model": "wan2.7-image", "input": {"prompt": prompt}}
                task_id = (await self.post(f"{base}/tasks/submit", body))["output"]["task_id"]
                await self.stack.ended(self.team, task_id)
                await self.get(f"{base}/tasks/status?task_id={task_id}")
        await self.get("/modelverse/v1/models")

    async def as_qingbo(self) -> None:
        for base in ("/v1", "/qingbo/v1"):
            await self.post(f"{base}/tasks", WAN27, prefer="wait=30")
            for prompt in ("a kite", REFUSED):
                task_id = (await self.post(f"{base}/tasks", WAN27 | {"prompt": prompt}))["task_id"]
                await self.stack.ended(self.team, task_id)
                await self.get(f"/qingbo/v1/tasks/{task_id}")
                await self.get(f"/v1/tasks/{task_id}")
        await self.get("/qingbo/v1/models")

    async def as_dashscope(self) -> None:
        for base in ALIBABA:
            for end in ("", "/"):
                made = [
                    await self.post(f"{base}/services/aigc/{path}{end}", body, **ASYNC)
                    for path, body in (
                        ("text2image/image-synthesis", old()),
                        ("text2image/image-synthesis", old(REFUSED)),
                        (
                            "image2image/image-synthesis",
                            old(images=[PNG_DATA]) | {"model": "wan2.5-i2i-preview"},
                        ),
                        ("image-generation/generation", new()),
                    )
                ]
                for one in made:
                    task_id = one["output"]["task_id"]
                    await self.stack.ended(self.team, task_id)
                    await self.get(f"{base}/tasks/{task_id}{end}")
                    await self.get(f"/v1/tasks/{task_id}")
                waiting = f"{base}/services/aigc/multimodal-generation/generation{end}"
                await self.post(waiting, new())
                await self.post(waiting, new(), x_dashscope_sse="enable")
                await self.get(f"{base}/tasks{end}")
                await self.get(f"{base}/tasks/nobody{end}")
            policy = (await self.get(f"{base}/uploads?action=getPolicy&model={MODEL}"))["data"]
            form = {"key": f"{policy['upload_dir']}/kite.png"}
            ticket = policy["upload_host"].rpartition("ticket=")[2]
            stored = await self.stack.client.post(
                f"{base}/uploads?ticket={ticket}", data=form, files={"file": PNG}
            )
            assert stored.status_code == 200


async def test_every_operation_of_every_dialect_answers_as_documented(stack: Stack) -> None:
    caller = Caller(stack, await stack.team(credits=10_000))
    await caller.cancel_everything()
    await stack.start_worker()
    await caller.natively()
    await caller.in_batches()
    await caller.as_modelverse()
    await caller.as_qingbo()
    await caller.as_dashscope()
    assert stack.contract.unproven(admin=False) == set()
    stack.contract.assert_differences_are_refused(answers=100)


async def test_every_operation_refuses_as_documented(stack: Stack) -> None:
    for one in stack.contract.operations:
        path = one.path.replace("{", "").replace("}", "")
        answer = await stack.client.request(one.method, path)
        # Whoever logs in is nobody yet; an upload has a ticket instead of a key.
        assert answer.status_code in ((401,) if one.secured else (400, 401, 404))
    team = await stack.team()
    for path in ("/v1", "/openai/v1", "/modelverse/v1", "/qingbo/v1", "/dashscope/api/v1"):
        for rest in ("/models/nothing", "/tasks/nobody", "/tasks/status?task_id=nobody"):
            await stack.get(team, path + rest)
    for path in (
        "/v1/images/generations",
        "/openai/v1/images/edits",
        "/modelverse/v1/tasks/submit",
        "/qingbo/v1/tasks",
        "/api/v1/services/aigc/multimodal-generation/generation",
    ):
        assert (await stack.post(team, {}, path)).status_code == 400
    refused = await stack.post(team, {}, "/openai/v1/images/variations")
    assert refused.status_code == 404


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Give every schema of an object within a schema."""
    if isinstance(schema, list):
        for one in schema:
            yield from objects(one)
    elif isinstance(schema, dict):
        if "object" in schema.get("type", ()):
            yield schema
        for name, one in schema.items():
            if name != "example":
                yield from objects(one)


async def test_an_object_has_the_fields_of_its_schema_and_no_others(stack: Stack) -> None:
    found = [
        one
        for operation in stack.contract.operations
        for answer in operation.responses.values()
        for content in answer.get("content", {}).values()
        for one in objects(content["schema"])
    ]
    found += objects(list(stack.contract.document["components"]["schemas"].values()))
    # What a model's parameters and an audit entry's changes hold is data.
    open_ended = [one for one in found if "additionalProperties" not in one]
    assert {one["description"] for one in open_ended} == {
        "A JSON Schema of the unified call.",
        "The fields that changed.",
    }


async def test_every_example_is_what_its_schema_describes(stack: Stack) -> None:
    contents = [
        content
        for operation in stack.contract.operations
        for answer in operation.responses.values()
        for content in answer.get("content", {}).values()
        if "example" in content
    ]
    assert len(contents) > 25
    for content in contents:
        for error in stack.contract.validator(content["schema"]).iter_errors(content["example"]):
            raise AssertionError(f"{content['example']}: {error}")


async def test_a_schema_that_says_something_else_is_noticed(stack: Stack) -> None:
    """The check itself: with one word of the document wrong, the answer breaks the contract."""
    team = await stack.team()
    named = stack.contract.document["components"]["schemas"]
    wrong = {**named["Credits"]["properties"], "held": {"type": "integer"}}
    changed = {**named, "Credits": {**named["Credits"], "properties": wrong}}
    document = {**stack.contract.document, "components": {"schemas": changed}}
    answer = await stack.get(team, "/v1/credits")
    with pytest.raises(AssertionError, match="GET /v1/credits"):
        await Contract(document).check(answer)
