"""What a real Prometheus makes of a live gateway: every panel of the dashboard, every alert."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from gateway.embedded import EmbeddedPostgres, EmbeddedValkey
from gateway.simulator import Script
from tests.crash.site import Site, running_site
from tests.support.ports import free_port
from tests.support.stack import CONFIGURATION, MODEL

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
BOARD = json.loads((ROOT / "deploy/grafana/dashboards/upstreams.json").read_text())
ALERTS = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
QUERIES = {
    f"{panel['title']} ({target['refId']})": target["expr"]
    for panel in BOARD["panels"]
    for target in panel["targets"]
}
LIMITED = CONFIGURATION.replace(
    'api_key = "key-of-cheap"',
    'api_key = "key-of-cheap"\nmax_in_flight = 9\ndaily_cost_usd = "5"\nquery_per_second = 50',
)
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="no prometheus on the path"
)


def runnable(expr: str) -> str:
    for name, value in {"$upstream": ".*", "$__rate_interval": "10s", "$__range": "1m"}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


@asynccontextmanager
async def scraping(
    folder: Path, api_port: int, worker_port: int
) -> AsyncIterator[httpx.AsyncClient]:
    """Run Prometheus with the shipped configuration, once a second and on this site's ports."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    for shipped, here in (("api:8080", api_port), ("worker:9108", worker_port)):
        assert shipped in text
        text = text.replace(shipped, f"127.0.0.1:{here}")
    config = folder / "prometheus.yml"
    config.write_text(text.replace("15s", "1s"))
    shutil.copy(PROMETHEUS / "alerts.yml", folder)
    port = free_port()
    with (folder / "prometheus.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as web:
            yield web
    finally:
        process.terminate()
        await process.wait()


async def asked(web: httpx.AsyncClient, expr: str) -> list[Any]:
    """Give the series of an instant query."""
    answer = (await web.get("/api/v1/query", params={"query": expr})).json()
    assert answer["status"] == "success", (expr, answer)
    return list(answer["data"]["result"])


async def some_work(site: Site) -> None:
    """Let tasks complete, fail over and fail."""
    site.simulator.script("evolink", Script(error="server_error", times=2))
    site.simulator.script("evolink", Script(prompt="bad", fail="content_policy"))
    for prompt in ("a kite", "a kite", "a lantern", "bad", "a kite"):
        await site.generate({"model": MODEL, "prompt": prompt}, prefer="wait=20")


@needs_prometheus
async def test_every_panel_and_alert_works_on_a_live_gateway(
    tmp_path: Path, own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    port = free_port()
    variables = {"GATEWAY_WORKER_METRICS_PORT": str(port)}
    async with running_site(
        *(tmp_path, own_postgres, own_valkey),
        workers=1,
        configuration=LIMITED,
        variables=variables,
    ) as site:
        await some_work(site)
        async with scraping(tmp_path, site.port, port) as web:
            async with asyncio.timeout(30):
                while not await ready(web):
                    await some_work(site)
            empty = [name for name, expr in QUERIES.items() if not await asked(web, runnable(expr))]
            assert empty == []
            groups = (await web.get("/api/v1/rules")).json()["data"]["groups"]
            rules = {rule["name"]: rule for group in groups for rule in group["rules"]}
            assert {name: rule["health"] for name, rule in rules.items()} == {
                rule["alert"]: "ok" for rule in ALERTS
            }
            assert {name for name, rule in rules.items() if rule["state"] == "firing"} == set()


async def ready(web: httpx.AsyncClient) -> bool:
    """Whether both were scraped often enough for a rate, and every rule was judged."""
    try:
        up = await asked(web, "count_over_time(up[1m]) >= 4")
        rated = await asked(web, 'sum(rate(igw_attempts_total{outcome="delivered"}[10s])) > 0')
        groups = (await web.get("/api/v1/rules")).json()["data"]["groups"]
    except httpx.TransportError:
        return False
    judged = all(rule["health"] == "ok" for group in groups for rule in group["rules"])
    return len(up) == 2 and bool(rated) and judged


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool on the path")
def test_promtool_finds_nothing_wrong() -> None:
    config = PROMETHEUS / "prometheus.yml"
    done = subprocess.run(
        ["promtool", "check", "config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(ALERTS)} rules found" in done.stdout


def test_every_runbook_is_a_heading_of_the_manual() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", text.lower()).replace(" ", "-") for text in headings}
    for rule in ALERTS:
        file, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (file, anchor in anchors) == ("docs/operations.md", True), rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_compose_scrapes_where_the_processes_listen() -> None:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    targets = {job["static_configs"][0]["targets"][0] for job in jobs}
    worker = COMPOSE["worker"]["environment"]["GATEWAY_WORKER_METRICS_PORT"]
    api = COMPOSE["api"]["environment"]["GATEWAY_PORT"]
    assert targets == {f"api:{api}", f"worker:{worker}"}
    provisioned = ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml"
    (source,) = yaml.safe_load(provisioned.read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in BOARD["panels"]} == {source["uid"]}
    assert source["url"].endswith(":9090")
    assert "./deploy/prometheus:/etc/prometheus:ro" in COMPOSE["prometheus"]["volumes"]
