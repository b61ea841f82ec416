"""A process takes as many open files as it may have: every call under way is a socket."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
from gateway.cli import processes
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
processes._allow_files()
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(
    ("soft", "hard", "then"), [(256, 2048, 2048), (2048, 2048, 2048), (256, 256, 256)]
)
def test_the_limit_on_open_files_is_raised_as_far_as_it_goes(
    soft: int, hard: int, then: int
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(soft=soft, hard=hard)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(then), str(hard)]
