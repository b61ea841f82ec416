"""Picture bytes in an object store (port `AssetStore`): a directory or an S3 bucket.

One object per picture under ``pictures/``: a line with its media type and expiry, then the bytes.
That is one atomic write, and works where a store keeps no attributes (a directory). An empty
object under ``expiry/``, named by time, lets `ObjectAssets.expire` find what is due without
reading every picture.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url

from gateway.app.ports import Clock
from gateway.domain.errors import StoreUnavailable

_ID = re.compile(r"[A-Za-z0-9_-]{8,128}")
_HEAD = re.compile(rb"([a-z0-9.+/-]{1,100}) (\d{1,16})\n")
_HEAD_BYTES = 128
_MARK = re.compile(r"expiry/(\d+)-(.+)")


def open_assets(location: str, clock: Clock) -> ObjectAssets:
    """Open ``file:DIR`` (made if missing) or ``s3://bucket/prefix``.

    S3 is configured by the usual ``AWS_*`` variables, ``AWS_ENDPOINT`` and ``AWS_ALLOW_HTTP``
    among them. Raises ValueError for another form.
    """
    if location.startswith("file:"):
        return ObjectAssets(LocalStore(Path(location.removeprefix("file:")), mkdir=True), clock)
    if location.startswith("s3://"):
        store = from_url(
            location,
            client_options={"timeout": "30s", "connect_timeout": "5s"},
            retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
        )
        return ObjectAssets(store, clock)
    raise ValueError(f"{location!r} is neither file:DIR nor s3://bucket/prefix")


class ObjectAssets:
    """Pictures as objects. Every method raises StoreUnavailable while the store is away."""

    def __init__(self, store: ObjectStore, clock: Clock) -> None:
        """Take the store and the clock that says what is expired."""
        self._store = store
        self._clock = clock

    async def put(self, asset_id: str, content: bytes, media_type: str, expires_ms: int) -> None:
        """Keep a picture until ``expires_ms``. Raises ValueError for an odd id."""
        if not _ID.fullmatch(asset_id):
            raise ValueError(f"{asset_id!r} cannot be an asset id")
        head = f"{media_type} {expires_ms}\n".encode("ascii")
        if not _HEAD.fullmatch(head):
            raise ValueError(f"{media_type!r} until {expires_ms} cannot be kept")
        with _store_errors():
            await obstore.put_async(self._store, f"expiry/{expires_ms:013d}-{asset_id}", b"")
            await obstore.put_async(self._store, _path(asset_id), head + content)

    async def get(self, asset_id: str) -> tuple[bytes, str] | None:
        """Give bytes and media type; None when unknown or expired."""
        if not _ID.fullmatch(asset_id):
            return None
        try:
            with _store_errors():
                found = await obstore.get_async(self._store, _path(asset_id))
                content = bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        media_type, expires_ms, start = _read_head(content)
        return (content[start:], media_type) if expires_ms > self._clock.now_ms() else None

    async def delete(self, asset_ids: Sequence[str]) -> int:
        """Delete pictures; gives how many there were. Their expiry marks go when they are due."""
        deleted = 0
        for asset_id in filter(_ID.fullmatch, asset_ids):
            try:
                with _store_errors():
                    await obstore.head_async(self._store, _path(asset_id))
                    await obstore.delete_async(self._store, _path(asset_id))
            except FileNotFoundError:
                continue
            deleted += 1
        return deleted

    async def expire(self, limit: int) -> int:
        """Delete at most ``limit`` expired pictures; gives how many."""
        deleted = 0
        with _store_errors():
            async for path, expires_ms, asset_id in self._marks():
                if deleted == limit:
                    break
                if expires_ms > self._clock.now_ms():
                    continue
                deleted += await self._delete_expired(asset_id)
                await obstore.delete_async(self._store, path)
        return deleted

    async def _marks(self) -> AsyncIterator[tuple[str, int, str]]:
        async for batch in obstore.list(self._store, prefix="expiry"):
            for entry in batch:
                if mark := _MARK.fullmatch(entry["path"]):
                    yield entry["path"], int(mark[1]), mark[2]

    async def _delete_expired(self, asset_id: str) -> bool:
        """Delete one picture unless a later put has prolonged it."""
        try:
            head = await obstore.get_range_async(
                self._store, _path(asset_id), start=0, end=_HEAD_BYTES
            )
        except FileNotFoundError:
            return False
        if _read_head(bytes(head))[1] > self._clock.now_ms():
            return False
        await obstore.delete_async(self._store, _path(asset_id))
        return True


def _path(asset_id: str) -> str:
    """Give an asset's object name; two directory levels keep directories small."""
    return f"pictures/{asset_id[:2]}/{asset_id}"


def _read_head(content: bytes) -> tuple[str, int, int]:
    """Give media type, expiry and where the picture starts."""
    head = _HEAD.match(content)
    if not head:
        raise StoreUnavailable("The asset store holds an object that is not a picture of ours.")
    return head[1].decode("ascii"), int(head[2]), head.end()


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (BaseError, OSError) as error:
        raise StoreUnavailable("The asset store is away.") from error
