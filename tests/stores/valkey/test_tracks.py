"""What one process learnt of an upstream, all know a second later."""

from __future__ import annotations

from gateway.domain.performance import Outcome
from gateway.stores.valkey import keys
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.tracks import ValkeyTracks
from tests.stores.valkey.helpers import NOW_MS

KEY = ("beijing", "wan2.7-image")


async def fresh(tracks: ValkeyTracks):
    tracks._fresh_until_s = 0.0
    return await tracks.tracks()


async def test_what_was_noted_counts_here_at_once_and_elsewhere_after_the_next_look(server):
    here, there = ValkeyTracks(server), ValkeyTracks(server)
    assert await here.tracks() == {} == await there.tracks()
    here.note(*KEY, Outcome(NOW_MS, 8_000))
    assert (await here.tracks())[KEY].latency_ms == 8_000
    assert KEY not in await there.tracks()
    await fresh(here)
    assert (await fresh(there))[KEY] == (await here.tracks())[KEY]


async def test_two_that_learn_at_once_both_count(server):
    here, there = ValkeyTracks(server), ValkeyTracks(server)
    for _ in range(3):
        here.note(*KEY, Outcome(NOW_MS, 8_000))
        there.note(*KEY, Outcome(NOW_MS))
    await fresh(here)
    await fresh(there)
    assert (await fresh(here))[KEY].tries == 6
    assert (await fresh(here))[KEY].good == 3
    assert await fresh(here) == await fresh(there)


async def test_without_valkey_a_process_goes_by_what_it_saw_and_tells_it_later(server):
    tracks = ValkeyTracks(server)
    server._away_until = float("inf")
    tracks.note(*KEY, Outcome(NOW_MS, 8_000))
    assert (await fresh(tracks))[KEY].tries == 1
    server._away_until = 0.0
    await fresh(tracks)
    assert (await fresh(ValkeyTracks(server)))[KEY].tries == 1


async def test_a_record_that_cannot_be_read_is_a_newcomers(server):
    await server.execute("HSET", keys.TRACKS, "\n".join(KEY), "not json")
    tracks = ValkeyTracks(server)
    assert (await tracks.tracks())[KEY].tries == 0
    tracks.note(*KEY, Outcome(NOW_MS, 8_000))
    await fresh(tracks)
    assert (await fresh(ValkeyTracks(server)))[KEY].tries == 1


async def test_a_flush_loses_nothing_that_is_noted_after_it(server: Valkey):
    tracks = ValkeyTracks(server)
    tracks.note(*KEY, Outcome(NOW_MS, 8_000))
    await fresh(tracks)
    await server.execute("DEL", keys.TRACKS)
    tracks.note(*KEY, Outcome(NOW_MS, 9_000))
    await fresh(tracks)
    assert (await fresh(ValkeyTracks(server)))[KEY].tries == 1
