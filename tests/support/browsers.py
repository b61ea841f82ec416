"""What a browser does with the console's API: it keeps a cookie, and sends a token with writes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from argon2 import PasswordHasher

from gateway.domain.administration import Role
from tests.support.stack import Stack

SESSION = "/admin/v1/session"
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Browser:
    """A client with cookies of its own, at an address of its own."""

    client: httpx.AsyncClient
    address: str
    csrf: str = ""
    seen: list[httpx.Response] = field(default_factory=list)

    async def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> httpx.Response:
        """Call `/admin/v1` as a page of ours does."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = {"x-forwarded-for": self.address, "x-csrf-token": self.csrf, **named}
        encoded = [(name.encode(), value.encode()) for name, value in sent.items()]
        path = path if path.startswith(("/admin", "http")) else f"/admin/v1{path}"
        answer = await self.client.request(method, path, json=body, headers=encoded)
        self.seen.append(answer)
        return answer

    async def log_in(self, name: str, password: str) -> httpx.Response:
        """Log in with a password."""
        return await self._log_in({"name": name, "password": password})

    async def log_in_with_key(self, key: str) -> httpx.Response:
        """Log in with the admin key."""
        return await self._log_in({"admin_key": key})

    async def _log_in(self, body: dict[str, str]) -> httpx.Response:
        answer = await self.call("POST", SESSION, body)
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf_token"]
        return answer

    @property
    def token(self) -> str:
        """The cookie's value, "" without one."""
        return self.client.cookies.get("igw-session") or ""


@asynccontextmanager
async def browser(stack: Stack, address: str = "127.0.0.1") -> AsyncIterator[Browser]:
    """Open a browser without cookies until the block ends."""
    async with httpx.AsyncClient(
        base_url=stack.url, timeout=30, trust_env=False, event_hooks=stack.client.event_hooks
    ) as client:
        yield Browser(client, address)


async def operator(stack: Stack, role: Role, name: str, password: str) -> str:
    """Make an operator whose password is hashed so quickly that a test may check many."""
    stack.gateway.core.admin.logins._passwords._hasher = QUICK  # type: ignore[attr-defined]
    admin = stack.gateway.core.admin
    made, _ = await admin.operators.create_operator(name, role)
    await admin.logins.set_password(made.id, password)
    return made.id
