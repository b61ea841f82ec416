"""`gateway operator …`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import AsJson, fail, group, run, show, show_table

if TYPE_CHECKING:
    from gateway.domain.administration import Role

operator = group("Operators: who administers by /admin/v1.")

_ROLES = "viewer, finance, operator, admin; or member, with --team."
RoleName = Annotated[str, typer.Option("--role", help=_ROLES)]
TeamName = Annotated[
    str | None, typer.Option("--team", help="The team that a member may read, and nothing else.")
]
OperatorId = Annotated[str, typer.Argument(metavar="ID", help="As `operator list` shows it.")]
_COLUMNS = ("id", "name", "role", "team_id", "ends_with", "created_at", "revoked_at")


def _role(name: str, *, as_json: bool) -> Role:
    from gateway.domain.administration import Role

    try:
        return Role(name)
    except ValueError:
        fail(f"--role must be one of {', '.join(Role)}", as_json=as_json)


@operator.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Unique name: a person, or what a script does.")],
    role: RoleName,
    team: TeamName = None,
    as_json: AsJson = False,
) -> None:
    """Add an operator. The token is shown once and never again."""
    trusted = _role(role, as_json=as_json)
    show(run(_create(name, trusted, team), as_json=as_json), as_json=as_json)


async def _create(name: str, role: Role, team: str | None) -> dict[str, Any]:
    from gateway.app.views import operator_view
    from gateway.cli.database import books, team_named

    async with books() as opened:
        team_id = None if team is None else (await team_named(opened, team)).id
        made, token = await opened.operators.create_operator(name, role, team_id=team_id)
        return {**operator_view(made), "token": token}


@operator.command("password")
def set_password(
    who: Annotated[str, typer.Argument(metavar="NAME|ID", help="Whose password.")],
    stdin: Annotated[
        bool, typer.Option("--stdin", help="Read it from standard input, a line, and do not ask.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Set the password an operator logs in with; logins that are open end."""
    if stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    done = run(_set_password(who, password), as_json=as_json)
    show(done, as_json=as_json, text=f"{done['name']} can log in with the new password.")


async def _set_password(who: str, password: str) -> dict[str, Any]:
    from gateway.cli.database import books

    async with books() as opened:
        operator_id = await opened.logins.operator_named(who) or who
        found = await opened.operators.operator(operator_id)
        await opened.logins.set_password(found.id, password)
        return {"id": found.id, "name": found.name}


@operator.command("list")
def list_operators(as_json: AsJson = False) -> None:
    """List operators, newest first, revoked ones included."""
    show_table(run(_list(), as_json=as_json), _COLUMNS, as_json=as_json)


async def _list() -> list[dict[str, Any]]:
    from gateway.app.views import operator_view
    from gateway.cli.database import books

    found: list[dict[str, Any]] = []
    cursor: str | None = None
    async with books() as opened:
        while True:
            page = await opened.operators.operator_page(200, cursor)
            found += [operator_view(one) for one in page.items]
            cursor = page.cursor
            if cursor is None:
                return found


@operator.command("role")
def change_role(
    operator_id: OperatorId,
    role: Annotated[str, typer.Argument(help=_ROLES)],
    team: TeamName = None,
    as_json: AsJson = False,
) -> None:
    """Trust an operator with something else."""
    trusted = _role(role, as_json=as_json)
    show(run(_change(operator_id, trusted, team), as_json=as_json), as_json=as_json)


async def _change(operator_id: str, role: Role, team: str | None) -> dict[str, Any]:
    from gateway.app.views import operator_view
    from gateway.cli.database import books, team_named

    async with books() as opened:
        team_id = None if team is None else (await team_named(opened, team)).id
        changed = await opened.operators.change_role(operator_id, role, team_id=team_id)
        return operator_view(changed)


@operator.command("revoke")
def revoke(operator_id: OperatorId, as_json: AsJson = False) -> None:
    """End an operator's token now."""
    show(run(_revoke(operator_id), as_json=as_json), as_json=as_json)


async def _revoke(operator_id: str) -> dict[str, Any]:
    from gateway.app.views import operator_view
    from gateway.cli.database import books

    async with books() as opened:
        return operator_view(await opened.operators.revoke_operator(operator_id))
