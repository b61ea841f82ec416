"""Floors: the least that the same durable work costs on this stack, nothing else done.

    python -m benchmarks.floors --floor fastapi --port 9001 --database-url … --redis-url …

`POST /v1/images/generations` moves one hot account, inserts a task and a transfer, and indexes the
task in Valkey; `GET /v1/tasks/{id}` reads one hash. All share one Postgres transaction and one
Valkey pipeline among the calls that wait, but for `naive`, which uses a transaction for each.

`typed` is FastAPI with declared models and tables like ours (`typed_floor.py`). `fastapi` is less
than that: it hands bytes through, its tables have the four columns that it needs and its rows no
time to live. `raw` is the same without FastAPI.
"""

from __future__ import annotations

import argparse
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from redis.asyncio import Redis

from benchmarks.batching import Batches
from benchmarks.serving import serve
from benchmarks.typed_floor import TypedFloor, on_typed_fastapi

BATCH_MAX = 64
HOLD = 1_500_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS floor_accounts (
    id text PRIMARY KEY, balance bigint NOT NULL, held bigint NOT NULL DEFAULT 0,
    CHECK (balance - held >= 0));
CREATE TABLE IF NOT EXISTS floor_tasks (
    id text PRIMARY KEY, account text NOT NULL, status text NOT NULL, request bytea NOT NULL);
CREATE TABLE IF NOT EXISTS floor_transfers (
    id uuid PRIMARY KEY, account text NOT NULL, amount bigint NOT NULL, task text NOT NULL);
INSERT INTO floor_accounts VALUES ('hot', 1000000000000000) ON CONFLICT DO NOTHING;
"""
ACCEPT = """
WITH item AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::uuid[], $3::bytea[]) AS i(id, transfer, request)
), moved AS (
    UPDATE floor_accounts SET held = held + $4::bigint * (SELECT count(*) FROM item)
    WHERE id = 'hot'
), task AS (
    INSERT INTO floor_tasks SELECT id, 'hot', 'pending', request FROM item
)
INSERT INTO floor_transfers SELECT transfer, 'hot', $4, id FROM item
"""

Item = tuple[str, bytes]


class Floor:
    """The stores of one floor."""

    def __init__(self, database_url: str, redis_url: str, *, naive: bool) -> None:
        """Take where the engines are."""
        self._database_url = database_url
        self._redis = Redis.from_url(redis_url)
        size_max = 1 if naive else BATCH_MAX
        self._accepts: Batches[Item] = Batches(self._accept_all, size_max)
        self._indexes: Batches[Item] = Batches(self._index_all, size_max)
        self._naive = naive
        self._pool: Any = None

    async def open(self) -> None:
        """Connect."""
        self._pool = await asyncpg.create_pool(self._database_url, min_size=2, max_size=10)
        await self._pool.execute(SCHEMA)

    async def accept(self, body: bytes) -> bytes:
        """Do the durable work of one call and give its answer."""
        request = orjson.loads(body)
        task_id = f"floor-{uuid4().hex}"
        item = (task_id, orjson.dumps(request))
        if self._naive:
            await self._accept_all([item])
            await self._index_all([item])
        else:
            await self._accepts.submit(item)
            await self._indexes.submit(item)
        return orjson.dumps({"id": task_id, "status": "pending", "model": request["model"]})

    async def read(self, task_id: str) -> bytes:
        """Read a task's hash."""
        doc = await self._redis.hget(f"floor:{task_id}", "doc")
        return orjson.dumps({"id": task_id, "status": "pending", **orjson.loads(doc or b"{}")})

    async def _accept_all(self, batch: list[Item]) -> None:
        ids, requests = [one for one, _ in batch], [one for _, one in batch]
        await self._pool.execute(ACCEPT, ids, [uuid4() for _ in batch], requests, HOLD)

    async def _index_all(self, batch: list[Item]) -> None:
        pipe = self._redis.pipeline(transaction=False)
        for task_id, request in batch:
            pipe.hset(f"floor:{task_id}", "doc", request)
            pipe.zadd("floor:due", {task_id: 0})
        await pipe.execute()


def on_fastapi(floor: Floor) -> Any:
    """Give the floor as a bare FastAPI application."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> Any:
        await floor.open()
        yield

    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/images/generations")
    async def accept(request: Request) -> Response:
        content = await floor.accept(await request.body())
        return Response(content, media_type="application/json")

    @app.get("/v1/tasks/{task_id}")
    async def read(task_id: str) -> Response:
        return Response(await floor.read(task_id), media_type="application/json")

    return app


def on_asgi(floor: Floor) -> Any:
    """Give the floor as a raw ASGI application."""

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await floor.open()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        parts: list[bytes] = []
        more = True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        if scope["method"] == "POST":
            content = await floor.accept(b"".join(parts))
        else:
            content = await floor.read(scope["path"].rpartition("/")[2])
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(content)),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return app


def _app(kind: str, database_url: str, redis_url: str) -> Any:
    if kind == "typed":
        return on_typed_fastapi(TypedFloor(database_url, redis_url))
    floor = Floor(database_url, redis_url, naive=kind == "naive")
    return on_asgi(floor) if kind == "raw" else on_fastapi(floor)


FLOORS = ("typed", "fastapi", "raw", "naive")


def main() -> None:
    """Serve one floor until told to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", choices=FLOORS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--database-url", required=True)
    parser.add_argument("--redis-url", required=True)
    options = parser.parse_args()
    app = _app(options.floor, options.database_url, options.redis_url)
    serve(app, options.port, lifespan="on")


if __name__ == "__main__":
    main()
