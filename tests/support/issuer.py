"""An OpenID Connect issuer on loopback: it signs real tokens, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_urlsafe
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT_ID = "image-gateway"
CLIENT_SECRET = "canary+client/secret"
Signer = Callable[[dict[str, Any]], str]


@dataclass
class Key:
    """A key pair as the issuer publishes it."""

    kid: str
    private: Any
    algorithm: str = "RS256"

    def public(self) -> dict[str, Any]:
        """Give the published half."""
        to_jwk = RSAAlgorithm.to_jwk if self.algorithm == "RS256" else ECAlgorithm.to_jwk
        jwk: dict[str, Any] = to_jwk(self.private.public_key(), as_dict=True)
        return {**jwk, "kid": self.kid, "use": "sig", "alg": self.algorithm}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """Give a token."""
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.kid, **header})


def rsa_key(kid: str, bits: int = 2048) -> Key:
    """Make an RSA key."""
    return Key(kid, rsa.generate_private_key(65537, bits))


def ec_key(kid: str) -> Key:
    """Make a key on P-256."""
    return Key(kid, ec.generate_private_key(ec.SECP256R1()), "ES256")


@dataclass
class FakeIssuer:
    """Who logs in is ``claims``; everybody is let in without being asked.

    ``sign`` makes the token of claims, ``document`` changes the discovery document, ``answers``
    replaces what is answered at a path.
    """

    url: str
    keys: list[Key]
    claims: dict[str, Any] = field(
        default_factory=lambda: {"sub": "u-1", "preferred_username": "ada", "groups": ["platform"]}
    )
    sign: Signer | None = None
    document: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, Callable[[Request], Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    forms: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Give the variables of a gateway whose operators log in here."""
        return {
            "GATEWAY_OIDC_ISSUER": self.url,
            "GATEWAY_OIDC_CLIENT_ID": CLIENT_ID,
            "GATEWAY_OIDC_CLIENT_SECRET": CLIENT_SECRET,
            "GATEWAY_OIDC_ROLES": "platform=admin",
            "GATEWAY_OIDC_ALLOW_HTTP": "true",
        }

    async def serve(self, request: Request) -> Response:
        """Answer one request."""
        path = request.url.path
        self.asked.append(path)
        if path in self.answers:
            answered: Response = await self.answers[path](request)
            return answered
        return await {
            "/.well-known/openid-configuration": self._discovery,
            "/authorize": self._authorize,
            "/token": self._token,
            "/jwks": self._jwks,
        }[path](request)

    async def _discovery(self, request: Request) -> Response:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize?tenant=1",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
        }
        return JSONResponse({**document, **self.document})

    async def _authorize(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        assert asked["tenant"] == "1"
        code = token_urlsafe(16)
        self.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"], "session_state": "x"})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: value[0] for name, value in parse_qs((await request.body()).decode()).items()}
        self.forms.append({**form, "authorization": request.headers.get("authorization", "")})
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            asked is None
            or asked["redirect_uri"] != form["redirect_uri"]
            or asked["code_challenge"] != challenge
        ):
            return JSONResponse({"error": "invalid_grant"}, 400)
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        token = self.sign(claims) if self.sign else self.keys[0].sign(claims)
        self.tokens.append(token)
        return JSONResponse({"id_token": token, "access_token": "any", "token_type": "Bearer"})

    async def _jwks(self, request: Request) -> Response:
        return JSONResponse({"keys": [key.public() for key in self.keys]})


def unsigned(claims: dict[str, Any]) -> str:
    """Give a token with the algorithm none."""
    return jwt.encode(claims, None, "none")


def signed_with_the_public_key(key: Key) -> Signer:
    """Give a signer whose HMAC secret is what everybody can read: the published key."""

    def sign(claims: dict[str, Any]) -> str:
        def part(value: object) -> str:
            return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

        import hmac

        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        pem = key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        head = f"{part({'alg': 'HS256', 'kid': key.kid})}.{part(claims)}"
        mark = base64.urlsafe_b64encode(hmac.digest(pem, head.encode(), "sha256")).decode()
        return f"{head}.{mark.rstrip('=')}"

    return sign


@asynccontextmanager
async def issuer() -> AsyncIterator[FakeIssuer]:
    """Serve an issuer until the block ends."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    fake = FakeIssuer(f"http://127.0.0.1:{listener.getsockname()[1]}", [rsa_key("k1")])
    route = Route("/{path:path}", fake.serve, methods=["GET", "POST"])
    config = uvicorn.Config(
        Starlette(routes=[route]), log_config=None, access_log=False, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = asyncio.create_task(server._serve([listener]))
    try:
        yield fake
    finally:
        server.should_exit = True
        server.force_exit = True
        await serving


def parameters(address: str) -> dict[str, str]:
    """Give the query of an address."""
    return {name: value[0] for name, value in parse_qs(urlsplit(address).query).items()}
