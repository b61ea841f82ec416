"""What becomes of delivered pictures: inline bytes are kept, links too when a store is on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from secrets import token_hex

import structlog

from gateway.app.ports import AssetStore, Clock, FetchFailed, ImageFetcher
from gateway.domain.errors import StoreUnavailable
from gateway.domain.task import Attempt, Image, Task
from gateway.domain.upstream import UpstreamImage

log = structlog.get_logger(__name__)

RESULT_BYTES_MAX = 64 * 1024 * 1024
# Bytes that came inline exist nowhere else: a database may take its time to come back.
PUT_TRIES = 240
ASSET_PATH = "/assets/"


@dataclass(frozen=True, slots=True)
class ResultKeeper:
    """Turns an upstream's pictures into the task's pictures.

    ``rehost`` copies vendor links into the asset store too; if that fails the vendor's link
    stays. Pictures that came as bytes always go to the store: there is no other copy.
    """

    assets: AssetStore
    fetcher: ImageFetcher
    clock: Clock
    rehost: bool
    ttl_ms: int

    async def keep(
        self, task: Task, attempt: Attempt, images: tuple[UpstreamImage, ...]
    ) -> tuple[Image, ...]:
        """Give one Image per picture, in order. Links of our own start with ``/assets/``."""
        return tuple([await self._keep_one(task, attempt, image) for image in images])

    async def _keep_one(self, task: Task, attempt: Attempt, image: UpstreamImage) -> Image:
        content, media_type = image.content, image.media_type or "image/png"
        if content is None and self.rehost and image.url:
            try:
                fetched = await self.fetcher.fetch(
                    image.url, bytes_max=RESULT_BYTES_MAX, upstream=attempt.upstream
                )
                content, media_type = fetched.content, fetched.media_type
            except FetchFailed as error:
                log.warning("rehost_failed", task_id=task.id, reason=str(error))
        if content is None:
            return Image(image.url or "", image.expires_at, image.revised_prompt, image.media_type)
        url = await self._store(content, media_type)
        expires_at = (self.clock.now_ms() + self.ttl_ms) // 1000
        return Image(url, expires_at, image.revised_prompt, media_type)

    async def _store(self, content: bytes, media_type: str) -> str:
        """Store bytes under a new unguessable id; a database restart is waited out."""
        asset_id = token_hex(20)
        expires_ms = self.clock.now_ms() + self.ttl_ms
        for tries_left in range(PUT_TRIES - 1, -1, -1):
            try:
                await self.assets.put(asset_id, content, media_type, expires_ms)
                break
            except StoreUnavailable:
                if not tries_left:
                    raise
                await asyncio.sleep(1)
        return f"{ASSET_PATH}{asset_id}.png"
