"""A team's data on request: exported whole, erased but for the books, by API and by command."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from gateway.app.team_data import EraseTeam
from gateway.cli import app
from gateway.domain.administration import COMMAND_LINE
from gateway.domain.errors import StoreUnavailable
from gateway.domain.statement import month_named
from gateway.stores.postgres.assets import PostgresAssets
from gateway.stores.valkey import keys
from tests.stores.postgres.building import PROMPT, accepted, delivered
from tests.support.stack import MODEL, Stack, Team, running_stack

ADMIN = {"authorization": "Bearer the-admin-key"}


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path,
        database_url,
        redis_url,
        admin_key="the-admin-key",
        asset_store=f"file:{tmp_path / 'assets'}",
    ) as running:
        yield running


@pytest.fixture
def command(
    database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    monkeypatch.setenv("GATEWAY_REDIS_URL", redis_url)
    monkeypatch.setenv("GATEWAY_ASSET_STORE", f"file:{tmp_path / 'assets'}")

    async def call(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, list(words))

    return call


async def picture(stack: Stack, team: Team, prompt: str = "a secret kite") -> dict[str, Any]:
    made = (await stack.post(team, {"model": MODEL, "prompt": prompt})).json()
    return await stack.ended(team, made["id"])


async def erase(stack: Stack, team: Team, body: object) -> httpx.Response:
    path = f"/admin/v1/teams/{team.id}/erase"
    return await stack.client.post(path, json=body, headers=ADMIN)


async def export(stack: Stack, team_id: str) -> httpx.Response:
    return await stack.client.get(f"/admin/v1/teams/{team_id}/export", headers=ADMIN)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in text.splitlines()]


async def test_an_export_tells_everything_but_secrets(stack: Stack) -> None:
    team, other = await stack.team(), await stack.team()
    task = await picture(stack, team)
    await picture(stack, other, "another team's kite")

    answer = await export(stack, team.id)

    assert answer.headers["content-type"].startswith("application/x-ndjson")
    found = lines(answer.text)
    kinds = [one["object"] for one in found]
    assert kinds[:2] == ["team", "key"]
    assert set(kinds) == {"team", "key", "task", "attempt", "usage", "transfer", "audit", "end"}
    assert found[-1] == {"object": "end", "lines": len(found) - 1}
    (told,) = [one for one in found if one["object"] == "task"]
    assert (told["id"], told["request"]["prompt"]) == (task["id"], "a secret kite")
    for secret in (team.secret, team.key, "another team's kite"):
        assert secret not in answer.text


async def test_an_unknown_team_has_no_export(stack: Stack) -> None:
    answer = await export(stack, "team_nobody")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_erasing_leaves_nothing_but_the_books(stack: Stack) -> None:
    team, other = await stack.team(), await stack.team()
    task, others = await picture(stack, team), await picture(stack, other)
    now = datetime.now(UTC)
    month = month_named(f"{now:%Y-%m}", int(now.timestamp() * 1000))
    statement = await stack.gateway.ledger.statement(team.id, month)
    assert (await stack.client.get(task["results"][0])).status_code == 200

    answer = await erase(stack, team, {"name": team.name})

    assert answer.json() == {"id": team.id, "tasks_erased": 1, "pictures_deleted": 1}
    assert (await stack.client.get(task["results"][0])).status_code == 404
    assert (await stack.client.get(others["results"][0])).status_code == 200
    assert (await stack.get(team, f"/v1/tasks/{task['id']}")).status_code == 401
    assert await stack.gateway.valkey.execute("EXISTS", keys.task(task["id"])) == 0
    left = (await export(stack, team.id)).text
    assert "a secret kite" not in left
    assert f'"{team.name}"' not in left
    after = await stack.gateway.ledger.statement(team.id, month)
    assert after == replace(statement, team_name=f"erased {team.id}")
    await stack.assert_ledger_is_clean()
    again = await erase(stack, team, {"name": team.name})
    assert again.json() == {"id": team.id, "tasks_erased": 0, "pictures_deleted": 0}
    one = f"/admin/v1/teams/{team.id}"
    for revived in (
        await stack.client.post(f"{one}/resume", headers=ADMIN),
        await stack.client.patch(one, json={"name": "new"}, headers=ADMIN),
    ):
        assert (revived.status_code, "was erased" in revived.text) == (409, True)
    assert (await stack.get(other, f"/v1/tasks/{others['id']}")).json()["status"] == "completed"


class _AwayAssets(PostgresAssets):
    async def delete(self, asset_ids: Sequence[str]) -> int:
        raise StoreUnavailable("The asset store is away.")


async def test_an_erasure_that_broke_off_is_run_again_and_finds_the_pictures(stack: Stack) -> None:
    team = await stack.team()
    task = await picture(stack, team)
    gateway = stack.gateway
    away = _AwayAssets(gateway.database, gateway.core.clock)
    with pytest.raises(StoreUnavailable):
        await EraseTeam(gateway.core.admin.erase.store, away, gateway.live.forget).run(
            team.id, team.name, COMMAND_LINE
        )

    answer = await erase(stack, team, {"name": team.name})

    assert answer.json() == {"id": team.id, "tasks_erased": 1, "pictures_deleted": 1}
    assert (await stack.client.get(task["results"][0])).status_code == 404


async def test_erasing_waits_for_nobody(stack: Stack) -> None:
    await stack.stop_workers()
    team = await stack.team()
    await stack.post(team, {"model": MODEL, "prompt": "under way"})

    answer = await erase(stack, team, {"name": team.name})

    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "in_use")
    assert "under way" in answer.json()["error"]["message"]
    assert (await stack.get(team, "/v1/credits")).status_code == 200


async def test_a_task_accepted_in_the_last_moment_is_named_and_erased_later(stack: Stack) -> None:
    await stack.stop_workers()
    team = await stack.team()
    await stack.gateway.core.admin.erase.store.close(team.id, team.name, COMMAND_LINE)
    # By a process that does not know of the key's end yet.
    late = await accepted(stack.gateway.tasks, team.id)

    refused = await erase(stack, team, {"name": team.name})
    await stack.gateway.tasks.settle(delivered(await stack.task(late.id)))
    erased = await erase(stack, team, {"name": team.name})

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "in_use")
    assert erased.json()["tasks_erased"] == 1
    assert PROMPT not in (await export(stack, team.id)).text


async def test_batches_are_exported_and_erased_too(stack: Stack) -> None:
    team = await stack.team(credits="1.5")
    file = "\n".join(json.dumps({"model": MODEL, "prompt": f"a secret kite {n}"}) for n in "12")
    hook = "https://hooks.example.com/a-secret-hook"
    await stack.stop_workers()
    path = f"/v1/batches?name=spring&concurrency=1&callback_url={hook}"
    made = await stack.client.post(path, content=file, headers=team.headers)
    batch_id = made.json()["id"]
    refused = await erase(stack, team, {"name": team.name})
    assert (refused.status_code, "batches are under way" in refused.text) == (409, True)
    await stack.start_worker()
    async with asyncio.timeout(20):
        while (await stack.get(team, f"/v1/batches/{batch_id}")).json()["status"] != "paused":
            await asyncio.sleep(0.05)

    told = lines((await export(stack, team.id)).text)
    found = [one for one in told if one["object"].startswith("batch")]

    assert [one["object"] for one in found] == ["batch", "batch_line", "batch_line"]
    assert (found[0]["callback_url"], found[0]["credits_charged"]) == (hook, "1.5")
    assert [one["state"] for one in found[1:]] == ["completed", "waiting"]
    assert (found[1]["request"], found[2]["request"]["prompt"]) == (None, "a secret kite 2")
    assert (await erase(stack, team, {"name": team.name})).status_code == 200
    left = (await export(stack, team.id)).text
    assert "a secret kite" not in left
    assert batch_id not in left.replace(f"task-{batch_id}", "")


async def test_operators_list_and_show_batches(stack: Stack) -> None:
    team, other = await stack.team(), await stack.team()
    line = json.dumps({"model": MODEL, "prompt": "a kite"})
    ids = [
        (await stack.client.post("/v1/batches", content=line, headers=one.headers)).json()["id"]
        for one in (team, other)
    ]
    listed = await stack.client.get("/admin/v1/batches", headers=ADMIN)
    of_team = await stack.client.get(f"/admin/v1/batches?team_id={team.id}", headers=ADMIN)
    one = await stack.client.get(f"/admin/v1/batches/{ids[0]}", headers=ADMIN)
    none = await stack.client.get("/admin/v1/batches/batch-x", headers=ADMIN)

    assert [batch["id"] for batch in listed.json()["data"]] == ids[::-1]
    assert [batch["id"] for batch in of_team.json()["data"]] == ids[:1]
    assert (one.json()["team_id"], one.json()["lines"]["total"]) == (team.id, 1)
    assert none.status_code == 404


@pytest.mark.parametrize(
    ("body", "legal"),
    [({}, "it must be sent"), ({"name": "team-2"}, "team-1"), ({"nam": "team-1"}, "name")],
)
async def test_a_wrong_confirmation_is_named(stack: Stack, body: object, legal: str) -> None:
    answer = await erase(stack, await stack.team(), body)
    assert answer.status_code == 400
    assert legal in answer.json()["error"]["message"]


async def test_the_commands_do_the_same(stack: Stack, command: Any, tmp_path: Path) -> None:
    team = await stack.team()
    task = await picture(stack, team)

    printed = await command("team", "export", team.name)
    to_folder = await command("team", "export", team.id, "--output", str(tmp_path), "--json")
    to_file = await command("team", "export", team.name, "--output", str(tmp_path / "one.ndjson"))

    path = tmp_path / f"{team.id}.ndjson"
    assert json.loads(to_folder.stdout)["file"] == str(path)
    assert to_file.exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == printed.stdout == (tmp_path / "one.ndjson").read_text()
    assert lines(printed.stdout)[-1]["object"] == "end"
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("*.part")))

    refused = await command("team", "erase", team.name)
    wrong = await command("team", "erase", team.name, "--confirm", "another")
    done = await command("team", "erase", team.name, "--confirm", team.name, "--json")

    assert (refused.exit_code, "--confirm" in refused.stderr) == (1, True)
    assert (wrong.exit_code, team.name in wrong.stderr) == (1, True)
    assert json.loads(done.stdout)["tasks_erased"] == 1
    assert (await stack.client.get(task["results"][0])).status_code == 404
    again = await command("team", "erase", team.id, "--confirm", team.name, "--json")
    assert json.loads(again.stdout)["tasks_erased"] == 0


async def test_an_export_that_cannot_be_written_says_why(
    stack: Stack, command: Any, tmp_path: Path
) -> None:
    team = await stack.team()
    failed = await command("team", "export", team.name, "--output", str(tmp_path / "no" / "x"))
    unknown = await command("team", "export", "nobody")
    assert (failed.exit_code, "--output" in failed.stderr) == (1, True)
    assert (unknown.exit_code, "no team" in unknown.stderr) == (1, True)
