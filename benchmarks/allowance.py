"""Processes that may use so much of a core and no more: what more cores would give, on few.

Control groups of the kernel, of either version; only their owner, mostly root, may make them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.subjects import Missing

PERIOD_US = 10_000
ROOT = Path("/sys/fs/cgroup")

Confine = Callable[[int], None]


@contextmanager
def allowance(percent: float, root: Path = ROOT) -> Iterator[Confine]:
    """Give what confines a process, by its id, to ``percent`` of one core.

    Raises Missing where no group can be made. Every process that was confined must have ended
    when the block does.
    """
    made: list[Path] = []
    parent = _parent(root)

    def confine(pid: int) -> None:
        group = parent / f"gateway-bench-{pid}"
        try:
            group.mkdir()
            made.append(group)
            _limit(group, round(percent * PERIOD_US / 100))
            (group / "cgroup.procs").write_text(str(pid))
        except OSError as error:
            raise Missing(f"no share of a core can be set here: {error}") from error

    try:
        yield confine
    finally:
        for group in made:
            group.rmdir()


def _parent(root: Path) -> Path:
    """Give the folder in which groups with a limit can be made."""
    unified = root / "cgroup.subtree_control"
    if unified.exists() and "cpu" in unified.read_text().split():
        return root
    return root / "cpu"


def _limit(group: Path, quota_us: int) -> None:
    old = group / "cpu.cfs_quota_us"
    if old.exists():
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        old.write_text(str(quota_us))
    else:
        (group / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
