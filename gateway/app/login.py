"""Who logs in: failures are counted by name and by address before anything is looked at."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from gateway.app.ports import KeyLimits
from gateway.app.ports.login import Logins
from gateway.domain.administration import ADMIN_KEY, Ask
from gateway.domain.errors import InUse, InvalidRequest, Problem, RateLimited, Unavailable
from gateway.domain.limits import Limit, Taken
from gateway.domain.login import (
    ADMIN_KEY_METHOD,
    OF_ADDRESS,
    OF_NAME,
    PASSWORD_METHOD,
    TOLD,
    LoginRefused,
    Session,
    SessionRules,
    Verified,
    check_password,
)

log = structlog.get_logger(__name__)

STRANGERS = "unknown"


@dataclass(frozen=True, slots=True)
class Whence:
    """Where a login comes from: ``sender_of`` its address, and the token it replaces."""

    sender: str
    replaces: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class LogIn:
    """Opens sessions. A login counts as failed until it has succeeded, so none slips through."""

    logins: Logins
    limits: KeyLimits
    is_admin_key: Callable[[str], bool]
    rules: SessionRules
    _telling: set[asyncio.Task[None]] = field(default_factory=set)

    async def by_password(self, name: str, password: str, whence: Whence) -> tuple[Session, str]:
        """Give a new session and its token. Raises LoginRefused, RateLimited, Unavailable."""
        taken = await self._take_both(name, whence)
        found = await self.logins.verified(name, password)
        if found is None:
            self.tell(name, PASSWORD_METHOD, whence, is_name=True)
            raise LoginRefused
        return await self.open(found, PASSWORD_METHOD, whence, taken)

    async def change_password(
        self, session: Session, current: str, password: str, whence: Whence
    ) -> int:
        """Give whoever is logged in another password; gives how many other logins that ended.

        A wrong ``current`` counts as a failed login: a browser that was left open guesses no more
        than a stranger. Raises InUse for a login without a password, InvalidRequest, RateLimited,
        LoginRefused, Unavailable.
        """
        actor = session.actor
        if session.method != PASSWORD_METHOD:
            raise InUse("Only who logged in with a password can change it here.")
        check_password(password, actor.name)
        if password == current:
            message = "The new password is the current one."
            raise InvalidRequest(Problem("password", message, legal="anything else"))
        taken = await self._take_both(actor.name, whence)
        found = await self.logins.verified(actor.name, current)
        if found is None or found.actor.id != actor.id:
            self.tell(actor.id, PASSWORD_METHOD, whence)
            message = "This is not your password."
            legal = "the password you log in with"
            raise InvalidRequest(Problem("current_password", message, legal=legal))
        ask = Ask(actor, whence.request_id)
        ended = await self.logins.change_password(session, found, password, ask)
        await self._give_back(taken)
        return ended

    async def by_admin_key(self, key: str, whence: Whence) -> tuple[Session, str]:
        """Give a new session of the admin key. Raises LoginRefused, RateLimited, Unavailable.

        Failures count by address alone: nobody can lock its owner out.
        """
        taken = [await self.take_of_address(whence)]
        if not self.is_admin_key(key):
            self.tell(ADMIN_KEY.id, ADMIN_KEY_METHOD, whence)
            raise LoginRefused("This is not the admin key.")
        return await self.open(Verified(ADMIN_KEY), ADMIN_KEY_METHOD, whence, taken)

    async def open(
        self, who: Verified, method: str, whence: Whence, taken: list[tuple[str, Taken]]
    ) -> tuple[Session, str]:
        """Give a new session and its token, and give back what counted as a failure."""
        opened = await self.logins.open(
            who, method, whence.sender, replaces=whence.replaces, request_id=whence.request_id
        )
        await self._give_back(taken)
        return opened

    async def _take_both(self, name: str, whence: Whence) -> list[tuple[str, Taken]]:
        taken = [await self.take_of_address(whence)]
        try:
            taken.append(await self._take_of_name(name, whence.sender))
        except RateLimited:
            await self._give_back(taken)
            raise
        return taken

    async def _take_of_name(self, name: str, sender: str) -> tuple[str, Taken]:
        """Count a login for a name; addresses its operator came from lately count apart.

        So whoever uses up a name's failures from elsewhere keeps nobody out for good.
        """
        counted = hashlib.sha256(name.encode()).hexdigest()[:32]
        try:
            return await self._take(f"name:{counted}", OF_NAME)
        except RateLimited:
            if not await self.logins.is_known(name, sender):
                raise
        return await self._take(f"name:{counted}:{sender}", OF_NAME)

    async def _take(self, subject: str, limit: Limit) -> tuple[str, Taken]:
        taken = await self.limits.take(subject, (limit,))
        if taken.refusals:
            wait_s = taken.refusals[0].retry_ms / 1000
            message = f"Too many failed logins; try again in {wait_s:.0f} s."
            raise RateLimited(message, wait_s)
        return subject, taken

    async def _give_back(self, taken: list[tuple[str, Taken]]) -> None:
        for subject, one in taken:
            await self.limits.give_back(subject, one)

    async def take_of_address(self, whence: Whence) -> tuple[str, Taken]:
        """Count a login from an address as failed, until it is given back. Raises RateLimited."""
        return await self._take(f"address:{whence.sender}", OF_ADDRESS)

    def tell(self, subject: str, method: str, whence: Whence, *, is_name: bool = False) -> None:
        """Have a failure audited aside: how long that takes would tell which names there are.

        ``subject`` is the operator's id, or the name that somebody tried.
        """
        task = asyncio.create_task(self._told(subject, method, whence, is_name=is_name))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _told(self, subject: str, method: str, whence: Whence, *, is_name: bool) -> None:
        try:
            if is_name:
                subject = await self.logins.operator_named(subject) or STRANGERS
            if (await self.limits.take(f"login:{subject}", (TOLD,))).refusals:
                return
            await self.logins.refused(subject, method, whence.sender, whence.request_id)
        except Unavailable as error:
            log.warning("login_not_audited", reason=str(error))
