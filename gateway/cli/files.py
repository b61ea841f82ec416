"""Files the commands keep in the data directory."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.settings import Settings


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text + "\n")


def demo_config(settings: Settings) -> Path:
    """Give where the demo's `gateway.toml` is, whether or not it was made."""
    return settings.data_dir / "demo" / "gateway.toml"


def config_in_use(settings: Settings) -> Path | None:
    """Give the configured `gateway.toml`, else the demo's if there is one."""
    if settings.config is not None:
        return settings.config
    demo = demo_config(settings)
    return demo if demo.exists() else None
