"""Ports and readiness of processes on this machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import Any
from urllib.request import ProxyHandler, build_opener

LOOPBACK = "127.0.0.1"
PAUSE_S = 0.05


def free_port(host: str = LOOPBACK) -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def wait_ready(url: str, timeout_s: float, given_up: Callable[[], bool] = lambda: False) -> bool:
    """Poll ``url``/readyz until it says yes; False when the time is over or ``given_up`` says so.

    Blocking.
    """
    opener = build_opener(ProxyHandler({}))
    ends = time.monotonic() + timeout_s
    while time.monotonic() < ends and not given_up():
        try:
            with opener.open(f"{url}/readyz", timeout=2) as answer:
                body: dict[str, Any] = json.load(answer)
                if body.get("ready"):
                    return True
        except OSError:
            time.sleep(PAUSE_S)
    return False
