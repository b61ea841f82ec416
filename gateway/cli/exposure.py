"""`gateway exposure …`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, run, show, show_table

exposure = typer.Typer(no_args_is_help=True, help="What vendors may have billed unseen.")


@exposure.command("list")
def list_exposures(
    upstream: Annotated[str | None, typer.Option("--upstream", help="Only this one's.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List attempts of ended tasks that may have been billed, newest first."""
    rows = run(_list(upstream, limit), as_json=as_json)
    columns = ("id", "task_id", "upstream", "upstream_task_id", "outcome", "exposure_usd", "reason")
    show_table(rows, columns, as_json=as_json)


async def _list(upstream: str | None, limit: int) -> list[dict[str, Any]]:
    from gateway.app.views import exposure_view
    from gateway.cli.database import books

    async with books() as opened:
        page = await opened.exposures.exposure_page(limit, None, upstream)
        return [exposure_view(one) for one in page.items]


@exposure.command("resolve")
def resolve(
    attempt_id: Annotated[
        str, typer.Argument(metavar="ID", help="The attempt's id, as `exposure list` shows it.")
    ],
    billed: Annotated[
        bool, typer.Option("--billed/--free", help="Whether the vendor's invoice has it.")
    ],
    cost_usd: Annotated[
        str | None, typer.Option("--cost-usd", help="What was billed, if less than was booked.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what an attempt came to; no team is charged for it."""
    from gateway.domain.money import parse_micro

    cost = None if billed else 0
    if cost_usd is not None:
        if not billed:
            fail("--cost-usd goes with --billed only", as_json=as_json)
        try:
            cost = parse_micro(cost_usd)
        except ValueError as error:
            fail(f"--cost-usd: {error}", as_json=as_json)
    show(run(_resolve(attempt_id, cost), as_json=as_json), as_json=as_json)


async def _resolve(attempt_id: str, cost: int | None) -> dict[str, Any]:
    from gateway.app.views import resolution_view
    from gateway.cli.database import books
    from gateway.domain.administration import COMMAND_LINE

    async with books() as opened:
        return resolution_view(await opened.exposures.resolve(attempt_id, cost, COMMAND_LINE))
