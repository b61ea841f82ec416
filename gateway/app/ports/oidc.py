"""What logging in at an issuer needs: the issuer, and whom its subjects are here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from gateway.domain.administration import Actor
from gateway.domain.oidc import Granted


class Issuer(Protocol):
    """An OpenID Connect issuer. Raises IssuerUnavailable."""

    @property
    def name(self) -> str:
        """The issuer's identifier, exactly as its tokens name it."""
        ...

    @property
    def client_id(self) -> str:
        """Who we are at the issuer."""
        ...

    async def address(self, asked: Mapping[str, str]) -> str:
        """Give where a browser logs in, with what is asked for."""
        ...

    async def claims(self, code: str, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """Give the verified claims that a code stands for. Raises TokenRefused."""
        ...


class Subjects(Protocol):
    """Whom an issuer's subjects are here. Raises StoreUnavailable."""

    def seal(self, text: str) -> str:
        """Encrypt what a browser keeps while somebody logs in."""
        ...

    def open(self, sealed: str) -> str | None:
        """Decrypt it; None when we did not seal it."""
        ...

    async def use_once(self, state: str) -> bool:
        """Whether a state is used for the first time."""
        ...

    async def admit(
        self, issuer: str, subject: str, name: str, granted: Granted, request_id: str = ...
    ) -> Actor:
        """Give the operator of a subject, made if there is none, with the role granted now.

        Raises NoRole for a team that is not there, LoginRefused when the operator was revoked.
        """
        ...

    async def dismiss(self, issuer: str, subject: str, request_id: str = ...) -> str | None:
        """End all logins of a subject that has no role any more; gives its operator's id."""
        ...
