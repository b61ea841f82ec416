"""Another master secret: keys and callbacks go on working, and in the end nothing needs the old."""

from __future__ import annotations

import asyncio
import base64

import pytest

from gateway.domain.access import ANYTHING
from gateway.domain.administration import COMMAND_LINE
from gateway.domain.callback import CallbackSpec
from gateway.stores.postgres import rotation as rotation_module
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.outbox import PostgresOutbox, callback_id
from gateway.stores.postgres.rotation import SecretRotation
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.vault import NONCE_BYTES, Vault, WrongSecretKey, open_vault
from tests.stores.postgres.building import CREDIT, accepted, delivered

OLD, NEW = "the first master secret, long enough", "the second master secret, long enough"


async def with_team(database, clock, vault):
    """Make a team and a key; gives the team and the key's text."""
    team = await PostgresLedger(database, clock, vault).create_team("studio")
    _, text = await PostgresKeys(database, clock, vault).create(team.id, rules=ANYTHING)
    return team, text


async def works(database, clock, vault, team, text) -> bool:
    """Whether the key is known and the team's webhook secret opens to what it was."""
    principal = await PostgresKeys(database, clock, vault).principal(text)
    found = await PostgresLedger(database, clock, vault).team(team.id)
    return principal is not None and found.webhook_secret == team.webhook_secret


@pytest.mark.parametrize("first", [OLD, None])
async def test_after_a_rotation_the_new_key_alone_is_enough(database, clock, first):
    team, text = await with_team(database, clock, await open_vault(database, first))
    both = await open_vault(database, NEW, [OLD])
    assert await works(database, clock, both, team, text)
    rotation = SecretRotation(database, clock, both)
    assert await rotation.pending() == 1

    done = await rotation.rotate(COMMAND_LINE)

    assert (done.resealed, done.unopenable, await rotation.pending()) == (1, (), 0)
    assert await works(database, clock, await open_vault(database, NEW), team, text)
    for other in (OLD, None):
        with pytest.raises(WrongSecretKey):
            await open_vault(database, other)
    kept = {row["key"] for row in await database.read("SELECT key FROM meta")}
    assert "master_secret" not in kept
    (entry,) = (await rotation._changes.log(1)).items
    assert (entry.action, entry.after) == ("secrets.rotate", {"resealed": 1, "unopenable": 0})


async def test_a_run_that_broke_off_is_run_again(database, clock, monkeypatch):
    monkeypatch.setattr(rotation_module, "BATCH", 3)
    old = await open_vault(database, OLD)
    ledger = PostgresLedger(database, clock, old)
    teams = [await ledger.create_team(f"team {no}") for no in range(10)]
    both = await open_vault(database, NEW, [OLD])
    rotation = SecretRotation(database, clock, both)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rotation.rotate(COMMAND_LINE, stop)
    assert await rotation.pending() == 7
    batches: list[int] = []
    assert (await rotation.rotate(COMMAND_LINE, batches.append)).resealed == 7
    assert batches == [3, 3, 1]
    new = PostgresLedger(database, clock, await open_vault(database, NEW))
    assert [await new.team(team.id) for team in teams] == teams


async def test_addresses_are_sealed_anew_wherever_they_stand(database, clock, monkeypatch):
    monkeypatch.setattr(rotation_module, "WINDOW", 2)
    url = "https://example.com/hook?token=t"
    old = await open_vault(database, OLD)
    team, _ = await with_team(database, clock, old)
    ledger, tasks = PostgresLedger(database, clock, old), PostgresTasks(database, old)
    await ledger.grant(team.id, 10 * CREDIT, None)
    await ledger.update_team(team.id, {"alert_url": url}, COMMAND_LINE)
    started = [await accepted(tasks, team.id, callback=CallbackSpec(url)) for _ in range(7)]
    for task in started[:5]:
        await tasks.settle(delivered(task, at_ms=clock.ms))
    plain = "UPDATE callbacks SET url = $2 WHERE id = $1"
    await database.write(plain, callback_id(started[0].id), url)
    both = await open_vault(database, NEW, [OLD])
    rotation = SecretRotation(database, clock, both)
    of_all = 1 + 1 + 2 + 5  # signing secret, alert_url, running tasks, callbacks
    assert await rotation.pending() == of_all

    done = await rotation.rotate(COMMAND_LINE)

    assert (done.resealed, done.unopenable, await rotation.pending()) == (of_all, (), 0)
    new = await open_vault(database, NEW)
    tasks, outbox = PostgresTasks(database, new), PostgresOutbox(database, clock, new)
    for task in started[5:]:
        await tasks.settle(delivered(task, at_ms=clock.ms))
    assert [callback.url for callback in await outbox.claim(9, 60_000)] == [url] * 7
    found = await PostgresLedger(database, clock, new).team(team.id)
    assert found.budget.alert_url == url


async def test_what_cannot_be_opened_is_named_and_keeps_its_master(database, clock):
    made = await open_vault(database, None)
    team, _ = await with_team(database, clock, made)
    broken = "UPDATE webhook_secrets SET sealed = $2 WHERE team_id = $1"
    await database.write(broken, team.id, Vault("a third secret nobody knows").seal("x", team.id))
    rotation = SecretRotation(database, clock, await open_vault(database, NEW))

    done = await rotation.rotate(COMMAND_LINE)

    ((name,), (row,)) = done.unopenable, await database.read("SELECT id FROM webhook_secrets")
    assert name == f"webhook_secrets {row['id']}"
    ledger = PostgresLedger(database, clock, await open_vault(database, NEW))
    assert (await ledger.team(team.id)).webhook_secret == ""
    secret = await ledger.rotate_webhook_secret(team.id, 0)
    assert (await ledger.team_named("studio")).webhook_secret == secret
    kept = {row["key"] for row in await database.read("SELECT key FROM meta")}
    assert "master_secret" in kept


async def test_values_sealed_before_there_were_marks_still_open_and_rotate(database, clock):
    old = await open_vault(database, OLD)
    team, text = await with_team(database, clock, old)
    unmarked = old._ring[0].seal(team.webhook_secret, team.id).removeprefix(old.mark)
    await database.write("UPDATE webhook_secrets SET sealed = $1", unmarked)
    await database.write("DELETE FROM meta WHERE key = 'key_pepper'")
    assert await works(database, clock, await open_vault(database, OLD), team, text)
    both = await open_vault(database, NEW, [OLD])
    assert (await SecretRotation(database, clock, both).rotate(COMMAND_LINE)).resealed == 1
    assert await works(database, clock, await open_vault(database, NEW), team, text)


async def test_processes_with_both_keys_work_on_during_a_rotation(database, clock):
    team, text = await with_team(database, clock, await open_vault(database, OLD))
    before = await open_vault(database, OLD, [NEW])
    after = await open_vault(database, NEW, [OLD])
    rotating = asyncio.create_task(SecretRotation(database, clock, after).rotate(COMMAND_LINE))
    assert await works(database, clock, before, team, text)
    await rotating
    for vault in (before, after):
        assert await works(database, clock, vault, team, text)
    assert await works(database, clock, await open_vault(database, OLD, [NEW]), team, text)


def test_nothing_of_a_master_or_a_secret_is_in_what_is_stored():
    sealed = Vault(NEW).seal("whsec_abc", "team_1")
    assert len(sealed) == 8 + NONCE_BYTES + len("whsec_abc") + 16
    pepper = base64.b64decode(Vault(NEW).sealed_pepper())
    for stored in (sealed, pepper):
        assert b"whsec" not in stored
        assert NEW.encode() not in stored
