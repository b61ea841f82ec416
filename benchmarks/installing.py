"""Peers of the gateway, each installed in an environment of its own under `.bench/`.

Versions are pinned here; where packages come from is what pip and npm are configured with.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.subjects import ROOT, Missing

FOLDER = ROOT / ".bench"
LITELLM = ("litellm", "1.108.7")
# Its own image has these too; without them each of its calls fails the same import anew.
LITELLM_ALSO = tuple(f"opentelemetry-{part}==1.45.1" for part in ("api", "sdk", "exporter-otlp"))
PORTKEY = ("@portkey-ai/gateway", "1.15.2")
NODE = "node"
NPM = "npm"
TIMEOUT_S = 900
MARKER = ".installed"

# Nothing leaves the machine: no proxy before the vendor, no price list fetched at start.
ENVIRONMENT: Mapping[str, str] = {
    **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "NODE_ENV": "production",
}


@dataclass(frozen=True, slots=True)
class Installed:
    """A peer on disk: its name with its version, and its folder."""

    name: str
    folder: Path


def litellm() -> Installed:
    """Install LiteLLM's proxy. Raises Missing with the reason when that fails."""
    package, version = LITELLM
    folder = FOLDER / "litellm"
    python, uv = folder / "bin" / "python", Path(sys.executable).parent / "uv"
    wanted = (f"{package}[proxy]=={version}", *LITELLM_ALSO)
    if _is_there(folder, *wanted):
        return Installed(f"LiteLLM {version}", folder)
    run([sys.executable, "-m", "venv", "--clear", str(folder)])
    # uv is only for speed; wherever it cannot work, pip does the same.
    quick = [str(uv), "pip", "install", "--quiet", "--system-certs", "--compile-bytecode"]
    try:
        run([*quick, "--python", str(python), *wanted])
    except Missing:
        run([str(python), "-m", "pip", "install", "--quiet", "--compile", *wanted])
    _mark(folder, *wanted)
    return Installed(f"LiteLLM {version}", folder)


def portkey() -> Installed:
    """Install Portkey's gateway. Raises Missing with the reason when that fails."""
    package, version = PORTKEY
    folder = FOLDER / "portkey"
    for program in (NODE, NPM):
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed")
    wanted = f"{package}@{version}"
    if not _is_there(folder, wanted):
        folder.mkdir(parents=True, exist_ok=True)
        plain = ["--no-save", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        run([NPM, "install", "--prefix", str(folder), *plain, wanted])
        _mark(folder, wanted)
    return Installed(f"Portkey {version}", folder)


def run(argv: Sequence[str]) -> None:
    """Run an installer to its end. Raises Missing with what it said last."""
    try:
        done = subprocess.run(  # noqa: S603 - programs we name
            argv, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Missing(f"cannot be installed: {error}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())
        raise Missing(f"cannot be installed: {said[-300:]}")


def _is_there(folder: Path, *wanted: str) -> bool:
    marker = folder / MARKER
    return marker.is_file() and marker.read_text() == _text(folder, wanted)


def _mark(folder: Path, *wanted: str) -> None:
    (folder / MARKER).write_text(_text(folder, wanted))


def _text(folder: Path, wanted: Sequence[str]) -> str:
    # An environment holds absolute paths: one that was moved is made anew.
    return " ".join((*wanted, str(folder)))
