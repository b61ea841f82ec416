"""All that is kept of a team: given out as lines, or erased but for what the books need."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from gateway.app.ports import AssetStore
from gateway.app.ports.admin import KeyAdmin, PriceAdmin, TeamAdmin, TeamErasure, TeamRows
from gateway.app.results import ASSET_PATH
from gateway.app.views import key_view, price_view, team_view, time_text
from gateway.domain.administration import Ask
from gateway.domain.errors import InUse, NotFound
from gateway.domain.money import format_micro
from gateway.domain.task import Image, Task

PAGE = 200
# Until then other processes may know a key that was revoked.
KEYS_KNOWN_S = 1.0
AMOUNTS = {
    "amount": "credits",
    "returned": "credits_returned",
    "hold": "credits_reserved",
    "charged": "credits_charged",
    "planned_cost": "planned_cost_usd",
    "cost": "cost_usd",
    "exposure": "exposure_usd",
}
_ASSET = re.compile(rf"{re.escape(ASSET_PATH)}([0-9A-Za-z_-]+)\.png")


# --- export ----------------------------------------------------------------------------------


def line(kind: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Give the line of a row: UTC milliseconds as times, micro amounts as decimal texts."""
    told: dict[str, Any] = {"object": kind}
    for name, value in facts.items():
        if name.endswith("_ms"):
            told["at" if name == "at_ms" else f"{name.removesuffix('_ms')}_at"] = time_text(value)
        elif name in AMOUNTS:
            told[AMOUNTS[name]] = format_micro(value)
        else:
            told[name] = value
    return told


def task_line(
    task: Task, request: Mapping[str, Any] | None, callback_url: str | None
) -> dict[str, Any]:
    """Give the line of a task; ``request`` None: it was emptied."""
    facts = {
        "id": task.id,
        "key_id": task.key_id,
        "dialect": task.dialect,
        "model": task.model,
        "requested_model": task.requested_model,
        "n": task.n,
        "tier": task.tier,
        "user_group": task.user_group,
        "status": task.status.value,
        "created_ms": task.created_ms,
        "finished_ms": task.finished_ms,
        "hold": task.hold,
        "charged": task.charged,
        "images": [_image_view(image) for image in task.images or task.kept],
        "error": task.error and {"code": task.error.code, "message": task.error.message},
        "ignored_params": list(task.ignored),
        "echo": task.echo,
        "callback_url": callback_url,
        "request": request,
    }
    return line("task", facts)


def _image_view(image: Image) -> dict[str, Any]:
    return {
        "url": image.url,
        "media_type": image.media_type,
        "revised_prompt": image.revised_prompt,
        "expires_at": None if image.expires_at is None else time_text(image.expires_at * 1000),
    }


async def as_ndjson(lines: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[str]:
    """Give lines as newline-delimited JSON."""
    async for one in lines:
        yield json.dumps(one, ensure_ascii=False) + "\n"


@dataclass(frozen=True, slots=True)
class ExportTeam:
    """Gives out all that is kept of a team, a line at a time, without secrets or hashes."""

    teams: TeamAdmin
    keys: KeyAdmin
    prices: PriceAdmin
    rows: TeamRows

    async def lines(self, team_id: str) -> AsyncGenerator[dict[str, Any]]:
        """Give the lines; the last is an ``end`` that counts the others. Raises NotFound."""
        team = await self.teams.team(team_id)
        if team is None:
            raise NotFound(f"There is no team {team_id[:80]!r}.")
        count = 1
        yield {"object": "team", **team_view(team, secret=False)}
        async for one in self._rules(team_id):
            count += 1
            yield one
        async with aclosing(self.rows.rows(team_id)) as rows:
            async for one in rows:
                count += 1
                yield one
        yield {"object": "end", "lines": count}

    async def _rules(self, team_id: str) -> AsyncGenerator[dict[str, Any]]:
        cursor = None
        while True:
            keys = await self.keys.key_page(PAGE, cursor, team_id)
            for key in keys.items:
                yield {"object": "key", **key_view(key)}
            if (cursor := keys.cursor) is None:
                break
        before = None
        while True:
            prices = await self.prices.price_page(PAGE, before, team_id)
            for price in prices.items:
                yield {"object": "price", **price_view(price)}
            if prices.cursor is None:
                break
            before = int(prices.cursor)


# --- erasure ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure emptied: ended tasks, and pictures of the asset store."""

    tasks: int
    pictures: int


@dataclass(frozen=True, slots=True)
class EraseTeam:
    """Empties what a team sent and got; ledger, usage and costs stay to the micro-credit.

    ``forget_live`` drops tasks from the live index. A run that broke off is simply run again.
    """

    store: TeamErasure
    assets: AssetStore
    forget_live: Callable[[Sequence[str]], Awaitable[None]]

    async def run(
        self, team_id: str, name: str, ask: Ask, progress: Callable[[int], None] = lambda _: None
    ) -> Erased:
        """Erase a team whose name is confirmed; ``progress`` is told of tasks looked at.

        Raises NotFound; InvalidRequest for another name; InUse while tasks are under way.
        """
        if await self.store.close(team_id, name, ask):
            await asyncio.sleep(KEYS_KNOWN_S)
        tasks, pictures, after = 0, 0, (0, "")
        while page := await self.store.page(team_id, after, PAGE):
            # Pictures first: once a task is emptied nothing says which were its own.
            pictures += await self.assets.delete(page.assets)
            tasks += await self.store.empty(page.task_ids)
            await self.forget_live(page.task_ids)
            after = page.last
            progress(len(page.task_ids))
        if running := await self.store.running(team_id):
            message = f"{running} tasks were accepted just before; erase again once they ended."
            raise InUse(message)
        await self.store.finish(team_id, tasks, pictures, ask)
        return Erased(tasks, pictures)


def assets_of(task: Task) -> tuple[str, ...]:
    """Give the ids of a task's pictures that are kept by the gateway itself."""
    images = (*task.images, *task.kept)
    return tuple(match[1] for image in images if (match := _ASSET.search(image.url)))


def blanked(task: Task) -> Task:
    """Give an ended task without anything its team sent or got: what the books need stays."""
    ending = task.ending
    if ending is not None:
        error = ending.error and replace(ending.error, message="erased")
        ending = replace(ending, images=(Image(""),) * len(ending.images), error=error)
    return replace(
        task,
        ending=ending,
        attempts=tuple(replace(attempt, reason=None) for attempt in task.attempts),
        requested_model=task.model,
        user_group="default",
        ignored=(),
        echo={},
        kept=(),
    )
