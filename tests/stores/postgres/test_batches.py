"""Batches in PostgreSQL: one runner per team, counts that add up, no line twice."""

from __future__ import annotations

import json

import pytest

from gateway.app.ports.batches import LineMark
from gateway.domain.administration import COMMAND_LINE
from gateway.domain.batch import Batch, BatchLine, BatchStatus, LineState, task_id_of
from gateway.domain.callback import CallbackSpec
from gateway.domain.repeats import CallMark
from gateway.domain.request import GenerationRequest
from gateway.domain.submission import Draft
from gateway.stores.postgres.batch_books import PostgresBatches
from gateway.stores.postgres.batch_feed import PostgresBatchFeed
from tests.stores.postgres.building import START_MS, accepted, delivered

HOOK = "https://hooks.example.net/done?token=hidden"
MARK = CallMark("evolink /batches", b"what was sent", "spring")
LONG_MS = 60_000


@pytest.fixture
def batches(database, vault) -> PostgresBatches:
    return PostgresBatches(database, vault)


@pytest.fixture
def feed(database, vault) -> PostgresBatchFeed:
    return PostgresBatchFeed(database, vault)


def a_line(no: int, callback: CallbackSpec | None = None) -> BatchLine:
    request = GenerationRequest(model="wan2.5-t2i-preview", prompt=f"kite {no}")
    return BatchLine(f"sku-{no}", Draft(request, callback=callback))


async def created(batches, team, name="1", lines=4, callback=None, mark=None, line_callback=None):
    batch = Batch(
        id=f"batch-{name}",
        team_id=team.id,
        key_id="key_1",
        status=BatchStatus.RUNNING,
        concurrency=10,
        total=lines,
        created_ms=START_MS,
    )
    encoded = [
        batches.encoded(team.id, no, a_line(no, line_callback)) for no in range(1, lines + 1)
    ]
    assert await batches.create(batch, callback, encoded, mark)
    return batch


async def ran(tasks, team, batch, *numbers):
    """Let lines become tasks that deliver."""
    for no in numbers:
        task = await accepted(tasks, team.id, task_id=task_id_of(batch.id, no))
        await tasks.settle(delivered(task))


async def test_a_batch_is_stored_whole_and_its_lines_come_in_order(batches, feed, team):
    batch = await created(batches, team)
    assert await batches.get(batch.id) == batch
    assert await batches.get("batch-2") is None
    found = await feed.waiting(batch, 3, 1_000_000)
    assert [line.no for line in found] == [1, 2, 3]
    assert found[0].draft.request.prompt == "kite 1"
    assert not found[0].sent


async def test_lines_come_as_many_as_are_not_too_large_but_one_at_least(batches, feed, team):
    batch = await created(batches, team)
    size = len(batches.encoded(team.id, 1, a_line(1)).draft)
    assert len(await feed.waiting(batch, 4, 1)) == 1
    assert len(await feed.waiting(batch, 4, size + 1)) == 2


async def test_lines_that_are_passed_over_make_room_for_later_ones(batches, feed, team):
    batch = await created(batches, team, "1", lines=5)
    await created(batches, team, "2", lines=5)
    found = await feed.waiting(batch, 2, 1_000_000, [1, 3])
    assert [line.no for line in found] == [2, 4]
    assert await feed.waiting(batch, 9, 1_000_000, [1, 2, 3, 4, 5]) == []


async def test_many_lines_are_stored_in_parts(batches, feed, team, monkeypatch):
    monkeypatch.setattr("gateway.stores.postgres.batch_books.LINES", 3)
    batch = await created(batches, team, lines=10)
    monkeypatch.setattr("gateway.stores.postgres.batch_books.BYTES", 200)
    other = await created(batches, team, "2", lines=10)
    for one in (batch, other):
        assert len(await feed.waiting(one, 99, 1_000_000)) == 10


async def test_a_key_in_use_stores_nothing(batches, database, team):
    await created(batches, team, mark=MARK)
    batch = Batch("batch-2", team.id, "key_1", BatchStatus.RUNNING, 1, 1, START_MS)
    lines = [batches.encoded(team.id, 1, a_line(1))]
    assert not await batches.create(batch, None, lines, MARK)
    assert await batches.get("batch-2") is None


async def test_where_lines_call_back_is_sealed_until_they_are_sent(
    batches, feed, team, database, tasks
):
    spec = CallbackSpec(HOOK, ("completed",))
    batch = await created(batches, team, callback=spec, line_callback=spec)
    stored = str(await database.read("SELECT * FROM batch_lines"))
    stored += str(await database.read("SELECT * FROM batches"))
    assert "hidden" not in stored
    (first, *_) = await feed.waiting(batch, 1, 1)
    assert first.draft.callback == spec
    (team_id,) = await feed.claim("r", 9, LONG_MS)
    assert team_id == team.id
    await ran(tasks, team, batch, 1)
    await feed.mark("r", batch.id, [LineMark(1)])
    rows = await database.read("SELECT draft, callback_url FROM batch_lines WHERE no = 1")
    assert (rows[0]["draft"], rows[0]["callback_url"]) == (b"", None)


