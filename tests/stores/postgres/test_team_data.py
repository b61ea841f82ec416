"""All rows of a team: read in one snapshot, and emptied of all but what the books need."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.app.ports import NewTask
from gateway.domain.access import KeyRules, Team
from gateway.domain.administration import COMMAND_LINE
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import InUse, InvalidRequest, NotFound
from gateway.domain.repeats import CallMark
from gateway.domain.request import GenerationRequest, InputImage
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.team_erasure import PostgresErasure
from gateway.stores.postgres.team_export import REQUEST_INLINE, TeamExport
from gateway.stores.postgres.vault import Vault
from tests.stores.postgres.building import (
    START_MS,
    TurnableClock,
    accepted,
    attempt,
    delivered,
    failed,
    new_task,
    success_at,
    with_attempts,
)

CALLBACK = CallbackSpec("https://hooks.example.net/token-123", ("completed",))


@pytest.fixture
def export(database: Database, vault: Vault) -> TeamExport:
    return TeamExport(database, vault)


@pytest.fixture
def erasure(database: Database, clock: TurnableClock, vault: Vault) -> PostgresErasure:
    return PostgresErasure(database, clock, vault)


async def rows_of(export: TeamExport, team_id: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    async for one in export.rows(team_id):
        found.setdefault(one["object"], []).append(one)
    return found


async def completed(tasks: PostgresTasks, team_id: str, **options: Any) -> str:
    task = await accepted(tasks, team_id, callback=CALLBACK, **options)
    await tasks.settle(delivered(with_attempts(task, success_at("cheap", reason="said: a cat"))))
    return task.id


async def erase(erasure: PostgresErasure, team: Team, name: str | None = None) -> int:
    await erasure.close(team.id, name or team.name, COMMAND_LINE)
    emptied, after = 0, (0, "")
    while page := await erasure.page(team.id, after, 2):
        emptied += await erasure.empty(page.task_ids)
        after = page.last
    await erasure.finish(team.id, emptied, 0, COMMAND_LINE)
    return emptied


async def test_an_export_has_every_kind_of_row_and_no_other_teams(
    export: TeamExport, tasks: PostgresTasks, ledger: PostgresLedger, team: Team
) -> None:
    other = await ledger.create_team("press")
    await ledger.grant(other.id, 10_000_000, "press's")
    await completed(tasks, other.id)
    ended = await completed(tasks, team.id)
    running = await accepted(tasks, team.id, callback=CALLBACK)

    found = await rows_of(export, team.id)

    assert {row["id"] for row in found["task"]} == {ended, running.id}
    (task,) = [row for row in found["task"] if row["id"] == ended]
    assert task["request"]["prompt"].startswith("A lighthouse")
    assert task["images"][0]["url"].startswith("https://files.example.net/")
    assert (task["status"], task["credits_charged"]) == ("completed", "1")
    (under_way,) = [row for row in found["task"] if row["id"] == running.id]
    assert under_way["callback_url"] == CALLBACK.url
    assert [(a["task_id"], a["cost_usd"]) for a in found["attempt"]] == [(ended, "0.02")]
    assert [(c["url"], c["tries"]) for c in found["callback"]] == [(CALLBACK.url, [])]
    assert [(u["task_id"], u["credits_charged"]) for u in found["usage"]] == [(ended, "1")]
    kinds = sorted((t["kind"], t["credits"]) for t in found["transfer"])
    assert kinds == [("capture", "1"), ("grant", "10"), ("hold", "1"), ("hold", "1")]
    assert [a["action"] for a in found["audit"]] == ["team.create", "credits.grant"]
    assert sum(map(len, found.values())) == await export.count(team.id) + len(found["audit"])


async def test_a_request_with_pictures_inside_is_whole(
    export: TeamExport, tasks: PostgresTasks, team: Team
) -> None:
    picture = InputImage("data:image/png;base64," + "A" * REQUEST_INLINE)
    task = new_task(team.id).task
    request = GenerationRequest(model=task.model, prompt="a cat", images=(picture,))
    await tasks.accept(NewTask(task, request))

    (row,) = (await rows_of(export, team.id))["task"]

    assert row["request"]["images"][0]["url"] == picture.url


async def test_attempts_of_forgotten_tasks_are_still_there(
    export: TeamExport, tasks: PostgresTasks, team: Team
) -> None:
    ended = await completed(tasks, team.id)
    assert await tasks.forget(START_MS + 10_000, 10) == 1

    found = await rows_of(export, team.id)

    assert "task" not in found
    assert [row["task_id"] for row in found["attempt"]] == [ended]


async def test_what_a_team_sent_and_got_is_gone_and_the_books_are_clean(
    erasure: PostgresErasure,
    export: TeamExport,
    tasks: PostgresTasks,
    keys: PostgresKeys,
    ledger: PostgresLedger,
    database: Database,
    team: Team,
) -> None:
    rules = KeyRules(networks=("10.1.2.0/24",))
    key, _ = await keys.create(team.id, "jane-doe", rules=rules)
    for _ in range(3):
        await completed(tasks, team.id, key_id=key.id)
    broken = await accepted(tasks, team.id)
    marked = new_task(team.id)
    mark = CallMark("POST /v1", b"f" * 32, key="key-1")
    await tasks.accept(NewTask(marked.task, marked.request, None, mark))
    for task in (broken, marked.task):
        await tasks.settle(failed(with_attempts(task, attempt(reason="refused: a cat"))))
    before = await rows_of(export, team.id)

    assert await erase(erasure, team) == 5

    after = await rows_of(export, team.id)
    assert after["usage"] == before["usage"]
    assert sorted(map(str, after["transfer"])) == sorted(map(str, before["transfer"]))
    assert (await ledger.verify()).violations == ()
    kept = str([after, await ledger.team(team.id), await keys.key(key.id)])
    for secret in ("lighthouse", "files.example.net", "a cat", "hooks.example", "upstream could"):
        assert secret in str(before)
        assert secret not in kept
    for name in ("studio", "jane-doe", "10.1.2.0"):
        assert name not in kept
    assert "callback" not in after
    assert (await keys.key(key.id)).revoked_ms is not None
    assert [row["status"] for row in after["task"]].count("completed") == 3
    assert {len(row["images"]) for row in after["task"]} == {0, 1}
    left = await database.read("SELECT count(*) AS n FROM idempotency_keys")
    assert left[0]["n"] == 0
    actions = [row["action"] for row in after["audit"]]
    assert actions[-2:] == ["team.erase", "team.erased"]
    assert after["audit"][-1]["after"] == {"tasks": 5, "pictures": 0}


async def test_erasing_again_changes_nothing(
    erasure: PostgresErasure, export: TeamExport, tasks: PostgresTasks, team: Team
) -> None:
    await completed(tasks, team.id)
    assert await erase(erasure, team) == 1
    once = await rows_of(export, team.id)

    assert await erase(erasure, team, "whatever it was called") == 0

    assert await rows_of(export, team.id) == once


async def test_a_team_with_tasks_under_way_is_left_as_it_is(
    erasure: PostgresErasure, ledger: PostgresLedger, tasks: PostgresTasks, team: Team
) -> None:
    task = await accepted(tasks, team.id)

    with pytest.raises(InUse, match="1 tasks are under way"):
        await erasure.close(team.id, "studio", COMMAND_LINE)

    assert await ledger.team_named("studio") is not None
    assert await erasure.empty([task.id]) == 0
    assert (await tasks.request_of(task.id)).prompt


async def test_another_name_confirms_nothing(erasure: PostgresErasure, team: Team) -> None:
    with pytest.raises(InvalidRequest) as raised:
        await erasure.close(team.id, "press", COMMAND_LINE)
    assert [(p.field, p.legal) for p in raised.value.problems] == [("name", "studio")]
    with pytest.raises(NotFound):
        await erasure.close("team_nobody", "studio", COMMAND_LINE)


async def test_a_task_that_an_earlier_version_emptied_is_empty(
    erasure: PostgresErasure, database: Database, tasks: PostgresTasks, team: Team
) -> None:
    task_id = await completed(tasks, team.id)
    assert await erasure.empty([task_id]) == 1
    emptied = await tasks.get(task_id)
    statement = "UPDATE tasks SET doc = $2 WHERE id = $1 RETURNING id"
    assert await database.write(statement, task_id, msgspec.json.encode(emptied))

    assert await erasure.empty([task_id]) == 0
