"""What the official OpenAI SDKs make of a wait that ends before the pictures are there."""

from __future__ import annotations

from pathlib import Path

from gateway.simulator import Script
from tests.support.sdk import Sdks, sdk_processes
from tests.support.stack import MODEL, running_stack


async def test_a_wait_that_ends_is_a_504_and_a_repeat_joins_the_task_instead_of_buying_again(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    kite = {"model": MODEL, "prompt": "a kite"}
    with sdk_processes("openai_calls") as processes:
        async with running_stack(tmp_path, database_url, redis_url, sync_wait_seconds=1) as stack:
            sdks = Sdks(processes, stack)
            patient, curt = [await sdks.callers("/openai/v1", credits=10) for _ in range(2)]
            stack.simulator.script("evolink", Script(work_ms=1_200))

            errors = await curt.refused("images.generate", **kite, options={"max_retries": 0})
            answers = await patient.call("images.generate", **kite, options={"max_retries": 2})

            for error in errors:
                assert (error["class"], error["status_code"]) == ("InternalServerError", 504)
            assert [len(answer["data"]) for answer in answers] == [1] * len(answers)
            for team in (*curt.teams, *patient.teams):
                (task,) = (await stack.get(team, "/v1/tasks")).json()["data"]
                assert (await stack.ended(team, task["id"]))["status"] == "completed"
                assert await stack.credits(team) == ("8.5", "0", "8.5")
