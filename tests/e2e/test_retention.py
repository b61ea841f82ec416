"""Old tasks are forgotten, and stripped of their requests, without touching what was paid."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.settings import SettingsError, load_settings
from tests.support.stack import MODEL, Stack, Team, running_stack

DAY_MS = 86_400_000


async def ended(stack: Stack, team: Team) -> str:
    made = (await stack.post(team, {"model": MODEL, "prompt": "a secret kite"})).json()
    await stack.ended(team, made["id"])
    found: str = made["id"]
    return found


async def age(stack: Stack, task_id: str, days: int) -> None:
    await stack.gateway.database.write(
        "UPDATE tasks SET finished_ms = finished_ms - $2 WHERE id = $1", task_id, days * DAY_MS
    )


async def test_old_tasks_go_and_the_books_stay(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(
        tmp_path, database_url, redis_url, keep_tasks_days=30, keep_payloads_days=7
    ) as stack:
        team = await stack.team(credits=10)
        young, stripped, old = [await ended(stack, team) for _ in range(3)]
        await age(stack, young, 6)
        await age(stack, stripped, 8)
        await age(stack, old, 31)
        await stack.stop_workers()
        while await stack.gateway.sweep.expire():
            pass
        rows = await stack.gateway.database.read("SELECT id, length(request) AS size FROM tasks")
        sizes = {row["id"]: row["size"] for row in rows}
        assert sizes.keys() == {young, stripped}
        assert sizes[young] > 0
        assert sizes[stripped] == 0
        assert (await stack.task(stripped)).charged == 1_500_000
        assert (await stack.get(team, f"/v1/tasks/{stripped}")).json()["status"] == "completed"
        usage = (await stack.get(team, "/v1/usage")).json()
        assert (usage["images"], usage["credits_charged"]) == (3, "4.5")
        await stack.assert_ledger_is_clean()


async def test_by_default_everything_stays(
    tmp_path: Path, database_url: str, redis_url: str
) -> None:
    async with running_stack(tmp_path, database_url, redis_url) as stack:
        team = await stack.team(credits=10)
        old = await ended(stack, team)
        await age(stack, old, 10_000)
        await stack.stop_workers()
        await stack.gateway.sweep.expire()
        (row,) = await stack.gateway.database.read("SELECT length(request) AS size FROM tasks")
        assert row["size"] > 0


@pytest.mark.parametrize(
    ("name", "days"), [("TASKS", "3"), ("TASKS", "x"), ("PAYLOADS", "0"), ("PAYLOADS", "99999")]
)
def test_a_wrong_number_of_days_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, days: str
) -> None:
    monkeypatch.setenv(f"GATEWAY_KEEP_{name}_DAYS", days)
    with pytest.raises(SettingsError, match=f"GATEWAY_KEEP_{name}_DAYS"):
        load_settings()
