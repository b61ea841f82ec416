"""The cookie of a login, and which requests of a browser are taken for our own pages'.

Over https the cookie is `__Host-` and Secure: no other host, and nobody on the way, can set or read
it. Plain http is for the browser's own machine alone, under a name of its own: what is set there
says nothing anywhere else. At any other address nobody can log in without https.
"""

from __future__ import annotations

from starlette.requests import Request

from gateway.domain.login import ForeignRequest, is_loopback, is_own, origin_of

COOKIE = "igw-session"
SECURE_COOKIE = f"__Host-{COOKIE}"
CSRF_HEADER = "X-CSRF-Token"
TOKEN_MAX = 200


def is_https(request: Request, public_url: str | None) -> bool:
    """Whether the browser came by https: by the request, or because our public address is that."""
    return request.url.scheme == "https" or (public_url or "").startswith("https:")


def session_token(request: Request, public_url: str | None) -> str:
    """Give the token of the login a request is made by, "" without one that may count here."""
    if is_https(request, public_url):
        return request.cookies.get(SECURE_COOKIE, "")[:TOKEN_MAX]
    if is_loopback(request.headers.get("host", "")):
        return request.cookies.get(COOKIE, "")[:TOKEN_MAX]
    return ""


def require_private(request: Request, public_url: str | None) -> None:
    """Raise ForeignRequest where a login would cross a network in plain text."""
    if not is_https(request, public_url) and not is_loopback(request.headers.get("host", "")):
        raise ForeignRequest(
            "Log in over https (set GATEWAY_PUBLIC_URL where a proxy ends it), or at a loopback "
            "address of the same machine."
        )


def require_own(request: Request, public_url: str | None) -> None:
    """Raise ForeignRequest when a browser says that another site sent a request."""
    headers = request.headers
    own = {origin_of(f"{request.url.scheme}://{headers.get('host', '')}")}
    if public_url is not None:
        own.add(origin_of(public_url))
    if not is_own(headers.get("sec-fetch-site", ""), headers.get("origin", ""), own):
        raise ForeignRequest("Another site sent this request.")


def cookie_name(request: Request, public_url: str | None, name: str = COOKIE) -> str:
    """Give what a cookie is called where this request came."""
    return f"__Host-{name}" if is_https(request, public_url) else name


def set_cookie(
    request: Request, public_url: str | None, value: str, seconds: int, name: str = COOKIE
) -> str:
    """Give the Set-Cookie header of a login, or of another cookie; 0 seconds take it away."""
    end = "; Secure" if is_https(request, public_url) else ""
    name = cookie_name(request, public_url, name)
    # Lax and not Strict: after a login elsewhere (OIDC) the browser comes back from another site.
    return f"{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{end}"
