"""An OpenID Connect issuer over HTTPS: discovery, keys, and codes exchanged for claims."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode

import httpx
import jwt
import msgspec
import structlog

from gateway.domain.oidc import IssuerUnavailable, TokenRefused, error_word, is_reachable

log = structlog.get_logger(__name__)

ANSWER_S = 10.0
ANSWER_MAX = 1024 * 1024
# How long what the issuer says of itself is believed, and keys are used without a look.
KNOWN_S = 3_600.0
# A token under a key that is not known has the keys read again, this often at most.
KEYS_PAUSE_S = 10.0
# How far the issuer's clock and ours may be apart.
LEEWAY_S = 60
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")
_KINDS: Mapping[str, Mapping[str, str]] = {
    "RS256": {"kty": "RSA"},
    "ES256": {"kty": "EC", "crv": "P-256"},
}
_REQUIRED = ["iss", "sub", "aud", "exp", "iat", "nonce"]


class HttpIssuer:
    """The configured issuer. What it says is read when needed, and kept for an hour."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        name: str,
        client_id: str,
        secret: str | None,
        scopes: str,
        *,
        allow_http: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a guarded client, the issuer's identifier and who we are there."""
        self._client = client
        self._name = name
        self._client_id = client_id
        self._secret = secret
        self._scopes = scopes
        self._allow_http = allow_http
        self._now_s = now_s
        self._reading = asyncio.Lock()
        self._document: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, list[Mapping[str, Any]]] | None = None

    @property
    def name(self) -> str:
        """The issuer's identifier, exactly as its tokens name it."""
        return self._name

    @property
    def client_id(self) -> str:
        """Who we are at the issuer."""
        return self._client_id

    async def address(self, asked: Mapping[str, str]) -> str:
        """Give where a browser logs in, with what is asked for. Raises IssuerUnavailable."""
        endpoint = str((await self._discovered())["authorization_endpoint"])
        ours = {"response_type": "code", "client_id": self._client_id, "scope": self._scopes}
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode({**ours, **asked})}"

    async def claims(self, code: str, verifier: str, redirect_uri: str) -> Mapping[str, Any]:
        """Give the verified claims that a code stands for.

        Raises TokenRefused, IssuerUnavailable.
        """
        document = await self._discovered()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"accept": "application/json"}
        methods = document.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        if self._secret is None:
            form["client_id"] = self._client_id
        elif "client_secret_basic" in methods:
            pair = f"{quote_plus(self._client_id)}:{quote_plus(self._secret)}"
            headers["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": self._client_id, "client_secret": self._secret}
        request = self._client.build_request(
            "POST", document["token_endpoint"], data=form, headers=headers
        )
        status, body = await self._ask(request)
        if status == 400 and body.get("error") == "invalid_grant":
            raise TokenRefused("The issuer knows of no such login; begin again.")
        if status != 200:
            word = error_word(str(body.get("error", "")))
            raise self._failed(f"the token endpoint answered {status} ({word})")
        token = body.get("id_token")
        if not isinstance(token, str):
            raise self._failed("the token endpoint gave no id_token")
        return await self._verified(token)

    async def _verified(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            kind = _KINDS.get(algorithm)
            if kind is None:
                raise TokenRefused(f"The issuer's token is not signed by {' or '.join(_KINDS)}.")
            key = await self._key(header.get("kid"), kind)
            return jwt.decode(
                token,
                jwt.PyJWK({**key}, algorithm).key,
                algorithms=[algorithm],
                audience=self._client_id,
                issuer=self._name,
                leeway=LEEWAY_S,
                options={"require": _REQUIRED, "enforce_minimum_key_length": True},
            )
        except (jwt.PyJWTError, ValueError) as error:
            log.warning("oidc_token_refused", reason=type(error).__name__)
            raise TokenRefused("The issuer's token is not valid.") from None

    async def _key(self, kid: object, kind: Mapping[str, str]) -> Mapping[str, Any]:
        """Give the key that a token names; keys are read again for one that is not known."""
        for no_older_than_s in (KNOWN_S, KEYS_PAUSE_S):
            found = [
                key
                for key in await self._keys_read(no_older_than_s)
                if (kid is None or key.get("kid") == kid)
                and key.get("use", "sig") == "sig"
                and all(key.get(name) == value for name, value in kind.items())
            ]
            if len(found) == 1:
                return found[0]
        raise TokenRefused("The issuer's token is signed by a key that it does not publish.")

    async def _keys_read(self, no_older_than_s: float) -> list[Mapping[str, Any]]:
        document = await self._discovered()
        async with self._reading:
            if self._keys is None or self._now_s() - self._keys[0] >= no_older_than_s:
                body = await self._get(document["jwks_uri"])
                keys = body.get("keys")
                if not isinstance(keys, list):
                    raise self._failed("jwks_uri gave no keys")
                self._keys = self._now_s(), [key for key in keys if isinstance(key, dict)]
            return self._keys[1]

    async def _discovered(self) -> Mapping[str, Any]:
        async with self._reading:
            if self._document is None or self._now_s() - self._document[0] >= KNOWN_S:
                found = await self._get(
                    f"{self._name.rstrip('/')}/.well-known/openid-configuration"
                )
                if found.get("issuer") != self._name:
                    raise self._failed("its discovery document is of another issuer")
                for name in _ENDPOINTS:
                    if not is_reachable(found.get(name), allow_http=self._allow_http):
                        raise self._failed(f"{name} is no https address")
                self._document = self._now_s(), found
            return self._document[1]

    async def _get(self, url: str) -> Mapping[str, Any]:
        request = self._client.build_request("GET", url, headers={"accept": "application/json"})
        status, body = await self._ask(request)
        if status != 200:
            raise self._failed(f"{request.url.path} answered {status}")
        return body

    async def _ask(self, request: httpx.Request) -> tuple[int, Mapping[str, Any]]:
        """Give the status and the JSON object of an answer, within ANSWER_S and ANSWER_MAX."""
        where, content, status = request.url.path, bytearray(), 0
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._client.send(request, stream=True)
                status = answer.status_code
                try:
                    async for chunk in answer.aiter_raw():
                        content += chunk
                        if len(content) > ANSWER_MAX:
                            raise self._failed(f"{where} answered more than {ANSWER_MAX} bytes")
                finally:
                    await answer.aclose()
            body = msgspec.json.decode(bytes(content))
        except TimeoutError:
            raise self._failed(f"{where} did not answer within {ANSWER_S:g} s") from None
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise self._failed(f"{where}: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise self._failed(f"{where} answered {status} without JSON") from None
        if not isinstance(body, dict):
            raise self._failed(f"{where} answered {status} without a JSON object")
        return status, body

    def _failed(self, reason: str) -> IssuerUnavailable:
        """Tell operators why, and whoever logs in only that."""
        log.warning("oidc_issuer_failed", issuer=self._name, reason=reason)
        return IssuerUnavailable()
