"""How each (upstream, model) did lately, shared through Valkey (port `Tracks`).

Outcomes are folded in once a second at most: what a process noted meanwhile is written together,
under compare-and-set. Without Valkey each process goes by what it saw itself.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping

import msgspec

from gateway.domain.errors import Unavailable
from gateway.domain.performance import Outcome, Track, observe
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.connection import Valkey

SWAP = scripts.load("swap")
FRESH_S = 1.0
SWAP_TRIES_MAX = 20
# More than any process learns in the second between two writes; what is beyond is not waited for.
PENDING_MAX = 10_000

Key = tuple[str, str]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Track)


class ValkeyTracks:
    """Tracks in Valkey. No method raises."""

    def __init__(self, valkey: Valkey) -> None:
        """Take the connection."""
        self._valkey = valkey
        self._raw: dict[Key, bytes] = {}
        self._tracks: dict[Key, Track] = {}
        self._pending: defaultdict[Key, list[Outcome]] = defaultdict(list)
        self._turn = asyncio.Lock()
        self._fresh_until_s = 0.0

    def note(self, upstream: str, model: str, outcome: Outcome) -> None:
        """Note what became of one job; it counts here at once."""
        key = (upstream, model)
        self._tracks[key] = observe(self._tracks.get(key, Track()), outcome)
        if len(self._pending[key]) < PENDING_MAX:
            self._pending[key].append(outcome)

    async def tracks(self) -> Mapping[Key, Track]:
        """Give the records known; others' news may be a second old."""
        if time.monotonic() >= self._fresh_until_s and not self._turn.locked():
            async with self._turn:
                self._fresh_until_s = time.monotonic() + FRESH_S
                try:
                    await self._share()
                except Unavailable:
                    return self._tracks
        return self._tracks

    async def _share(self) -> None:
        """Write what was noted, and read what others wrote. Raises IndexUnavailable."""
        for key in list(self._pending):
            outcomes = self._pending[key]
            await self._write(key, list(outcomes))
        flat = await self._valkey.execute("HGETALL", keys.TRACKS)
        for field, raw in zip(flat[::2], flat[1::2], strict=True):
            upstream, _, model = field.decode().partition("\n")
            key = (upstream, model)
            if self._raw.get(key) != raw:
                self._raw[key] = raw
                self._tracks[key] = _folded(_decoded(raw), self._pending.get(key, []))

    async def _write(self, key: Key, outcomes: list[Outcome]) -> None:
        for _ in range(SWAP_TRIES_MAX):
            known = self._raw.get(key, b"")
            track = _folded(_decoded(known), outcomes)
            raw = _encoder.encode(track)
            there = await self._valkey.run(SWAP, [keys.TRACKS], "\n".join(key), known, raw)
            if there is None:
                self._raw[key] = raw
                break
            self._raw[key] = there
        left = self._pending[key][len(outcomes) :]
        if left:
            self._pending[key] = left
        else:
            del self._pending[key]
        self._tracks[key] = _folded(_decoded(self._raw.get(key, b"")), left)


def _folded(track: Track, outcomes: list[Outcome]) -> Track:
    for outcome in outcomes:
        track = observe(track, outcome)
    return track


def _decoded(raw: bytes) -> Track:
    """Give the record of a field; a newcomer's when another version wrote what we cannot read."""
    try:
        return _decoder.decode(raw) if raw else Track()
    except (msgspec.DecodeError, ValueError):
        return Track()
