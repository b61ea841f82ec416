"""The floor of FastAPI as its documentation has it: declared models in and out, and our columns.

`POST /v1/images/generations` reads the unified call into a pydantic model and answers with one. Its
tables are copies of ours, indexes included and triggers not; it writes what an accept of ours has
to write (the account, the task, the transfer; the task's hash with its time to live, the due queue)
and judges nothing beyond the models.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID, uuid4

import asyncpg
from fastapi import FastAPI
from pydantic import BaseModel, Field
from redis.asyncio import Redis

from benchmarks.batching import Batches

BATCH_MAX = 64
HOLD = 1_500_000
TTL_MS = 25 * 3_600_000
DEADLINE_MS = 600_000
TEAM, KEY = "team_floor", "key_floor"

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS typed_accounts (LIKE accounts INCLUDING ALL);
CREATE TABLE IF NOT EXISTS typed_tasks (LIKE tasks INCLUDING ALL);
CREATE TABLE IF NOT EXISTS typed_transfers (LIKE transfers INCLUDING ALL);
INSERT INTO typed_accounts (team_id, balance) VALUES ('{TEAM}', 1000000000000000)
ON CONFLICT DO NOTHING;
"""  # noqa: S608 - our own constants
ACCEPT = f"""
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[], $6::uuid[])
        AS i(id, model, created_ms, doc, request, hold_id)
), moved AS (
    UPDATE typed_accounts SET held = held + {HOLD} * (SELECT count(*) FROM item)
    WHERE team_id = '{TEAM}'
), task AS (
    INSERT INTO typed_tasks (id, team_id, key_id, dialect, model, status, fence, created_ms,
        deadline_ms, hold, doc, request)
    SELECT id, '{TEAM}', '{KEY}', 'evolink', model, 'pending', 0, created_ms,
        created_ms + {DEADLINE_MS}, {HOLD}, doc, request
    FROM item
)
INSERT INTO typed_transfers (id, kind, team_id, amount, task_id, created_ms)
SELECT hold_id, 'hold', '{TEAM}', {HOLD}, id, created_ms FROM item
"""  # noqa: S608 - our own constants


class Colour(BaseModel):
    """One colour of a palette."""

    hex: str
    ratio: float | str


class Provider(BaseModel):
    """What the caller allows of the route."""

    order: list[str] | None = None
    only: list[str] | None = None
    ignore: list[str] | None = None
    allow_fallbacks: bool = True
    max_price: str | float | None = None
    sort: str | None = None


class Picture(BaseModel):
    """A picture field written as an object."""

    image_url: str | None = None
    url: str | None = None


Pictures = str | Picture | list[str | Picture]


class Create(BaseModel):
    """The unified call."""

    model: str
    prompt: str
    negative_prompt: str | None = None
    n: int = Field(1, ge=1)
    size: str | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    image_urls: Pictures | None = None
    images: Pictures | None = None
    image: Pictures | None = None
    img_url: Pictures | None = None
    first_frame_url: Pictures | None = None
    mask: str | Picture | None = None
    seed: int | None = None
    watermark: bool | None = None
    prompt_extend: bool | None = None
    thinking_mode: bool | None = None
    enable_sequential: bool | None = None
    color_palette: list[Colour] | None = None
    bbox_list: list[list[list[float]]] | None = None
    action: str | None = None
    callback_url: str | None = Field(None, max_length=2048)
    callback_events: list[str] | None = None
    wants_async: bool | None = Field(None, alias="async")
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    provider: Provider | None = None
    user: str | None = None
    safety_identifier: str | None = None
    quality: str | None = None
    style: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    partial_images: int | None = None
    input_fidelity: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None


class TaskInfo(BaseModel):
    """What is known of a task's course."""

    can_cancel: bool = True
    estimated_time: int = 15


class Usage(BaseModel):
    """What a task costs."""

    billing_rule: str = "per_call"
    credits_reserved: float = 1.5
    credits_charged: float = 0
    user_group: str = "default"


class Answer(BaseModel):
    """The native task body."""

    created: int
    id: str
    task_id: str
    model: str
    object: str = "image.generation.task"
    progress: int = 0
    status: str = "pending"
    task_info: TaskInfo = TaskInfo()
    type: str = "image"
    usage: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Item:
    """One call's rows."""

    id: str
    model: str
    created_ms: int
    doc: bytes
    request: bytes
    hold_id: UUID


class TypedFloor:
    """The stores of this floor."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        """Take where the engines are."""
        self._database_url = database_url
        self._redis = Redis.from_url(redis_url)
        self._accepts: Batches[Item] = Batches(self._accept_all, BATCH_MAX)
        self._indexes: Batches[Item] = Batches(self._index_all, BATCH_MAX)
        self._pool: Any = None

    async def open(self) -> None:
        """Connect."""
        self._pool = await asyncpg.create_pool(self._database_url, min_size=2, max_size=10)
        await self._pool.execute(SCHEMA)

    async def accept(self, call: Create) -> Answer:
        """Do the durable work of one call and give its answer."""
        now_ms = time.time_ns() // 1_000_000
        task_id = f"typed-{uuid4().hex}"
        answer = Answer(created=now_ms // 1000, id=task_id, task_id=task_id, model=call.model)
        request = call.model_dump_json(exclude_none=True).encode()
        doc = answer.model_dump_json().encode()
        item = Item(task_id, call.model, now_ms, doc, request, uuid4())
        await self._accepts.submit(item)
        await self._indexes.submit(item)
        return answer

    async def read(self, task_id: str) -> Answer:
        """Read a task's hash; a task that is not there is an empty one."""
        doc = await self._redis.hget(f"typed:{task_id}", "doc")
        if doc is None:
            return Answer(created=0, id=task_id, task_id=task_id, model="")
        return Answer.model_validate_json(doc)

    async def _accept_all(self, batch: list[Item]) -> None:
        columns = (
            [one.id for one in batch],
            [one.model for one in batch],
            [one.created_ms for one in batch],
            [one.doc for one in batch],
            [one.request for one in batch],
            [one.hold_id for one in batch],
        )
        await self._pool.execute(ACCEPT, *columns)

    async def _index_all(self, batch: list[Item]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for one in batch:
            pipe.hset(f"typed:{one.id}", mapping={"fence": 0, "doc": one.doc})
            pipe.pexpire(f"typed:{one.id}", TTL_MS)
            pipe.zadd("typed:due", {one.id: one.created_ms})
        await pipe.execute()


def on_typed_fastapi(floor: TypedFloor) -> Any:
    """Give the floor as a FastAPI application with models in and out."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> Any:
        await floor.open()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/images/generations")
    async def accept(call: Create) -> Answer:
        return await floor.accept(call)

    @app.get("/v1/tasks/{task_id}")
    async def read(task_id: str) -> Answer:
        return await floor.read(task_id)

    return app