async def test_one_runner_feeds_a_team_until_its_lease_is_over(batches, feed, team):
    assert await feed.claim("one", 9, LONG_MS) == []
    batch = await created(batches, team)
    assert await feed.claim("one", 9, 0) == [team.id]
    assert await feed.claim("two", 9, LONG_MS) == [team.id]
    assert await feed.claim("three", 9, LONG_MS) == []
    assert await feed.renew("one", LONG_MS) == set()
    assert await feed.renew("two", LONG_MS) == {team.id}
    assert (await feed.collect("one", team.id))[0] == []
    assert [one.id for one in (await feed.collect("two", team.id))[0]] == [batch.id]
    await feed.release("two", [team.id])
    assert await feed.claim("three", 9, LONG_MS) == [team.id]


async def test_a_runner_without_the_lease_changes_nothing(batches, feed, team, tasks):
    batch = await created(batches, team)
    await feed.claim("one", 9, LONG_MS)
    await ran(tasks, team, batch, 1)
    await feed.mark("other", batch.id, [LineMark(1), LineMark(2, "invalid_value", "bad")])
    await feed.pause("other", batch.id, "insufficient_credits", "no", START_MS)
    assert await feed.end("other", batch, START_MS, str) is None
    assert await batches.get(batch.id) == batch


async def test_what_became_of_lines_adds_up(batches, feed, team, tasks):
    batch = await created(batches, team)
    await feed.claim("r", 9, LONG_MS)
    await ran(tasks, team, batch, 1, 2)
    await accepted(tasks, team.id, task_id=task_id_of(batch.id, 3))
    await feed.mark(
        "r", batch.id, [*map(LineMark, (1, 2, 3)), LineMark(4, "model_not_found", "gone\x00")]
    )
    marked = await batches.get(batch.id)
    assert (marked.running, marked.failed, marked.waiting) == (3, 1, 0)

    (now,), ended = await feed.collect("r", team.id)

    assert ended == {LineState.COMPLETED: 2, LineState.FAILED: 0, LineState.CANCELLED: 0}
    assert (now.running, now.completed, now.failed, now.images) == (1, 2, 1, 2)
    assert now.charged == 2_000_000
    assert await feed.under_way(batch.id) == [3]
    found = await batches.results(batch.id, 0, 9)
    assert [(one.no, one.state.value) for one in found] == [
        (1, "completed"),
        (2, "completed"),
        (4, "failed"),
    ]
    assert found[0].task.id == task_id_of(batch.id, 1)
    assert (found[2].code, found[2].message, found[2].task) == ("model_not_found", "gone�", None)
    assert [one.no for one in await batches.results(batch.id, 2, 9)] == [4]


async def test_a_line_whose_task_exists_was_accepted_whatever_is_said(batches, feed, team, tasks):
    batch = await created(batches, team)
    await feed.claim("r", 9, LONG_MS)
    await accepted(tasks, team.id, task_id=task_id_of(batch.id, 2))
    found = await feed.waiting(batch, 9, 1_000_000)
    assert [line.sent for line in found] == [False, True, False, False]
    await feed.mark("r", batch.id, [LineMark(2, "model_not_found", "gone")])
    await feed.mark("r", batch.id, [LineMark(2, "model_not_found", "gone")])
    now = await batches.get(batch.id)
    assert (now.running, now.failed) == (1, 0)


async def test_a_line_whose_task_was_forgotten_counts_still(batches, feed, team, tasks):
    batch = await created(batches, team)
    await feed.claim("r", 9, LONG_MS)
    await ran(tasks, team, batch, 1)
    assert await tasks.forget(START_MS * 2, 9) == 1
    assert (await feed.waiting(batch, 1, 1))[0].sent
    await feed.mark("r", batch.id, [LineMark(1)])
    (now,), _ = await feed.collect("r", team.id)
    assert now.completed == 1
    (result,) = await batches.results(batch.id, 0, 9)
    assert (result.images, result.charged, result.task) == (1, 1_000_000, None)


async def test_a_cancelled_batch_drops_what_was_not_sent(batches, feed, team, tasks):
    batch = await created(batches, team)
    await feed.claim("r", 9, LONG_MS)
    await accepted(tasks, team.id, task_id=task_id_of(batch.id, 1))
    assert await feed.drop("r", batch.id) == 0
    await batches.cancel(batch.id)
    assert await feed.drop("r", batch.id) == 3
    now = await batches.get(batch.id)
    assert (now.status, now.running, now.cancelled) == (BatchStatus.CANCELLING, 1, 3)
    await batches.resume(batch.id, "key_2")
    assert (await batches.get(batch.id)).status is BatchStatus.CANCELLING


