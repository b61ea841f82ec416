"""Delivered pictures as a caller wants them: links, or their bytes in base64."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass

from gateway.app.dialect import ResultImage
from gateway.app.ports import AssetStore, FetchFailed, ImageFetcher
from gateway.app.results import ASSET_PATH, RESULT_BYTES_MAX
from gateway.domain.errors import ResultUnavailable
from gateway.domain.request import ResultFormat
from gateway.domain.task import Image, Outcome, Task

FETCH_TRIES = 3
B64_ALIASES = ("gpt-image", "chatgpt-image")


def result_format(asked: ResultFormat | None, requested_model: str) -> ResultFormat:
    """Give the format to answer in: ``url``, except for aliases whose clients read only b64."""
    if asked is not None:
        return asked
    b64 = requested_model.startswith(B64_ALIASES)
    return ResultFormat.B64_JSON if b64 else ResultFormat.URL


def absolute(url: str, base_url: str) -> str:
    """Give a picture's link as callers see it; our own assets get our address."""
    return base_url + url if url.startswith(ASSET_PATH) else url


@dataclass(frozen=True, slots=True)
class Pictures:
    """Renders a completed task's pictures for a synchronous answer."""

    assets: AssetStore
    fetcher: ImageFetcher

    async def of(self, task: Task, form: ResultFormat, base_url: str) -> tuple[ResultImage, ...]:
        """Give all pictures of a completed task. Raises ResultUnavailable for lost bytes."""
        if form is ResultFormat.URL:
            return tuple(
                ResultImage(
                    url=absolute(image.url, base_url),
                    revised_prompt=image.revised_prompt,
                    expires_at=image.expires_at,
                )
                for image in task.images
            )
        return tuple(await asyncio.gather(*(self._inline(task, i) for i in task.images)))

    async def _inline(self, task: Task, image: Image) -> ResultImage:
        content = await self._content(task, image)
        text = base64.b64encode(content).decode("ascii")
        return ResultImage(b64_json=text, revised_prompt=image.revised_prompt)

    async def _content(self, task: Task, image: Image) -> bytes:
        if image.url.startswith(ASSET_PATH):
            name = image.url.removeprefix(ASSET_PATH).partition(".")[0]
            asset = await self.assets.get(name)
            if asset is None:
                raise ResultUnavailable(f"The stored picture of task {task.id} has expired.")
            return asset[0]
        winner = next(a for a in reversed(task.attempts) if a.outcome is Outcome.DELIVERED)
        reason = ""
        for tries in range(FETCH_TRIES):
            if tries:
                await asyncio.sleep(0.2 * 4**tries)
            try:
                fetched = await self.fetcher.fetch(
                    image.url, bytes_max=RESULT_BYTES_MAX, upstream=winner.upstream
                )
            except FetchFailed as error:
                reason = str(error)
            else:
                return fetched.content
        raise ResultUnavailable(
            f"Task {task.id} is complete, but its picture could not be fetched: {reason}. "
            "Query the task for its links."
        )
