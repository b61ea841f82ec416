"""What commands print: a table for people, `--json` for scripts, one clear line for a failure."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Mapping, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import typer

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def group(help_text: str) -> typer.Typer:
    """Give a group of commands. Its help is plain text: loading rich would take half a second."""
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=help_text)


def fail(message: str, *, as_json: bool = False) -> NoReturn:
    """Print why a command failed on standard error and exit with 1."""
    if as_json:
        print(json.dumps({"error": message}), file=sys.stderr)
    else:
        print(f"gateway: {message}", file=sys.stderr)
    raise typer.Exit(1)


def show(data: Any, *, as_json: bool, text: str | None = None) -> None:
    """Print a result: as JSON, or as ``text`` (default: the fields of a mapping, a line each)."""
    if as_json:
        print(json.dumps(data, ensure_ascii=False), flush=True)
        return
    if text is None:
        text = _lines(data)
    print(text, flush=True)


def show_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, as_json: bool) -> None:
    """Print rows: a JSON list, or a table of the named columns."""
    if as_json:
        print(json.dumps(list(rows), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(_cell(row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)


def _lines(data: Mapping[str, Any]) -> str:
    width = max((len(name) for name in data), default=0)
    return "\n".join(f"{name:<{width}}  {_cell(value)}" for name, value in data.items())


def run(work: Coroutine[Any, Any, T], *, as_json: bool = False) -> T:
    """Run a command's coroutine; known errors become one line and exit code 1."""
    from gateway.domain.errors import GatewayError
    from gateway.embedded import EmbeddedEngineError
    from gateway.settings import SettingsError

    try:
        return asyncio.run(work)
    except (GatewayError, EmbeddedEngineError, SettingsError) as error:
        fail(str(error), as_json=as_json)
