"""Circuit breakers shared through Valkey: the pure `domain/health.py` under compare-and-set.

Each process keeps a copy, works on it alone while Valkey is away, and shares it again after.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import dataclass, replace

import msgspec

from gateway.domain.errors import Unavailable
from gateway.domain.health import (
    WHOLE_UPSTREAM,
    Circuit,
    CircuitState,
    Signal,
    SignalKind,
    observe,
)
from gateway.stores.valkey import keys, scripts
from gateway.stores.valkey.connection import Valkey

SWAP = scripts.load("swap")
FRESH_S = 0.5
SWAP_TRIES_MAX = 50
TRIAL = Signal(SignalKind.TRIAL)

Key = tuple[str, str]
Change = Callable[[Circuit], Circuit]

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Circuit)


@dataclass(frozen=True, slots=True)
class _Known:
    """A circuit as this process knows it; ``raw`` is what Valkey held for it (empty: nothing)."""

    raw: bytes
    circuit: Circuit


_UNKNOWN = _Known(b"", Circuit())


class ValkeyHealthBoard:
    """HealthBoard in Valkey. No method raises: without Valkey it judges by what it saw itself."""

    def __init__(self, valkey: Valkey) -> None:
        """Take the connection."""
        self._valkey = valkey
        self._known: dict[Key, _Known] = {}
        self._unshared: set[Key] = set()
        self._signals: defaultdict[Key, list[tuple[Signal, int]]] = defaultdict(list)
        self._turns: defaultdict[Key, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._writing: dict[Key, asyncio.Task[None]] = {}
        self._refreshing = asyncio.Lock()
        self._fresh_until_s = 0.0

    async def circuits(self) -> Mapping[Key, Circuit]:
        """Give all circuits that are not plainly closed; others' news may be 0.5 s old."""
        if time.monotonic() >= self._fresh_until_s:
            async with self._refreshing:
                if time.monotonic() >= self._fresh_until_s:
                    await self._refresh()
                    self._fresh_until_s = time.monotonic() + FRESH_S
        return {
            key: known.circuit
            for key, known in self._known.items()
            if known.circuit.is_benched or known.circuit.throttled_until_ms
        }

    async def observe(self, upstream: str, model: str, signal: Signal, at_ms: int) -> None:
        """Fold one outcome into the circuit; concurrent outcomes are written together.

        A success of a circuit that is in no doubt is written soon, and not waited for: somebody may
        be waiting for what succeeded. One also speaks for the whole upstream, if that is benched.
        """
        key, whole = (upstream, model), (upstream, WHOLE_UPSTREAM)
        self._signals[key].append((signal, at_ms))
        if signal.kind is not SignalKind.GOOD or self._doubted(key):
            await self._fold(key)
        elif key not in self._writing:
            # A context of its own: it belongs to none of the visits.
            run = asyncio.get_running_loop().create_task(self._write(key), context=Context())
            self._writing[key] = run
        if signal.kind is SignalKind.GOOD and key != whole and self._doubted(whole):
            self._signals[whole].append((signal, at_ms))
            await self._fold(whole)

    async def claim_trial(self, upstream: str, model: str, at_ms: int) -> bool:
        """Take the one trial that a half-open circuit admits, among all processes.

        True also when none is needed; False when another task is the trial.
        """
        for key in ((upstream, model), (upstream, WHOLE_UPSTREAM)):
            known = self._known.get(key)
            if known is None or known.circuit.state(at_ms) is not CircuitState.HALF_OPEN:
                # Nothing to claim, so no turn to wait for: under load there is a line for it.
                continue
            async with self._turns[key]:
                if not await self._claim(key, at_ms):
                    return False
        return True

    async def reset(self, upstream: str) -> None:
        """Close every circuit of an upstream: an operator says that it is well."""
        self._fresh_until_s = 0.0
        await self.circuits()
        for key in [key for key in self._known if key[0] == upstream]:
            async with self._turns[key]:
                await self._swap(key, lambda _: Circuit())

    # --- compare and set -----------------------------------------------------------------

    def _doubted(self, key: Key) -> bool:
        return self._known.get(key, _UNKNOWN).circuit.is_benched

    async def _write(self, key: Key) -> None:
        try:
            while key in self._signals:
                await self._fold(key)
        finally:
            del self._writing[key]

    async def _fold(self, key: Key) -> None:
        async with self._turns[key]:
            if signals := self._signals.pop(key, None):
                await self._swap(key, lambda circuit: _folded(circuit, signals))

    async def _claim(self, key: Key, at_ms: int) -> bool:
        """Claim the trial of one circuit, whose turn the caller holds."""
        admitted = True

        def claimed(circuit: Circuit) -> Circuit:
            nonlocal admitted
            half_open = circuit.state(at_ms) is CircuitState.HALF_OPEN
            admitted = not half_open or circuit.admits(at_ms)
            return observe(circuit, TRIAL, at_ms)

        await self._swap(key, claimed)
        return admitted

    async def _swap(self, key: Key, change: Change) -> None:
        """Apply a change to the shared circuit, or to our copy alone while Valkey is away.

        The change is applied again when another process was faster.
        """
        known = self._known.get(key, _UNKNOWN)
        for _ in range(SWAP_TRIES_MAX):
            circuit = change(known.circuit)
            if circuit == known.circuit and key not in self._unshared:
                self._known[key] = known
                return
            raw = _encoder.encode(circuit)
            try:
                names = [keys.CIRCUITS]
                there = await self._valkey.run(SWAP, names, "\n".join(key), known.raw, raw)
            except Unavailable:
                break
            if there is None:
                self._known[key] = _Known(raw, circuit)
                self._unshared.discard(key)
                return
            known = self._met(key, known, there)
        self._known[key] = _Known(known.raw, change(known.circuit))
        self._unshared.add(key)

    def _met(self, key: Key, known: _Known, there: bytes) -> _Known:
        """Give what to go on from when Valkey holds something else than we knew."""
        if not there:
            # A flush says nothing about health.
            return _Known(b"", known.circuit)
        theirs = _decoded(there)
        if key in self._unshared:
            return _Known(there, _longer_rest(known.circuit, theirs))
        return _Known(there, theirs)

    # --- reading -------------------------------------------------------------------------

    async def _refresh(self) -> None:
        before = dict(self._known)
        try:
            flat = await self._valkey.execute("HGETALL", keys.CIRCUITS)
        except Unavailable:
            return
        shared = {_key(field): raw for field, raw in zip(flat[::2], flat[1::2], strict=True)}
        for key, raw in shared.items():
            known = self._known.get(key)
            # What changed here while we were reading is newer than what was read.
            newer_here = known is not before.get(key) or key in self._unshared
            if not newer_here and (known is None or known.raw != raw):
                self._known[key] = _Known(raw, _decoded(raw))
        self._unshared |= {key for key, known in before.items() if known.raw and key not in shared}
        for key in list(self._unshared):
            async with self._turns[key]:
                await self._swap(key, lambda circuit: circuit)


def _folded(circuit: Circuit, signals: list[tuple[Signal, int]]) -> Circuit:
    for signal, at_ms in signals:
        circuit = observe(circuit, signal, at_ms)
    return circuit


def _longer_rest(ours: Circuit, theirs: Circuit) -> Circuit:
    """Merge two histories of one circuit: the later end of each pause wins."""
    chosen = ours if ours.open_until_ms > theirs.open_until_ms else theirs
    until_ms = max(ours.throttled_until_ms, theirs.throttled_until_ms)
    return replace(chosen, throttled_until_ms=until_ms)


def _key(field: bytes) -> Key:
    upstream, _, model = field.decode().partition("\n")
    return upstream, model


def _decoded(raw: bytes) -> Circuit:
    """Give the circuit of a field; a closed one when another version wrote what we cannot read."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, ValueError):
        return Circuit()
