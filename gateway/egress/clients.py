"""The HTTP clients: one per upstream, for callbacks, pictures that callers name, the issuer.

All of them: no proxy or other setting from the environment, no redirects, no cookies, no
compression asked for, no retry of a POST.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx

from gateway import __version__
from gateway.app.ports import HttpAnswer
from gateway.domain.address import NO_HOSTS, AllowedHosts
from gateway.domain.callback import TIMEOUT_S
from gateway.domain.model import Upstream
from gateway.egress.guard import Exemption, Listed, OwnHost
from gateway.egress.resolve import Lookup
from gateway.egress.transport import GuardedTransport

USER_AGENT = f"image-gateway/{__version__}"
CONNECT_S = 5.0
POOL_S = 5.0
# Shorter than the 5 s after which common servers drop an idle connection: a paid POST must not
# race with that close, since its outcome would be unknown.
KEEPALIVE_S = 4.0
# As many as a worker visits tasks at once: a call that blocks until the pictures are there must not
# wait for another's to end.
UPSTREAM_CONNECTIONS_MAX = 4096
CALLBACK_CONNECTIONS_MAX = 512
FETCH_CONNECTIONS_MAX = 64
FETCH_READ_S = 20.0
ISSUER_S = 10.0
ISSUER_CONNECTIONS_MAX = 16


class GuardedClient(httpx.AsyncClient):
    """An httpx client over the guarded transport, and a shorter way through it.

    httpx's records and layers (logging in, redirects, cookies, hooks) cost several times what a
    small exchange does, and none of these clients has any of them.
    """

    def __init__(self, transport: GuardedTransport, **options: Any) -> None:
        """Take the transport, and httpx's own options."""
        super().__init__(transport=transport, **options)
        self._guarded = transport
        self._usual_headers = dict(self.headers)
        self._usual_times = self.timeout.as_dict()

    def opened(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        times: Mapping[str, float | None] | None = None,
    ) -> AbstractAsyncContextManager[HttpAnswer]:
        """Send a request and give its answer (port `HttpClient`)."""
        if self.is_closed:
            raise httpx.ConnectError("the client is closed")
        usual = self._usual_times if times is None else times
        return self._guarded.opened(method, url, {**self._usual_headers, **headers}, body, usual)


def upstream_client(upstream: Upstream, lookup: Lookup | None = None) -> GuardedClient:
    """Make the client of one upstream, relative to its ``base_url``.

    Private addresses are refused unless ``allow_private``, and then only its own host is exempt.
    """
    lookup = lookup or Lookup()
    host = httpx.URL(upstream.base_url).raw_host.decode("ascii")
    exemption = OwnHost(host, lookup) if upstream.allow_private else Listed(NO_HOSTS)
    answer_s = upstream.submit_timeout_ms / 1000
    return _client(
        lookup,
        exemption,
        _tls(None),
        timeout=httpx.Timeout(answer_s, connect=CONNECT_S, pool=POOL_S),
        connections_max=UPSTREAM_CONNECTIONS_MAX,
        base_url=upstream.base_url,
    )


def callback_client(
    allowed_hosts: Iterable[str] = (),
    ca_file: Path | str | None = None,
    lookup: Lookup | None = None,
) -> GuardedClient:
    """Make the client for callbacks. ``ca_file`` (PEM) is trusted beside the usual authorities."""
    return _client(
        lookup or Lookup(),
        Listed(AllowedHosts.of(allowed_hosts)),
        _tls(str(ca_file) if ca_file else None),
        timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S, pool=POOL_S),
        connections_max=CALLBACK_CONNECTIONS_MAX,
    )


def issuer_client(
    issuer: str, ca_file: Path | str | None = None, lookup: Lookup | None = None
) -> httpx.AsyncClient:
    """Make the client of an OpenID Connect issuer, whose own host may be inside the network."""
    lookup = lookup or Lookup()
    return _client(
        lookup,
        OwnHost(httpx.URL(issuer).raw_host.decode("ascii"), lookup),
        _tls(str(ca_file) if ca_file else None),
        timeout=httpx.Timeout(ISSUER_S, connect=CONNECT_S, pool=POOL_S),
        connections_max=ISSUER_CONNECTIONS_MAX,
    )


def fetch_client(allowed_hosts: Iterable[str] = (), lookup: Lookup | None = None) -> GuardedClient:
    """Make the client that downloads pictures from addresses callers and vendors name."""
    return _client(
        lookup or Lookup(),
        Listed(AllowedHosts.of(allowed_hosts)),
        _tls(None),
        timeout=httpx.Timeout(FETCH_READ_S, connect=CONNECT_S, pool=POOL_S),
        connections_max=FETCH_CONNECTIONS_MAX,
    )


def _client(
    lookup: Lookup,
    exemption: Exemption,
    tls: ssl.SSLContext,
    *,
    timeout: httpx.Timeout,
    connections_max: int,
    base_url: str = "",
) -> GuardedClient:
    limits = httpx.Limits(max_connections=connections_max, keepalive_expiry=KEEPALIVE_S)
    return GuardedClient(
        GuardedTransport(lookup, exemption, tls, limits),
        timeout=timeout,
        base_url=base_url,
        headers={"user-agent": USER_AGENT, "accept-encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
        follow_redirects=False,
        trust_env=False,
    )


@lru_cache(maxsize=8)
def _tls(ca_file: str | None) -> ssl.SSLContext:
    """Trust the system's and certifi's authorities and, if given, one file more."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context
