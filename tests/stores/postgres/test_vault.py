from __future__ import annotations

import asyncio

import pytest

from gateway.stores.postgres.vault import Vault, WrongSecretKey, open_vault

SECRET = "an operator's secret of forty characters or so"


def test_a_sealed_secret_opens_for_its_owner_only():
    vault = Vault(SECRET)
    sealed = vault.seal("whsec_abc", "team_1")
    assert vault.open(sealed, "team_1") == "whsec_abc"
    assert b"whsec_abc" not in sealed
    assert sealed != vault.seal("whsec_abc", "team_1")
    with pytest.raises(WrongSecretKey):
        vault.open(sealed, "team_2")
    with pytest.raises(WrongSecretKey):
        Vault("another").open(sealed, "team_1")


async def test_without_a_key_a_master_is_made_once_and_kept(database):
    vaults = await asyncio.gather(*(open_vault(database, None) for _ in range(4)))
    again = await open_vault(database, None)
    assert {vault.fingerprint for vault in vaults} == {again.fingerprint}


async def test_with_a_key_nothing_that_opens_anything_is_kept(database):
    await open_vault(database, SECRET)
    kept = [row["key"] for row in await database.read("SELECT key FROM meta")]
    assert sorted(kept) == ["key_pepper", "master_fingerprint"]
    assert (await open_vault(database, SECRET)).hash("x") == Vault(SECRET).hash("x")


@pytest.mark.parametrize(("first", "then"), [(SECRET, "another key" * 4), (SECRET, None)])
async def test_a_changed_key_is_noticed_before_it_locks_everybody_out(database, first, then):
    await open_vault(database, first)
    with pytest.raises(WrongSecretKey):
        await open_vault(database, then)
