"""Start one engine process: drop root if told to, detach, write the pid, become the engine.

Run as a script by `engine.py` (`python -I -S _launch.py SPEC`), never imported, standard library
only. SPEC is JSON: `argv` of the engine, `uid`/`gid` to become (null: stay), `lock_fd` (an
inherited, already locked descriptor that the engine keeps open for life and that gets its pid;
null: run in the foreground), `needs` (paths the engine must reach).

PostgreSQL refuses to run as root, yet root's checkout often lies under /root, which no other user
may enter. So where the new user cannot reach one of `needs`, it keeps exactly one capability,
CAP_DAC_OVERRIDE, instead of anybody's directory modes being changed.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def become(uid: int, gid: int, needs: list[str]) -> None:
    """Turn this root process into the user `uid`, able to reach every path of `needs`."""
    linux = sys.platform.startswith("linux")
    libc = ctypes.CDLL(None, use_errno=True) if linux else None
    if libc is not None:
        libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if libc is None:
        return
    reachable = all(os.access(path, os.R_OK | os.X_OK) for path in needs)
    keep_capabilities(libc, 0 if reachable else 1 << CAP_DAC_OVERRIDE)


def keep_capabilities(libc: ctypes.CDLL, mask: int) -> None:
    """Reduce this process, and what it executes, to the capabilities in `mask` (first 32 only)."""
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset: root lacks CAP_DAC_OVERRIDE here")
    if mask and libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "cannot keep CAP_DAC_OVERRIDE for the engine")


def main() -> None:
    """Read SPEC from the command line and become the engine."""
    spec = json.loads(sys.argv[1])
    lock_fd = spec["lock_fd"]
    if lock_fd is not None and os.fork() > 0:
        return
    if lock_fd is not None:
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, str(os.getpid()).encode(), 0)
        os.set_inheritable(lock_fd, True)
    if spec["uid"] is not None:
        become(spec["uid"], spec["gid"], spec["needs"])
    argv = spec["argv"]
    os.execv(argv[0], argv)  # noqa: S606 - the engine's own binary, no shell


if __name__ == "__main__":
    main()
