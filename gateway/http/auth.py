"""Who calls: the bearer key of a request, judged before its body is read."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.app.ports import KeyStore
from gateway.domain.access import Principal
from gateway.domain.errors import AuthenticationFailed

KEY_MAX = 200


def key_of(headers: Mapping[str, str]) -> str:
    """Give the key text of ``Authorization: Bearer …`` or ``x-api-key``.

    Raises AuthenticationFailed when there is none. The text is never repeated in an error.
    """
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and value.strip():
        return value.strip()
    if key := headers.get("x-api-key", "").strip():
        return key
    raise AuthenticationFailed("Send an API key: Authorization: Bearer sk-igw-…")


async def authenticate(keys: KeyStore, headers: Mapping[str, str]) -> Principal:
    """Give whom the request acts for. Raises AuthenticationFailed."""
    text = key_of(headers)
    principal = await keys.principal(text) if len(text) <= KEY_MAX else None
    if principal is None:
        raise AuthenticationFailed("The API key is not valid, has expired or was revoked.")
    return principal
