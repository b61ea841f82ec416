"""Every request example of the seeds gets the answer the seeds document, root and prefix alike.

The printed picture hosts do not resolve: such a picture is passed on as it is. All examples run at
once, in one fixture.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.egress.resolve import Lookup
from tests.e2e.printed import ASYNC, BLOCKING, EXAMPLES, GENERATION, HOSTS, SUBMIT, Printed
from tests.support.shared import COSTS, Shared
from tests.support.stack import Team

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Where each dialect's addresses begin; Modelverse's blocking call has no place at the root.
ROOTS = {
    "evolink": ("", "/evolink"),
    "modelverse": ("", "/modelverse"),
    "qingbo": ("", "/qingbo"),
    "dashscope": ("/api/v1", "/dashscope/api/v1"),
}
SENT = [
    (example, root)
    for example in EXAMPLES
    for root in ROOTS[example.dialect]
    if (example.dialect, example.path, root) != ("modelverse", BLOCKING, "")
]
each = pytest.mark.parametrize(("example", "root"), SENT, ids=[f"{e}-{r or '/'}" for e, r in SENT])


@dataclass
class Ran:
    """The answer to an example, and the task's last answer where it has a task."""

    answer: httpx.Response
    ended: dict[str, Any]


def of(dialect: str) -> pytest.MarkDecorator:
    """Look at the examples of one dialect."""
    mine = [pair for pair in SENT if pair[0].dialect == dialect]
    return pytest.mark.parametrize(
        ("example", "root"), mine, ids=[f"{e}-{r or '/'}" for e, r in mine]
    )


