"""The OpenID Connect issuer that the settings name, if they name one."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from gateway.domain.oidc import is_reachable
from gateway.egress.clients import issuer_client
from gateway.settings import PREFIX, Settings, SettingsError

if TYPE_CHECKING:
    from gateway.egress.issuer import HttpIssuer

_ONLY_WITH = ("client_id", "client_secret", "roles", "ca_file")


def open_issuer(settings: Settings, stack: AsyncExitStack) -> HttpIssuer | None:
    """Give the issuer, whose client the stack closes; None without one. Raises SettingsError."""
    problems = list(_problems(settings))
    if problems:
        raise SettingsError(f"{PREFIX}OIDC_{name.upper()}: {what}" for name, what in problems)
    name, client_id = settings.oidc_issuer, settings.oidc_client_id
    if name is None or client_id is None:
        return None
    # What reads tokens takes 2 MiB, which a process without an issuer is spared.
    from gateway.egress.issuer import HttpIssuer  # noqa: PLC0415 - and so loaded late

    client = issuer_client(name, settings.oidc_ca_file)
    stack.push_async_callback(client.aclose)
    secret = settings.oidc_client_secret
    return HttpIssuer(
        client,
        name,
        client_id,
        secret.get_secret_value() if secret else None,
        settings.oidc_scopes,
        allow_http=settings.oidc_allow_http,
    )


def _problems(settings: Settings) -> list[tuple[str, str]]:
    if settings.oidc_issuer is None:
        return [
            (name, f"has no meaning without {PREFIX}OIDC_ISSUER")
            for name in _ONLY_WITH
            if getattr(settings, f"oidc_{name}")
        ]
    found = []
    if not is_reachable(settings.oidc_issuer, allow_http=settings.oidc_allow_http):
        legal = f"must be an https URL, or with {PREFIX}OIDC_ALLOW_HTTP one on this machine"
        found.append(("issuer", legal))
    if settings.oidc_client_id is None:
        found.append(("client_id", f"is needed with {PREFIX}OIDC_ISSUER"))
    if not settings.oidc_roles:
        found.append(("roles", "is needed: without it nobody has a role (group=role, …)"))
    return found
