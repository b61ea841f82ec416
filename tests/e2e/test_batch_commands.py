"""`gateway batch`: a file sent, watched and fetched over HTTP, by exit codes scripts can use."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from gateway.cli import app
from gateway.domain.money import MICRO
from gateway.simulator import Script
from tests.e2e.test_batches import kites, send, until
from tests.support.stack import Stack, Team

pytestmark = pytest.mark.asyncio(loop_scope="module")
Command = Callable[..., Coroutine[Any, Any, Result]]


@pytest.fixture
def command(calm_stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)

    async def call(team: Team, *words: str) -> Result:
        options = ["--url", calm_stack.url, "--key", team.key]
        return await asyncio.to_thread(CliRunner().invoke, app, ["batch", *words, *options])

    return call


def said(result: Result) -> Any:
    """Give the JSON a command printed; the gateway in this process logs there too."""
    return json.loads(result.stdout.splitlines()[-1])


def file_of(folder: Path, count: int, name: str = "kites.jsonl", **fields: Any) -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(line) + "\n" for line in kites(count, **fields)))
    return path


async def test_a_file_is_run_to_its_end_and_its_results_written(
    calm_stack: Stack, command: Command, tmp_path: Path
) -> None:
    team = await calm_stack.team()
    file = file_of(tmp_path, 5)

    plain = await command(team, "run", str(file), "--concurrency", "3")
    done = await command(team, "run", str(file), "--name", "again", "--out", "r.jsonl", "--json")

    assert plain.exit_code == 0, plain.output
    assert "5 lines" in plain.stderr
    assert "5/5" in plain.stderr
    body = said(done)
    assert (done.exit_code, body["status"], body["name"]) == (0, "completed", "again")
    assert done.stderr == ""
    found = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [one["line"] for one in found] == [1, 2, 3, 4, 5]
    assert (tmp_path / "r.jsonl").stat().st_mode & 0o777 == 0o600
    default = tmp_path / plain.stdout.split()[-1]
    assert default.name.startswith("batch-")
    assert default.read_text().count("\n") == 5
    listed = said(await command(team, "list", "--json"))
    assert [one["name"] for one in listed] == ["again", "kites.jsonl"]
    table = (await command(team, "list")).stdout
    assert "kites.jsonl" in table


async def test_a_line_that_failed_is_exit_code_1(
    calm_stack: Stack, command: Command, tmp_path: Path
) -> None:
    team = await calm_stack.team()
    calm_stack.simulator.script("evolink", Script(error="content_policy", times=1))
    done = await command(team, "run", str(file_of(tmp_path, 2)), "--json")
    assert (done.exit_code, said(done)["lines"]["failed"]) == (1, 1)


async def test_a_paused_batch_is_exit_code_3_and_goes_on_after_a_resume(
    calm_stack: Stack, command: Command, tmp_path: Path
) -> None:
    team = await calm_stack.team(credits=3)
    paused = await command(team, "run", str(file_of(tmp_path, 3)))
    assert paused.exit_code == 3
    assert "insufficient_credits" in paused.stdout
    batch_id = paused.stderr.partition(":")[0]
    assert f"gateway batch resume {batch_id}" in paused.stderr

    await calm_stack.gateway.ledger.grant(team.id, 10 * MICRO, None)
    resumed = await command(team, "resume", batch_id, "--json")
    watched = await command(team, "watch", batch_id, "--json")
    late = await command(team, "resume", batch_id)

    assert said(resumed)["status"] == "running"
    assert (watched.exit_code, said(watched)["lines"]["completed"]) == (0, 3)
    assert (late.exit_code, "HTTP 409" in late.stderr) == (1, True)


async def test_a_batch_is_shown_cancelled_and_its_results_fetched(
    calm_stack: Stack, command: Command
) -> None:
    team = await calm_stack.team()
    slow = kites(9, prompt="a slow kite [sim:work_ms=500]")
    batch_id = (await send(calm_stack, team, slow, "?concurrency=1")).json()["id"]

    shown = await command(team, "show", batch_id)
    cancelled = await command(team, "cancel", batch_id, "--json")
    await until(calm_stack, team, batch_id, "cancelled")
    fetched = await command(team, "results", batch_id, "--json")
    watched = await command(team, "watch", batch_id, "--json")

    assert (shown.exit_code, "total" in shown.stdout) == (0, True)
    assert said(cancelled)["status"] == "cancelling"
    assert said(fetched)["lines"] == 9
    assert watched.exit_code == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "batch-nobody"), "HTTP 404: There is no batch 'batch-nobody'."),
        (("run", "nothing.jsonl"), "nothing.jsonl: No such file or directory"),
    ],
)
async def test_what_cannot_be_done_is_one_line(
    calm_stack: Stack, command: Command, words: tuple[str, ...], said: str
) -> None:
    failed = await command(await calm_stack.team(), *words)
    assert (failed.exit_code, failed.stderr) == (1, f"gateway: {said}\n")


async def test_bad_lines_are_named_and_nothing_is_made(
    calm_stack: Stack, command: Command, tmp_path: Path
) -> None:
    team = await calm_stack.team()
    failed = await command(team, "run", str(file_of(tmp_path, 2, n=99)))
    assert failed.exit_code == 1
    assert "Line 2: n is 99" in failed.stderr
    unwritable = await command(
        team, "run", str(file_of(tmp_path, 1)), "--out", str(tmp_path / "no" / "x")
    )
    assert (unwritable.exit_code, "--out" in unwritable.stderr) == (1, True)


async def test_without_a_key_or_a_gateway_it_says_so(tmp_path: Path) -> None:
    def call(*words: str) -> Result:
        return CliRunner().invoke(app, ["batch", "list", *words], env={"IGW_KEY": ""})

    assert "no key" in call().stderr
    assert "--url" in call("--key", "k", "--url", "here").stderr
    away = call("--key", "k", "--url", "http://127.0.0.1:1", "--json")
    assert (away.exit_code, list(json.loads(away.stderr))) == (1, ["error"])


async def test_an_interrupt_leaves_it_running(calm_stack: Stack, tmp_path: Path) -> None:
    team = await calm_stack.team()
    file = file_of(tmp_path, 8, prompt="a slow kite [sim:work_ms=400]")
    environment = {**os.environ, "IGW_URL": calm_stack.url, "IGW_KEY": team.key}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "batch", "run", str(file), "--concurrency", "1"),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where the tests run in the background of a shell, interrupts are ignored, and that is
        # handed down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    first = (await process.stderr.readline()).decode()
    await asyncio.sleep(1)
    process.send_signal(signal.SIGINT)
    _, rest = await process.communicate()

    batch_id = first.partition(":")[0]
    assert process.returncode == 130
    assert f"gateway batch watch {batch_id}" in rest.decode()
    ended = await until(calm_stack, team, batch_id, "completed")
    assert ended["lines"]["completed"] == 8
