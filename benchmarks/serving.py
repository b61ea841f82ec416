"""Serving an ASGI application as production does: uvicorn, uvloop, httptools, no access log."""

from __future__ import annotations

from typing import Any

import uvicorn


def serve(app: Any, port: int, *, certificate: str | None = None, lifespan: str = "off") -> None:
    """Serve on the loopback interface until SIGTERM."""
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        lifespan=lifespan,
        ws="none",
        backlog=4096,
        ssl_certfile=certificate,
    )
