"""Break each promise by hand and see the test that notices: ``make prove``.

Works on a copy of the checkout. A break that no test notices is printed and ends in exit code 1.
Give words to prove only the breaks whose promise has one of them: ``make prove ARGS="fence"``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.broken.breaks import BREAKS, Break

ROOT = Path(__file__).resolve().parents[2]
FAILED, PASSED = 1, 0


def main(words: Sequence[str]) -> int:
    """Prove the breaks that were asked for; give the exit code."""
    chosen = [one for one in BREAKS if not words or any(word in one.promise for word in words)]
    with tempfile.TemporaryDirectory(prefix="broken-") as folder:
        copy = Path(folder) / "checkout"
        _copy(copy)
        unnoticed = [one for one in chosen if not _is_noticed(one, copy)]
    print(f"{len(chosen) - len(unnoticed)} of {len(chosen)} breaks were noticed.")
    return 1 if unnoticed or not chosen else 0


def _copy(target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target / name)


def _is_noticed(one: Break, copy: Path) -> bool:
    began = time.monotonic()
    sound = _test(one, copy)
    with broken(one, copy):
        hurt = _test(one, copy)
    noticed = (sound.returncode, hurt.returncode) == (PASSED, FAILED)
    print(f"{'noticed' if noticed else 'NOT NOTICED':12} {one.promise}")
    failures = [line for line in hurt.stdout.splitlines() if line.startswith("FAILED ")]
    for line in failures or [f"sound {sound.returncode}, broken {hurt.returncode}"]:
        print(f"{'':12} {line.split(' - ')[0]}")
    if not noticed:
        print(sound.stdout[-3000:], hurt.stdout[-3000:])
    print(f"{'':12} {time.monotonic() - began:.0f} s", flush=True)
    return noticed


@contextmanager
def broken(one: Break, copy: Path) -> Iterator[None]:
    """Have the edit in the copy until the block ends."""
    path = copy / one.file
    whole = path.read_text(encoding="utf-8")
    assert whole.count(one.old) == 1, one
    path.write_text(whole.replace(one.old, one.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(whole, encoding="utf-8")


def _test(one: Break, copy: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", one.noticed_by]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    return subprocess.run(
        command, cwd=copy, check=False, capture_output=True, text=True, env=environment
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
