"""The command line: thin commands over the same parts the processes use (⚑ §6).

Exit codes: 0 done, 1 failed or found a problem, 2 wrong usage. Every command takes `--json`.
"""

from __future__ import annotations

import typer

from gateway.cli import (
    batches,
    callbacks,
    exposure,
    invoices,
    keys,
    money,
    operators,
    prices,
    secrets,
    serve,
    team_data,
    teams,
    tools,
    upstreams,
    usage,
)

app = typer.Typer(
    name="gateway",
    help="Image Gateway: one endpoint, the cheapest healthy upstream, exact prepaid money.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)

app.command("up")(serve.up)
app.command("api")(serve.api)
app.command("worker")(serve.worker)
app.command("simulate")(serve.simulate)
app.command("bench")(serve.bench)
app.command("migrate")(tools.migrate)
app.command("doctor")(tools.doctor)
app.command("usage")(usage.usage)
app.command("statement")(money.statement)
teams.team.command("export")(team_data.export)
teams.team.command("erase")(team_data.erase)

for name, group in {
    "team": teams.team,
    "credits": money.credits_group,
    "key": keys.key,
    "catalog": tools.catalog,
    "ledger": tools.ledger,
    "task": tools.task,
    "batch": batches.batch,
    "callback": callbacks.callback,
    "price": prices.price,
    "operator": operators.operator,
    "exposure": exposure.exposure,
    "invoice": invoices.invoice,
    "secrets": secrets.secrets,
    "upstream": upstreams.upstream,
}.items():
    app.add_typer(group, name=name)
