"""Names in Valkey. All begin with ``igw:`` so that a shared server shows whose they are."""

from __future__ import annotations

TASK_PREFIX = "igw:t:"
"""Hash per task: ``doc`` (MessagePack), ``fence``, ``lease``, ``until`` (ms), ``end``; until the
first visit saves also ``request`` (MessagePack), if somebody waits for the task."""
DUE = "igw:due"
"""Sorted set of task ids by the time (ms) of the next visit, or of the end of a lease."""
EPOCH = "igw:epoch"
"""There while the index is complete; gone after a flush."""
REBUILD = "igw:rebuild"
"""Names the rebuild under way; a flush during it removes the name too."""
CHANGES = "igw:changes"
"""Channel of who waits for tasks. ``e``, id, line feed, doc: ended; ``c``, id: changed visibly."""
DUES = "igw:dues"
"""Channel of workers: a message says that something became due."""
CIRCUITS = "igw:circuits"
"""Hash of circuits, field ``upstream\\nmodel``, value JSON."""
TRACKS = "igw:tracks"
"""Hash of how upstreams did lately, field ``upstream\\nmodel``, value JSON."""
RELOADS = "igw:reloads"
"""What marks the latest wish that every process reads its configuration again."""
PEERS = "igw:peers"
"""Sorted set of gateway processes by when (ms) they last took from a budget."""

LIMIT_PEERS = "igw:limit:peers"
"""Sorted set of gateway processes by when (ms) they last took from a limit of a key."""


def task(task_id: str) -> str:
    """Give the key of a task's hash."""
    return TASK_PREFIX + task_id


def grants(upstream: str, plane: str) -> str:
    """Give the key of the list of an upstream's latest grants (µs); plane submit or query."""
    return f"igw:grants:{plane}:{upstream}"


def limit(key_id: str, name: str) -> str:
    """Give the key of the hash of what was used of a limit of API keys, by slot."""
    return f"igw:limit:{name}:{key_id}"


def slots(upstream: str) -> str:
    """Give the key of the sorted set of attempts in flight by when (ms) their slot expires."""
    return f"igw:slots:{upstream}"


def spent(day: int) -> str:
    """Give the key of the hash of what each upstream's jobs of a day (since 1970) cost."""
    return f"igw:spent:{day}"


def polls(upstream: str) -> str:
    """Give the key of the sorted set of tasks that wait for a query, by when they may be done."""
    return f"igw:polls:{upstream}"


def poll_turns(upstream: str) -> str:
    """Give the key of the sorted set of the same tasks by when (ms) they are expected back."""
    return f"igw:polls:back:{upstream}"
