"""Logging in at an issuer: authorization code with PKCE, once, by the browser that began it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

from gateway.app.login import STRANGERS, LogIn, Whence
from gateway.app.ports import Clock
from gateway.app.ports.oidc import Issuer, Subjects
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.login import LoginRefused, Session, Verified
from gateway.domain.oidc import (
    BEGUN_MS,
    OIDC_METHOD,
    Granted,
    NoRole,
    error_word,
    granted_to,
    is_safe_path,
    name_of,
    subject_of,
)

RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What the issuer sent a browser back with, and what the browser kept since it began."""

    kept: str
    state: str
    code: str
    error: str
    issuer: str


@dataclass(frozen=True, slots=True)
class OidcLogin:
    """Sends browsers to the issuer and admits who comes back."""

    issuer: Issuer
    subjects: Subjects
    log_in: LogIn
    clock: Clock
    claim: str
    roles: tuple[Granted, ...]

    async def begin(self, redirect_uri: str, back_to: str) -> tuple[str, str]:
        """Give where to log in, and what the browser must keep until it is back.

        Raises InvalidRequest for a way back that leads elsewhere, IssuerUnavailable.
        """
        if not is_safe_path(back_to):
            legal = "a path of this gateway, such as /admin/v1/session"
            raise InvalidRequest(Problem("next", "next leads somewhere else.", legal=legal))
        state, nonce, verifier = (token_urlsafe(RANDOM_BYTES) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        address = await self.issuer.address(
            {
                "redirect_uri": redirect_uri,
                "state": state,
                "nonce": nonce,
                "code_challenge": challenge.decode().rstrip("="),
                "code_challenge_method": "S256",
            }
        )
        until_ms = self.clock.now_ms() + BEGUN_MS
        kept = {"s": state, "n": nonce, "v": verifier, "p": back_to, "t": until_ms}
        return address, self.subjects.seal(json.dumps(kept))

    async def finish(
        self, answer: Answer, redirect_uri: str, whence: Whence
    ) -> tuple[Session, str, str]:
        """Give the new session, its token and the way back.

        Raises LoginRefused, NoRole, RateLimited, IssuerUnavailable.
        """
        taken = [await self.log_in.take_of_address(whence)]
        subject = STRANGERS
        try:
            kept = self._kept(answer)
            if not await self.subjects.use_once(answer.state):
                raise LoginRefused("This login was finished before; begin again.")
            claims = await self.issuer.claims(answer.code, kept["v"], redirect_uri)
            who = subject_of(claims, self.issuer.client_id, kept["n"])
            granted = granted_to(claims, self.claim, self.roles)
            if granted is None:
                known = await self.subjects.dismiss(self.issuer.name, who, whence.request_id)
                subject = known or STRANGERS
                raise NoRole
            actor = await self.subjects.admit(
                self.issuer.name, who, name_of(claims, who), granted, whence.request_id
            )
        except (LoginRefused, NoRole):
            self.log_in.tell(subject, OIDC_METHOD, whence)
            raise
        opened = await self.log_in.open(Verified(actor), OIDC_METHOD, whence, taken)
        return *opened, str(kept["p"])

    def _kept(self, answer: Answer) -> dict[str, Any]:
        """Give what the browser kept, once the answer is one to it."""
        opened = self.subjects.open(answer.kept) if answer.kept else None
        kept: dict[str, Any] = json.loads(opened) if opened else {"s": "", "t": 0}
        is_ours = hmac.compare_digest(kept["s"].encode(), answer.state.encode())
        if not opened or not is_ours or self.clock.now_ms() >= kept["t"]:
            raise LoginRefused("This login was not begun in this browser lately; begin again.")
        if answer.issuer and answer.issuer != self.issuer.name:
            raise LoginRefused("Another issuer answered.")
        if answer.error:
            raise LoginRefused(f"The issuer did not let you in ({error_word(answer.error)}).")
        if not answer.code:
            raise LoginRefused("The issuer sent no code.")
        return kept
