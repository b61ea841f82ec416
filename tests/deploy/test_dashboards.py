"""The dashboards' queries, run against the real views by a role that may read nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml

from gateway.stores.postgres.database import Database
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.vault import Vault
from tests.stores.postgres.building import (
    CREDIT,
    START_MS,
    TurnableClock,
    accepted,
    delivered,
    failed,
    success_at,
    with_attempts,
)

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in GRAFANA.glob("dashboards/*.json")}
ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reporting') THEN
        CREATE ROLE reporting LOGIN;
    END IF;
END $$;
GRANT USAGE ON SCHEMA reporting TO reporting;
GRANT SELECT ON ALL TABLES IN SCHEMA reporting TO reporting;
"""
MACROS = {
    "$__timeFrom()": "'2027-01-01T00:00:00Z'::timestamptz",
    "$__timeTo()": "'2027-02-01T00:00:00Z'::timestamptz",
    "$team": "'studio'",
}
QUERIES = [
    pytest.param(panel["title"], target["rawSql"], id=f"{name}: {panel['title']}")
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel["targets"]
    if "rawSql" in target
]
VARIABLES = [
    variable["query"]
    for board in BOARDS.values()
    for variable in board["templating"]["list"]
    if variable["datasource"]["uid"] == "image-gateway"
]


@pytest.fixture
async def reader(database_url: str) -> Any:
    """A connection that may read the views; a team with a delivered, a doubtful, a failed task."""
    database = Database(database_url)
    await database.connect()
    vault = Vault("x" * 40)
    ledger = PostgresLedger(database, TurnableClock(), vault)
    tasks = PostgresTasks(database, vault)
    team = await ledger.create_team("studio")
    await ledger.grant(team.id, 10 * CREDIT, "invoice 7")
    done = await accepted(tasks, team.id, hold=2 * CREDIT, n=2)
    await tasks.settle(delivered(with_attempts(done, success_at("cheap", 44_000)), 2))
    await tasks.settle(failed(await accepted(tasks, team.id)))
    await ledger.refund(done.id, CREDIT, "blurred")
    await database.write("SELECT 1")
    owner = await asyncpg.connect(database_url)
    await owner.execute(ROLE)
    await owner.execute("SET ROLE reporting")
    yield owner
    await owner.close()
    await tasks.close()
    await database.close()


def runnable(query: str) -> str:
    for macro, value in MACROS.items():
        query = query.replace(macro, value)
    assert "$" not in query
    return query


@pytest.mark.parametrize(("title", "query"), QUERIES)
async def test_a_panels_query_gives_rows(reader: Any, title: str, query: str) -> None:
    rows = await reader.fetch(runnable(query))
    assert rows, title


@pytest.mark.parametrize("query", VARIABLES)
async def test_a_variables_query_gives_rows(reader: Any, query: str) -> None:
    assert [row[0] for row in await reader.fetch(runnable(query))] == ["studio"]


async def test_the_figures_are_those_of_the_ledger(reader: Any) -> None:
    async def figure(title: str) -> float:
        (query,) = [param.values[1] for param in QUERIES if param.values[0] == title]
        return float((await reader.fetchrow(runnable(str(query))))["value"])

    figures = {
        "Credits charged": 2, "Pictures": 2, "Cost": 0.044, "Exposure": 0, "Waste": 0,
        "Tasks without pictures": 0.5,
    }  # fmt: skip
    assert {title: await figure(title) for title in figures} == figures
    balance = await reader.fetchrow("SELECT * FROM reporting.balances")
    assert (balance["balance"], balance["held"]) == (9, 0)
    moved = await reader.fetchval("SELECT sum(credits) FROM reporting.credit_movements")
    assert moved == balance["balance"]
    ended = await reader.fetch("SELECT * FROM reporting.ended_tasks ORDER BY status")
    assert [(row["team"], row["latency_ms"]) for row in ended] == [("studio", 9_000)] * 2
    assert ended[0]["created_at"].timestamp() * 1000 == START_MS


@pytest.mark.parametrize("table", ["api_keys", "webhook_secrets", "tasks", "transfers", "meta"])
async def test_the_role_reads_nothing_else(reader: Any, table: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await reader.fetch(f"SELECT * FROM public.{table}")


async def test_every_view_is_documented_with_its_columns(reader: Any) -> None:
    page = (ROOT / "docs" / "reporting.md").read_text()
    rows = await reader.fetch(
        """
        SELECT table_name, array_agg(column_name::text ORDER BY ordinal_position) AS columns
        FROM information_schema.columns WHERE table_schema = 'reporting' GROUP BY table_name
        """
    )
    documented = {
        match[1]: re.findall(r"`(\w+)`", match[2])
        for match in re.finditer(r"^\| `reporting\.(\w+)` \|[^|]*\|(.*)\|$", page, re.MULTILINE)
    }
    assert documented == {row["table_name"]: row["columns"] for row in rows}


def test_compose_provisions_every_dashboard_from_the_views_data_source() -> None:
    grafana = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "dashboards.yaml").read_text()
    )["providers"]
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "postgres.yaml").read_text()
    )["datasources"]
    named = {panel["datasource"]["uid"] for panel in BOARDS["usage-and-money"]["panels"]}
    assert named == {source["uid"]}
    assert source["user"] == "reporting"
    assert "CREATE ROLE reporting" in (ROOT / "deploy/postgres/10-reporting-role.sh").read_text()