@pytest.fixture(scope="module", autouse=True)
def no_such_hosts() -> Iterator[None]:
    """The printed hosts do not exist, as for a gateway without a way to them."""
    look_up = Lookup._look_up

    def refuse(self: Lookup, host: str, port: int, family: int) -> Any:
        if host in HOSTS:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return look_up(self, host, port, family)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lookup, "_look_up", refuse)
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def team(shared: Shared) -> Team:
    return await shared.stack.team(10_000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(shared: Shared, team: Team) -> Mapping[tuple[str, str], Ran]:
    async def send(example: Printed, root: str) -> Ran:
        headers = {"content-type": "application/json", **team.headers}
        if example.dialect == "dashscope":
            headers |= ASYNC
        answer = await shared.stack.client.post(
            root + example.path, content=example.body.encode(), headers=headers
        )
        body = answer.json() if answer.status_code == 200 else {}
        return Ran(answer, await ended(shared, team, example, root, body))

    found = await asyncio.gather(*(send(*pair) for pair in SENT))
    return {(str(e), root): it for (e, root), it in zip(SENT, found, strict=True)}


async def ended(
    shared: Shared, team: Team, example: Printed, root: str, answer: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask as the seed says until the task is over; gives the last answer."""
    output = answer.get("output") or {}
    task_id = answer.get("task_id") or answer.get("id") or output.get("task_id")
    if task_id is None:
        return {}
    path = "/v1/tasks/status?task_id=" if example.dialect == "modelverse" else "/v1/tasks/"
    path = "/tasks/" if example.dialect == "dashscope" else path
    over = {"completed", "failed", "Success", "Failure", "SUCCEEDED", "FAILED"}
    async with asyncio.timeout(60):
        while True:
            body: dict[str, Any] = (await shared.stack.get(team, f"{root}{path}{task_id}")).json()
            status = body.get("status") or body["output"]["task_status"]
            if status in over:
                return body
            await asyncio.sleep(0.3)


@each
async def test_it_is_taken(ran: Mapping[tuple[str, str], Ran], example: Printed, root: str) -> None:
    answer = ran[str(example), root].answer
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"


@of("evolink")
async def test_evolink_answers_the_task_of_seed_001(
    ran: Mapping[tuple[str, str], Ran], example: Printed, root: str
) -> None:
    created, done = ran[str(example), root].answer.json(), ran[str(example), root].ended
    assert created.keys() >= {
        "created", "id", "model", "object", "progress", "status", "task_info", "type", "usage",
    }  # fmt: skip
    assert re.fullmatch(r"task-unified-\d{10}-[0-9a-z]{8}", created["id"])
    assert (created["model"], created["object"], created["type"]) == (
        "wan2.5-text-to-image",
        "image.generation.task",
        "image",
    )
    assert (created["progress"], created["status"]) == (0, "pending")
    assert isinstance(created["created"], int)
    assert created["task_info"]["can_cancel"] is True
    assert isinstance(created["task_info"]["estimated_time"], int)
    assert created["usage"].keys() >= {"billing_rule", "credits_reserved", "user_group"}
    assert (done["status"], done["progress"]) == ("completed", 100)
    assert len(done["results"]) == 1


@of("modelverse")
async def test_modelverse_answers_as_seed_002_prints(
    ran: Mapping[tuple[str, str], Ran], example: Printed, root: str
) -> None:
    created, done = ran[str(example), root].answer.json(), ran[str(example), root].ended
    if example.path == BLOCKING:
        assert created.keys() == {"created", "data"}
        assert isinstance(created["created"], int)
        assert [entry.keys() for entry in created["data"]] == [{"url"}] * example.n
        return
    assert example.path == SUBMIT
    assert created.keys() == {"output", "request_id"}
    assert created["output"].keys() == {"task_id"}
    output = done["output"]
    assert output.keys() == {"task_id", "task_status", "urls", "submit_time", "finish_time"}
    assert (output["task_id"], output["task_status"]) == (created["output"]["task_id"], "Success")
    assert len(output["urls"]) == example.n
    assert 0 <= output["finish_time"] - output["submit_time"] <= 60
    assert done["usage"] == {"completion_tokens": example.n, "total_tokens": example.n}
    assert "request_id" in done


@of("qingbo")
async def test_qingbo_answers_as_seed_003_prints(
    ran: Mapping[tuple[str, str], Ran], example: Printed, root: str
) -> None:
    created, done = ran[str(example), root].answer.json(), ran[str(example), root].ended
    printed = {"task_id", "model", "action", "status", "created_at", "progress"}
    assert created.keys() == printed | {"pre_consumed_cost"}
    assert re.fullmatch(r"task-wave\d{10}[a-z]\d{9}", created["task_id"])
    assert (created["model"], created["action"]) == ("wan2.7-image", example.action)
    assert (created["status"], created["progress"]) == ("queued", 0)
    assert created["created_at"] > 10**12
    assert done["status"] == "completed"
    assert len(done["result"]["images"]) == 1


@of("dashscope")
async def test_dashscope_answers_as_seed_004_prints(
    ran: Mapping[tuple[str, str], Ran], example: Printed, root: str
) -> None:
    created, done = ran[str(example), root].answer.json(), ran[str(example), root].ended
    assert example.path == GENERATION
    assert created.keys() == {"request_id", "output"}
    assert created["output"].keys() == {"task_id", "task_status"}
    assert created["output"]["task_status"] == "PENDING"
    assert done["output"]["task_status"] == "SUCCEEDED"
    assert done["output"]["choices"][0]["message"]["content"][0]["image"].startswith("http")


async def test_what_is_printed_reaches_a_vendor(
    shared: Shared, ran: Mapping[tuple[str, str], Ran]
) -> None:
    prompts = {json.loads(example.body).get("prompt") for example in EXAMPLES} - {None, "p"}
    for prompt in prompts:
        assert any(shared.wiretap.sent(vendor, prompt) for vendor in COSTS)


async def test_a_picture_that_cannot_be_reached_is_passed_on(
    shared: Shared, ran: Mapping[tuple[str, str], Ran]
) -> None:
    prompt = "把这只猫改成赛博朋克风格,霓虹灯光,电影感构图"
    (first, *_) = shared.wiretap.sent("qingbo", prompt)
    assert first.words["image_urls"] == [f"https://{HOSTS[0]}/亿恩科技-maxcot.jpg"]


async def test_a_failure_is_worded_as_seed_002_prints(shared: Shared, team: Team) -> None:
    prompt = "fails [sim:fail=invalid_parameter]"
    body = {"model": "wan2.7-image", "input": {"prompt": prompt}, "parameters": {"size": "1K"}}
    created = (await shared.stack.post(team, body, SUBMIT)).json()
    example = Printed("failure", "modelverse", SUBMIT, "")
    done = await ended(shared, team, example, "", created)

    output = done["output"]
    assert output.keys() == {
        "task_id", "task_status", "submit_time", "finish_time", "error_message",
    }  # fmt: skip
    assert output["task_status"] == "Failure"
    assert re.fullmatch("code=InvalidParameter, message=.+", output["error_message"])
