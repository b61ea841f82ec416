"""What logging in needs of the stores: passwords, and the sessions they open."""

from __future__ import annotations

from typing import Protocol

from gateway.app.ports.admin import Page
from gateway.domain.administration import Ask
from gateway.domain.login import OpenSession, Session, Verified


class Logins(Protocol):
    """Passwords and sessions. Every change writes its audit row. Raises StoreUnavailable."""

    async def verified(self, name: str, password: str) -> Verified | None:
        """Give whose password this is; None takes as long for a name that nobody has."""
        ...

    async def operator_named(self, name: str) -> str | None:
        """Give the id of the operator of a name, None without one that is not revoked."""
        ...

    async def is_known(self, name: str, sender: str) -> bool:
        """Whether the operator of a name logged in from there lately."""
        ...

    async def open(
        self, who: Verified, method: str, sender: str, *, replaces: str = ..., request_id: str = ...
    ) -> tuple[Session, str]:
        """Open a session, ending the one whose token is ``replaces``; gives it and its token.

        Raises LoginRefused when the operator was revoked or got another password meanwhile.
        """
        ...

    async def find(self, token: str) -> Session | None:
        """Give the session of a token, None when it ended or its operator was revoked."""
        ...

    async def end(self, session_id: str, ask: Ask) -> None:
        """End a session now, in every process."""
        ...

    async def open_page(
        self, operator_id: str, limit: int, cursor: str | None
    ) -> Page[OpenSession]:
        """Give a page of the logins of an operator, or of the admin key, that hold now.

        Newest first. Raises InvalidRequest for a cursor that is none of ours.
        """
        ...

    async def end_one(self, session_id: str, owner: str | None, ask: Ask) -> None:
        """End a login, only one of ``owner`` where that is given. Raises NotFound."""
        ...

    async def end_all(self, operator_id: str, ask: Ask) -> int:
        """End all sessions of an operator, or of the admin key; gives how many. Raises NotFound."""
        ...

    async def set_password(self, operator_id: str, password: str, ask: Ask = ...) -> None:
        """Set an operator's password and end all its sessions. Raises NotFound, InvalidRequest."""
        ...

    async def change_password(
        self, session: Session, verified: Verified, password: str, ask: Ask
    ) -> int:
        """Set the password of whom a session is, and end the other ones; gives how many ended.

        Raises InvalidRequest, InUse for one who logs in at an issuer, LoginRefused when the
        password was changed meanwhile or the session has ended.
        """
        ...

    async def refused(self, subject: str, method: str, sender: str, request_id: str) -> None:
        """Write the audit row of a failed login."""
        ...