@pytest.mark.parametrize(("url", "told"), [(HOOK, 1), (None, 0)])
async def test_a_pause_is_told_once_and_only_where_the_team_wants_it(
    batches, feed, team, ledger, database, url, told
):
    await ledger.update_team(team.id, {"alert_url": url}, COMMAND_LINE)
    batch = await created(batches, team)
    await feed.claim("r", 9, LONG_MS)
    for runner in ("other", "r", "r"):
        await feed.pause(runner, batch.id, "insufficient_credits", "none left", START_MS)
    rows = await database.read("SELECT team_id, task_id, url, event, body FROM callbacks")
    assert len(rows) == told
    for row in rows:
        assert (row["team_id"], row["task_id"], row["event"]) == (team.id, None, "batch_paused")
        assert HOOK not in row["url"]
        body = json.loads(row["body"])
        assert body["timestamp"].endswith("Z")
        assert body["data"]["message"] == "none left"


async def test_a_paused_batch_says_why_and_goes_on_under_the_key_that_resumes(batches, feed, team):
    batch = await created(batches, team)
    await feed.claim("r", 9, LONG_MS)
    await feed.pause("r", batch.id, "insufficient_credits", "none left", START_MS)
    paused = await batches.get(batch.id)
    assert (paused.status, paused.reason_code) == (BatchStatus.PAUSED, "insufficient_credits")
    assert (await feed.collect("r", team.id))[0] == []
    await feed.release("r", [team.id])
    assert await feed.claim("r", 9, LONG_MS) == []
    await batches.resume(batch.id, "key_2")
    resumed = await batches.get(batch.id)
    assert (resumed.status, resumed.key_id, resumed.reason) == (
        BatchStatus.RUNNING,
        "key_2",
        None,
    )
    assert await feed.claim("r", 9, LONG_MS) == [team.id]


async def test_the_end_and_its_callback_are_written_once_and_together(
    batches, feed, team, tasks, outbox
):
    batch = await created(batches, team, lines=2, callback=CallbackSpec(HOOK))
    await feed.claim("r", 9, LONG_MS)
    assert await feed.end("r", batch, START_MS + 1, str) is None
    await ran(tasks, team, batch, 1, 2)
    await feed.mark("r", batch.id, [LineMark(1), LineMark(2)])
    (over,), _ = await feed.collect("r", team.id)

    ended = await feed.end("r", over, START_MS, lambda one: json.dumps({"id": one.id}))
    again = await feed.end("r", over, START_MS + 2, str)

    assert (ended.status, ended.ended_ms, again) == (BatchStatus.COMPLETED, START_MS, None)
    (callback,) = await outbox.claim(9, LONG_MS)
    assert (callback.url, callback.event) == (HOOK, "batch.completed")
    assert json.loads(callback.body) == {"id": batch.id}
    assert (await feed.collect("r", team.id))[0] == []


async def test_figures_of_what_has_not_ended(batches, feed, team, tasks):
    first = await created(batches, team)
    await created(batches, team, "2")
    await feed.claim("r", 9, LONG_MS)
    await accepted(tasks, team.id, task_id=task_id_of(first.id, 1))
    await feed.mark("r", first.id, [LineMark(1)])
    await feed.pause("r", "batch-2", "not_allowed", "no", START_MS)
    assert await batches.counts() == {
        "batches_running": 1,
        "batches_paused": 1,
        "batch_lines_waiting": 7,
        "batch_lines_running": 1,
    }


async def test_pages_are_newest_first_of_a_team_and_a_status(batches, feed, ledger, team):
    other = await ledger.create_team("press")
    for name in "123":
        await created(batches, team, name)
    await created(batches, other, "4")
    await batches.cancel("batch-2")
    first = await batches.batch_page(2, None, team_id=team.id)
    rest = await batches.batch_page(2, first.cursor, team_id=team.id)
    assert [one.id for one in (*first.items, *rest.items)] == ["batch-3", "batch-2", "batch-1"]
    assert rest.cursor is None
    everyone = await batches.batch_page(9, None, team_id=None, status="running")
    assert [one.id for one in everyone.items] == ["batch-4", "batch-3", "batch-1"]


async def test_old_batches_are_forgotten_with_their_lines(batches, feed, team, tasks, database):
    batch = await created(batches, team, lines=1)
    await created(batches, team, "2", lines=1)
    await feed.claim("r", 9, LONG_MS)
    await ran(tasks, team, batch, 1)
    await feed.mark("r", batch.id, [LineMark(1)])
    (over, _), _ = await feed.collect("r", team.id)
    await feed.end("r", over, START_MS, str)
    assert await batches.forget(START_MS, 9) == 0
    assert await batches.forget(START_MS + 1, 9) == 1
    rows = await database.read("SELECT DISTINCT batch_id FROM batch_lines")
    assert [row["batch_id"] for row in rows] == ["batch-2"]
