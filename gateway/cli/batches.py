"""`gateway batch …`: files of create calls, over HTTP and with a team's key.

Exit codes of `run` and `watch`: 0 every line completed, 1 some did not (or the command failed),
3 the batch is paused, 130 interrupted; the batch goes on then.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, show, show_table
from gateway.cli.whole import whole_file

if TYPE_CHECKING:
    from gateway.cli.remote import Remote

batch = group("Batches: files of create calls (docs/batches.md).")

Url = Annotated[
    str, typer.Option("--url", envvar="IGW_URL", help="The gateway's address (IGW_URL).")
]
Key = Annotated[
    str | None, typer.Option("--key", envvar="IGW_KEY", help="A key of the team (IGW_KEY).")
]
BatchId = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.")]
Out = Annotated[Path | None, typer.Option("--out", help="Where the results go (ID.results.jsonl).")]

HERE = "http://127.0.0.1:8080"
COLUMNS = ("id", "name", "status", "total", "completed", "failed", "credits_charged", "reason")
ENDED = ("completed", "cancelled")
PAUSED = 3
INTERRUPTED = 130
ASK_EVERY_S = 0.5


@batch.command("run")
def run_batch(
    file: Annotated[Path, typer.Argument(help="JSON lines, a create call each; - reads them.")],
    url: Url = HERE,
    key: Key = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", min=1, help="Lines under way at once.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="A name; the file's.")] = None,
    callback: Annotated[
        str | None, typer.Option("--callback-url", help="https address told of the end.")
    ] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Send a file, show how it goes, write the results."""
    from uuid import uuid4

    from gateway.cli.remote import remote

    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", as_json=as_json)
    sent = {"name": file.name if name is None else name, "callback_url": callback}
    sent["concurrency"] = None if concurrency is None else str(concurrency)
    query = {option: text for option, text in sent.items() if text}
    with remote(url, key, as_json=as_json) as gateway:
        made = gateway.upload("/v1/batches", content, uuid4().hex, **query)
        _follow(gateway, made, out, as_json=as_json)


@batch.command("watch")
def watch_batch(
    batch_id: BatchId, url: Url = HERE, key: Key = None, out: Out = None, as_json: AsJson = False
) -> None:
    """Show how a batch goes until it ends, and write its results."""
    from gateway.cli.remote import remote

    with remote(url, key, as_json=as_json) as gateway:
        found = gateway.call("GET", f"/v1/batches/{batch_id}")
        _follow(gateway, found, out, as_json=as_json)


@batch.command("list")
def list_batches(
    url: Url = HERE,
    key: Key = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the team's batches, newest first."""
    from gateway.cli.remote import remote

    with remote(url, key, as_json=as_json) as gateway:
        found = gateway.call("GET", "/v1/batches", params={"limit": limit})["data"]
    rows = found if as_json else [_flat(one) for one in found]
    show_table(rows, COLUMNS, as_json=as_json)


@batch.command("show")
def show_batch(
    batch_id: BatchId, url: Url = HERE, key: Key = None, as_json: AsJson = False
) -> None:
    """Show how a batch stands."""
    _ask("GET", f"/v1/batches/{batch_id}", url, key, as_json=as_json)


@batch.command("resume")
def resume_batch(
    batch_id: BatchId, url: Url = HERE, key: Key = None, as_json: AsJson = False
) -> None:
    """Let a paused batch go on, under this key."""
    _ask("POST", f"/v1/batches/{batch_id}/resume", url, key, as_json=as_json)


@batch.command("cancel")
def cancel_batch(
    batch_id: BatchId, url: Url = HERE, key: Key = None, as_json: AsJson = False
) -> None:
    """Send no more lines of a batch."""
    _ask("POST", f"/v1/batches/{batch_id}/cancel", url, key, as_json=as_json)


@batch.command("results")
def results(
    batch_id: BatchId, url: Url = HERE, key: Key = None, out: Out = None, as_json: AsJson = False
) -> None:
    """Write the results of the lines that have ended."""
    from gateway.cli.remote import remote

    with remote(url, key, as_json=as_json) as gateway:
        path, lines = _write_results(gateway, batch_id, out, as_json=as_json)
    show({"id": batch_id, "results": str(path), "lines": lines}, as_json=as_json)


def _ask(method: str, path: str, url: str, key: str | None, *, as_json: bool) -> None:
    from gateway.cli.remote import remote

    with remote(url, key, as_json=as_json) as gateway:
        found = gateway.call(method, path)
    show(found if as_json else _flat(found), as_json=as_json)


def _flat(found: dict[str, Any]) -> dict[str, Any]:
    """Give a batch as a table shows it."""
    flat = {name: value for name, value in found.items() if name not in ("object", "lines")}
    reason = found["reason"]
    flat["reason"] = f"{reason['code']}: {reason['message']}" if reason else None
    return {**flat, **found["lines"]}


# --- following -------------------------------------------------------------------------------


def _follow(gateway: Remote, found: dict[str, Any], out: Path | None, *, as_json: bool) -> None:
    """Show progress until a batch ends or pauses; exits with what it came to."""
    batch_id = found["id"]
    if not as_json:
        print(f"{batch_id}: {found['lines']['total']} lines", file=sys.stderr)
    try:
        found = _until_it_rests(gateway, found, quiet=as_json)
    except KeyboardInterrupt:
        print(f"\nIt goes on. gateway batch watch {batch_id}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if found["status"] not in ENDED:
        show(found if as_json else _flat(found), as_json=as_json)
        print(f"It is paused. gateway batch resume {batch_id}", file=sys.stderr)
        raise typer.Exit(PAUSED)
    path, _ = _write_results(gateway, batch_id, out, as_json=as_json)
    show({**(found if as_json else _flat(found)), "results": str(path)}, as_json=as_json)
    if found["lines"]["completed"] < found["lines"]["total"]:
        raise typer.Exit(1)


def _until_it_rests(gateway: Remote, found: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """Ask until a batch has ended or is paused with nothing under way; a gateway that is away is
    waited for.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from gateway.cli.remote import Away

    console = Console(file=sys.stderr, quiet=quiet)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=quiet) as progress:
        bar = progress.add_task(found["status"], total=found["lines"]["total"], told="")
        while True:
            lines = found["lines"]
            ended = lines["completed"] + lines["failed"] + lines["cancelled"]
            told = f"{lines['failed']} failed, {found['credits_charged']} credits"
            progress.update(bar, description=found["status"], completed=ended, told=told)
            rests = found["status"] == "paused" and not lines["running"]
            if rests or found["status"] in ENDED:
                return found
            time.sleep(ASK_EVERY_S)
            try:
                found = gateway.call("GET", f"/v1/batches/{found['id']}")
            except Away:
                progress.update(bar, description="gateway away")


def _write_results(
    gateway: Remote, batch_id: str, out: Path | None, *, as_json: bool
) -> tuple[Path, int]:
    """Write the lines that ended to a file that is there once it is whole; gives how many."""
    path = Path(f"{batch_id}.results.jsonl") if out is None else out
    count = 0
    try:
        with whole_file(path) as file:
            for line in gateway.lines(f"/v1/batches/{batch_id}/results"):
                file.write(line + "\n")
                count += 1
    except OSError as error:
        fail(f"--out: {error}", as_json=as_json)
    return path, count
