"""Health, readiness, metrics, stored pictures and the API's own documentation."""

from __future__ import annotations

import asyncio
import re
from importlib.resources import files

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from gateway.app.core import Core, Probe
from gateway.http.metrics import REGISTRY, show, show_upstreams

PROBE_TIMEOUT_S = 2.0
_ASSET_NAME = re.compile(r"([0-9a-f]{40})\.png\Z")
_DOCS = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><title>Image Gateway API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/static/swagger-ui.css">
</head>
<body>
<div id="ui"></div>
<script src="docs/static/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "openapi.json", dom_id: "#ui", docExpansion: "list",
  persistAuthorization: true, validatorUrl: null});</script>
</body>
</html>
"""


def ops_routes(core: Core, draining: asyncio.Event) -> list[BaseRoute]:
    """Give the operational routes. ``draining`` turns readiness off before a shutdown."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        checks = {name: await _check(probe) for name, probe in core.probes.items()}
        ready = checks.get("postgres") == "ok" and not draining.is_set()
        body = {"ready": ready, "draining": draining.is_set(), "checks": checks}
        return JSONResponse(body, 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        show(await core.readings.read())
        show_upstreams(await core.upstreams.standings())
        return Response(generate_latest(REGISTRY) + core.counted(), media_type=CONTENT_TYPE_LATEST)

    async def asset(request: Request) -> Response:
        match = _ASSET_NAME.match(request.path_params["name"])
        found = await core.assets.get(match[1]) if match else None
        if found is None:
            error = {"message": "There is no such picture (any more).", "code": "asset_not_found"}
            return JSONResponse({"error": {**error, "type": "not_found_error"}}, 404)
        content, media_type = found
        headers = {
            "cache-control": "private, max-age=3600, immutable",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'none'",
        }
        return Response(content, media_type=media_type, headers=headers)

    async def docs(_: Request) -> Response:
        return HTMLResponse(_DOCS)

    static = files("fastapi_offline") / "static"
    return [
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/assets/{name}", asset),
        Route("/docs", docs),
        Mount("/docs/static", StaticFiles(directory=str(static))),
    ]


async def _check(probe: Probe) -> str:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await probe()
    except TimeoutError:
        return "timeout"
    except Exception as error:  # noqa: BLE001 - any failure of an engine means "not ready"
        return type(error).__name__
    return "ok"
