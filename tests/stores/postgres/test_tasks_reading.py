from __future__ import annotations

import asyncio
import base64

import pytest

from gateway.app.ports import TaskFilter
from gateway.domain.errors import InvalidRequest, TaskNotFound
from tests.stores.postgres.building import START_MS, accepted, delivered, failed

ALL = TaskFilter()


@pytest.fixture
async def five(tasks, team):
    """Five tasks, the oldest first; the third and fourth were created in one millisecond."""
    offsets = (0, 1_000, 2_000, 2_000, 3_000)
    return [
        await accepted(tasks, team.id, hold=0, task_id=f"task-{i}", created_ms=START_MS + offset)
        for i, offset in enumerate(offsets)
    ]


def ids(found) -> list[str]:
    return [task.id for task in found]


async def test_an_unknown_task_is_none(tasks):
    assert await tasks.get("task-unknown") is None
    assert await tasks.get("nul\x00byte") is None
    with pytest.raises(TaskNotFound):
        await tasks.request_of("task-unknown")


async def test_tasks_asked_for_together_are_each_answered_for_themselves(tasks, five):
    asked = ["task-0", "task-unknown", *(f"task-{i}" for i in range(5)), "task-0"]
    found = await asyncio.gather(*(tasks.get(task_id) for task_id in asked))
    assert [task and task.id for task in found] == ["task-0", None, *ids(five), "task-0"]
    requests = await asyncio.gather(
        *(tasks.request_of(task_id) for task_id in asked), return_exceptions=True
    )
    found = [getattr(request, "model", type(request)) for request in requests]
    assert found == [five[0].model, TaskNotFound, *[five[0].model] * 6]


@pytest.mark.parametrize("read", ["get", "request_of"])
async def test_callers_who_ask_for_one_task_at_once_share_a_statement(
    tasks, database, five, monkeypatch, read
):
    statements = []
    real = database.read

    async def counted(statement, *arguments, **options):
        statements.append(statement)
        return await real(statement, *arguments, **options)

    monkeypatch.setattr(database, "read", counted)
    found = await asyncio.gather(*[getattr(tasks, read)(five[0].id) for _ in range(5)])
    assert found[0] is not None
    assert found == [found[0]] * 5
    assert len(statements) == 1


async def test_pages_follow_each_other_newest_first_without_gap_or_repeat(tasks, team, five):
    seen, cursor = [], None
    while True:
        page = await tasks.page(team.id, ALL, 2, cursor)
        assert page.total is None
        seen += ids(page.tasks)
        if page.next_cursor is None:
            break
        cursor = page.next_cursor
    assert seen == ["task-4", "task-3", "task-2", "task-1", "task-0"]


async def test_a_task_created_between_two_pages_does_not_shift_the_second(tasks, team, five):
    first = await tasks.page(team.id, ALL, 2, None)
    await accepted(tasks, team.id, hold=0, task_id="newest", created_ms=START_MS + 9_000)
    second = await tasks.page(team.id, ALL, 2, first.next_cursor)
    assert ids(second.tasks) == ["task-2", "task-1"]


async def test_numbered_pages_come_with_the_total(tasks, team, five):
    page = await tasks.page(team.id, ALL, 2, None, 0)
    assert (ids(page.tasks), page.total) == (["task-4", "task-3"], 5)
    page = await tasks.page(team.id, ALL, 2, None, 4)
    assert (ids(page.tasks), page.total, page.next_cursor) == (["task-0"], 5, None)


async def test_a_page_that_ends_exactly_at_the_last_task_is_the_last(tasks, team, five):
    page = await tasks.page(team.id, ALL, 5, None)
    assert (len(page.tasks), page.next_cursor) == (5, None)


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (TaskFilter(status="completed"), ["task-1"]),
        (TaskFilter(status="failed"), ["task-2"]),
        (TaskFilter(status="pending"), ["task-4", "task-3", "task-0"]),
        (TaskFilter(status="no such status"), []),
        (TaskFilter(model="wan2.5-t2i-preview", since_ms=START_MS + 3_000), ["task-4"]),
        (TaskFilter(model="another"), []),
        (TaskFilter(since_ms=START_MS + 1_000, until_ms=START_MS + 2_000),
         ["task-3", "task-2", "task-1"]),
        (TaskFilter(until_ms=START_MS), ["task-0"]),
        (TaskFilter(task_id="task-3"), ["task-3"]),
        (TaskFilter(task_id="task-9"), []),
        (TaskFilter(task_id="nul\x00byte"), []),
    ],
)  # fmt: skip
async def test_filters(tasks, team, five, where, found):
    await tasks.settle(delivered(five[1]))
    await tasks.settle(failed(five[2]))
    page = await tasks.page(team.id, where, 10, None, 0)
    assert (ids(page.tasks), page.total) == (found, len(found))


async def test_a_team_sees_its_own_tasks_only(tasks, ledger, five):
    stranger = await ledger.create_team("stranger")
    page = await tasks.page(stranger.id, ALL, 10, None, 0)
    assert (page.tasks, page.total) == ((), 0)


@pytest.mark.parametrize(
    "text", [b"", b"x", b"123", b"-1:task", b"99999999999999999999:task", b"1:\x00", b"1:\xff"]
)
async def test_a_cursor_that_is_none_of_ours_is_refused(tasks, team, text):
    cursor = base64.urlsafe_b64encode(text).decode() or "%%%"
    with pytest.raises(InvalidRequest) as raised:
        await tasks.page(team.id, ALL, 2, cursor)
    assert raised.value.param == "cursor"


async def test_the_sweeper_reads_unfinished_tasks_in_id_order(tasks, five):
    await tasks.settle(delivered(five[1]))
    first = await tasks.unfinished("", 2)
    rest = await tasks.unfinished(first[-1], 10)
    assert [*first, *rest] == ["task-0", "task-2", "task-3", "task-4"]
    assert await tasks.unfinished("task-4", 10) == []


async def test_the_sweeper_reads_several_tasks_at_once(tasks, five):
    found = await tasks.several(["task-3", "task-1", "nowhere"])
    assert sorted(ids(found)) == ["task-1", "task-3"]
    assert await tasks.several([]) == []


async def test_tasks_that_ended_long_ago_are_forgotten_but_not_their_money(
    tasks, database, ledger, team, five
):
    for i, task in enumerate(five[:3]):
        await tasks.settle(delivered(task, at_ms=START_MS + i))
    assert await tasks.forget(START_MS + 2, 1) == 1
    assert await tasks.forget(START_MS + 2, 10) == 1
    assert await tasks.forget(START_MS + 2, 10) == 0
    assert [await tasks.get(task.id) is None for task in five] == [True, True] + [False] * 3
    assert (await database.read("SELECT count(*) FROM usage"))[0][0] == 3
    assert (await ledger.verify()).is_sound
