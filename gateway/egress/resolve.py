"""Host look-ups off the event loop, on threads of their own.

Callers choose the names that are looked up, so a slow name server must not be able to occupy the
threads that the rest of the process shares.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

AddrInfo = tuple[int, int, int, str, tuple[Any, ...]]
GetAddrInfo = Callable[..., Sequence[AddrInfo]]

_THREADS = 16


class Lookup:
    """Finds the addresses of a host name; one per client, closed with it."""

    def __init__(self, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self._getaddrinfo = getaddrinfo
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lookup")

    async def addresses(self, host: str, port: int, family: int = 0) -> tuple[str, ...]:
        """Give every address of a name as text. Raises OSError when it does not resolve."""
        infos = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._look_up, host, port, family
        )
        return tuple(dict.fromkeys(str(info[4][0]) for info in infos))

    def _look_up(self, host: str, port: int, family: int) -> Sequence[AddrInfo]:
        try:
            return self._getaddrinfo(
                host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
            )
        except UnicodeError as error:
            raise OSError("the host name cannot be encoded") from error

    def close(self) -> None:
        """Let the threads end; a look-up in progress is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
