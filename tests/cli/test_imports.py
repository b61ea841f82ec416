"""A process loads what it needs, not all that some command or report may need."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("library", ["sqlalchemy", "alembic", "PIL", "jwt"])
def test_serving_the_api_does_not_load(library: str) -> None:
    program = f"import sys, gateway.cli.processes; sys.exit({library!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == 0
