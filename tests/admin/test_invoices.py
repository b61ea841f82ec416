"""A vendor's invoice, checked by command against what was booked."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.simulator import Script
from tests.support.stack import MODEL, Stack, running_stack

MONTH = datetime.now(UTC).strftime("%Y-%m")


@pytest.fixture
async def stack(tmp_path: Path, database_url: str, redis_url: str) -> AsyncIterator[Stack]:
    async with running_stack(
        tmp_path, database_url, redis_url, admin_key="the-admin-key"
    ) as running:
        yield running


class Desk:
    """Finance with an invoice file and the command."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "invoice.csv"

    async def check(self, text: str, *words: str) -> tuple[int, str]:
        self.file.write_text(text, encoding="utf-8")
        command = ["invoice", "check", str(self.file), "--upstream", "cheap", "--month", MONTH]
        result = await asyncio.to_thread(CliRunner().invoke, app, [*command, *words])
        return result.exit_code, result.stdout or result.stderr


@pytest.fixture
def desk(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("GATEWAY_DATABASE_URL", database_url)
    return Desk(tmp_path)


async def made(stack: Stack, number: int) -> list[str]:
    """Make pictures at the cheap upstream; gives the vendor's ids of the tasks."""
    team = await stack.team()
    body = {"model": MODEL, "prompt": "a kite"}
    created = [(await stack.post(team, body)).json()["id"] for _ in range(number)]
    for task_id in created:
        await stack.ended(team, task_id)
    tasks = [await stack.task(task_id) for task_id in created]
    return [str(task.attempts[-1].upstream_task_id) for task in tasks]


async def test_the_simulated_vendors_own_bill_agrees(stack: Stack, desk: Desk) -> None:
    stack.simulator.script("evolink", Script(deliver=1, times=1))
    await made(stack, 3)
    records = stack.simulator.bill("evolink").records
    lines = [f"{one.task_id},{one.amount_usd_micros / 10**6:.6f}" for one in records]
    code, text = await desk.check("\n".join(["Task_ID,Cost_USD", *lines]), "--json")
    view = json.loads(text.splitlines()[-1])
    assert code == 0, view
    assert (view["agreeing"], view["differences"], view["difference_usd"]) == (3, [], "0")


async def test_differences_are_listed_with_our_tasks(stack: Stack, desk: Desk) -> None:
    first, second, third = await made(stack, 3)
    # In yuan, 7.1 to the dollar: 0.1562 is $0.022.
    text = f"job,yuan\n{first},0.1562\n{second},0.2\nstranger,0.0071\n"
    options = ("--id-column", "job", "--amount-column", "yuan", "--per-usd", "7.1")
    code, out = await desk.check(text, *options, "--csv")
    rows = {
        row["upstream_task_id"]: row
        for row in csv.DictReader(io.StringIO(out[out.index("kind,") :]))
    }
    assert code == 1
    assert {name: row["kind"] for name, row in rows.items()} == {
        second: "amount",
        "stranger": "not_booked",
        third: "not_billed",
    }
    assert (rows[second]["billed_usd"], rows[second]["booked_usd"]) == ("0.028169", "0.022")
    assert rows[third]["task_id"]
    code, out = await desk.check(text, *options)
    assert (code, "stranger" in out, "differing" in out) == (1, True, True)


@pytest.mark.parametrize(
    ("text", "words", "named"),
    [
        ("when,what\n1,2\n", (), "id_column"),
        ("task_id,what\n1,2\n", (), "amount_column"),
        ("task_id,cost\nv1,free\nv2,1\n,3\n", (), "Line 2"),
        ("task_id,cost\nv1,1\n,3\n", (), "task_id is empty"),
        ("task_id,cost\nv1,inf\n", (), "'inf'"),
        ("task_id,cost\n", ("--per-usd", "0"), "per_usd"),
        ("task_id,cost\n", ("--month", "2999-01"), "month"),
        ("", (), "header"),
        ("task_id,cost\nv1," + "9" * 200_000 + "\n", (), "cannot be read"),
        ("task_id,cost\n", ("--tolerance-usd=-1",), "tolerance_usd"),
    ],
)
async def test_a_file_that_is_no_invoice_is_refused_by_name(
    desk: Desk, text: str, words: Any, named: str
) -> None:
    code, out = await desk.check(text, *words)
    assert (code, named in out) == (1, True), out


async def test_a_file_that_is_not_there_is_told(desk: Desk) -> None:
    words = ["invoice", "check", "none.csv", "--upstream", "cheap", "--month", MONTH]
    result = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert (result.exit_code, "none.csv cannot be read" in result.stderr) == (1, True)


async def asked(stack: Stack, text: str | bytes, **query: str) -> tuple[int, Any]:
    """Ask the API instead of the command."""
    given = {"upstream": "cheap", "month": MONTH, **query}
    content = text.encode() if isinstance(text, str) else text
    headers = {"authorization": "Bearer the-admin-key", "content-type": "text/csv"}
    answer = await stack.client.post(
        "/admin/v1/invoices/check", params=given, content=content, headers=headers
    )
    return answer.status_code, answer.json()


async def test_the_api_compares_as_the_command_does(stack: Stack, desk: Desk) -> None:
    first, second = await made(stack, 2)
    text = f"\ufefftask_id,yuan\n{first},0.1562\nstranger,0.0071\n"
    options = ("--amount-column", "yuan", "--per-usd", "7.1", "--json")
    _, out = await desk.check(text, *options)
    status, view = await asked(stack, text, amount_column="yuan", per_usd="7.1")
    assert (status, view) == (200, json.loads(out.splitlines()[-1]))
    found = {one["upstream_task_id"]: one["kind"] for one in view["differences"]}
    assert found == {"stranger": "not_booked", second: "not_billed"}


@pytest.mark.parametrize(
    ("text", "query", "param"),
    [
        ("when,what\n1,2\n", {}, "id_column"),
        ("task_id,cost\nv1,free\n", {}, "line 2"),
        ("task_id,cost\n", {"month": "soon"}, "month"),
        ("task_id,cost\n", {"per_usd": "0"}, "per_usd"),
        ("task_id,cost\n", {"per_usd": "seven"}, "per_usd"),
        ("task_id,cost\n", {"tolerance_usd": "-1"}, "tolerance_usd"),
        ("task_id,cost\n", {"upstream": ""}, "upstream"),
        ("task_id,cost\nv1,1\n", {"upstream": "chaep"}, "upstream"),
        ("task_id,cost\n", {"curency": "CNY"}, "curency"),
        (b"task_id,cost\n\xff\xfe,1\n", {}, None),
        ("task_id,cost\nv1," + "9" * 200_000 + "\n", {}, None),
    ],
)
async def test_the_api_names_what_is_wrong_with_an_invoice(
    stack: Stack, text: str | bytes, query: dict[str, str], param: str | None
) -> None:
    status, answer = await asked(stack, text, **query)
    assert (status, answer["error"]["param"]) == (400, param), answer
