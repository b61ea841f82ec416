"""`gateway bench` measures a gateway of its own; what is configured is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli import app


def test_bench_runs_on_engines_and_vendors_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = tmp_path / "gateway.toml"
    configured.write_text("[upstreams.paid]\nadapter = 'openai'\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GATEWAY_CONFIG", str(configured))
    monkeypatch.setenv("GATEWAY_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    monkeypatch.setenv("GATEWAY_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("GATEWAY_DATA_DIR", str(tmp_path / "data"))

    words = ["bench", "--seconds", "0.3", "--connections", "4", "--json"]
    result = CliRunner().invoke(app, words)

    assert result.exit_code == 0, result.output
    rows = {row["what"]: row for row in json.loads(result.stdout)}
    for what in ("task from call to picture", "accept", "read a task", "accept, one caller"):
        assert rows[what]["calls"] > 0
        assert 0 < rows[what]["p50_ms"] <= rows[what]["p99_ms"]
    assert rows["ledger"] == {
        "what": "ledger",
        # The grant, the holds, and one capture for each picture delivered.
        "transfers": 1 + rows["accept"]["calls"] + rows["accept, one caller"]["calls"] + 2 * 12,
        "clean": True,
    }
    assert [path.name for path in tmp_path.iterdir()] == ["gateway.toml"]
