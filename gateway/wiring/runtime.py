"""The running parts of an API or worker process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from weakref import WeakSet

import structlog

from gateway.app.advance import Advance
from gateway.app.audit_books import DailyProof
from gateway.app.batch_feeding import Feeder
from gateway.app.cancel import Cancel
from gateway.app.core import Core
from gateway.app.dialect import View
from gateway.app.indexing import Indexing
from gateway.app.lost_submits import LostSubmits
from gateway.app.outlook import Outlook
from gateway.app.pictures import Pictures
from gateway.app.poll_batches import PollBatches
from gateway.app.ports import AssetStore
from gateway.app.ports.oidc import Issuer
from gateway.app.query import Query
from gateway.app.readings import Readings
from gateway.app.reconcile import Reconcile
from gateway.app.repeats import Recall
from gateway.app.results import ResultKeeper
from gateway.app.retries import RetryBudget
from gateway.app.seats import Seats
from gateway.app.submit import Submit
from gateway.app.sweep import Retention, Sweep
from gateway.app.task_lists import TaskLists
from gateway.app.team_data import EraseTeam
from gateway.app.upstreams import Upstreams
from gateway.app.visit import Tools
from gateway.callbacks.dispatcher import Dispatcher
from gateway.callbacks.sender import HttpCallbackSender
from gateway.catalog.schema import model_view
from gateway.dialects import DIALECTS
from gateway.domain.batch import is_of_batch
from gateway.domain.model import Catalog
from gateway.domain.task import Task
from gateway.egress.clients import callback_client, fetch_client
from gateway.egress.fetch import GuardedFetcher
from gateway.egress.inspect import HeaderInspector
from gateway.http.replies import encode
from gateway.settings import Settings
from gateway.stores.postgres.costs import PostgresCosts
from gateway.stores.postgres.database import Database
from gateway.stores.postgres.keys import PostgresKeys
from gateway.stores.postgres.ledger import PostgresLedger
from gateway.stores.postgres.outbox import PostgresOutbox
from gateway.stores.postgres.repeats import PostgresRepeats
from gateway.stores.postgres.tasks import PostgresTasks
from gateway.stores.postgres.urls import OldUrls
from gateway.stores.valkey.budgets import ValkeyBudgets
from gateway.stores.valkey.connection import Valkey
from gateway.stores.valkey.health import ValkeyHealthBoard
from gateway.stores.valkey.key_limits import ValkeyKeyLimits
from gateway.stores.valkey.live_tasks import ValkeyLiveTasks
from gateway.stores.valkey.spending import ValkeySpending
from gateway.stores.valkey.tracks import ValkeyTracks
from gateway.wiring import meters
from gateway.wiring.administration import administration
from gateway.wiring.batching import feeder_of, intake_of
from gateway.wiring.books import Books, SystemClock, open_books
from gateway.wiring.configuration import Configuration, load_catalog
from gateway.wiring.erasure import asset_store
from gateway.wiring.oidc import open_issuer
from gateway.wiring.reloads import Reloads
from gateway.wiring.reporting import Reports
from gateway.worker import Worker

log = structlog.get_logger(__name__)

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Gateway:
    """The running parts of one process."""

    settings: Settings
    configuration: Configuration
    database: Database
    valkey: Valkey
    live: ValkeyLiveTasks
    tasks: PostgresTasks
    keys: PostgresKeys
    ledger: PostgresLedger
    outbox: PostgresOutbox
    core: Core
    advance: Advance
    sweep: Sweep
    dispatcher: Dispatcher
    feeder: Callable[[], Feeder]
    reconcile: Reconcile
    proof: DailyProof
    old_urls: OldUrls

    def worker(self) -> Worker:
        """Give the worker of this process."""
        return Worker(
            live=self.live,
            advance=self.advance,
            sweep=self.sweep,
            dispatch=self.dispatcher.run,
            stop_dispatch=self.dispatcher.stop,
            feeder=self.feeder(),
            chores=(self.reconcile.run, self.proof.run, self.old_urls.seal, self.ledger.expire),
        )


@asynccontextmanager
async def open_gateway(
    settings: Settings, *, database_url: str, redis_url: str
) -> AsyncGenerator[Gateway]:
    """Open everything a process needs, and close it in order afterwards.

    Postgres may be away for the settings' ``database_wait_seconds``, Valkey for as long as it
    likes. Raises ConfigError, SettingsError, StoreUnavailable, WrongSecretKey.
    """
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        configuration = Configuration(lambda: load_catalog(settings), clock)
        configuration.build_adapters()
        stack.push_async_callback(configuration.aclose)
        books = await stack.enter_async_context(
            open_books(settings, database_url, wait_s=settings.database_wait_seconds)
        )
        reports = Reports(database_url)
        stack.push_async_callback(reports.aclose)
        valkey = Valkey(redis_url)
        stack.push_async_callback(valkey.aclose)
        live = ValkeyLiveTasks(valkey, books.tasks.get, task_ttl_hours=settings.task_ttl_hours)
        stack.push_async_callback(live.aclose)
        indexing = Indexing(live)
        stack.push_async_callback(indexing.aclose)
        parts = _Parts(
            settings=settings,
            configuration=configuration,
            books=books,
            repeats=books.repeats,
            usage=reports,
            valkey=valkey,
            live=live,
            indexing=indexing,
            health=ValkeyHealthBoard(valkey),
            budgets=ValkeyBudgets(valkey, configuration.limits),
            tracks=ValkeyTracks(valkey),
            spending=ValkeySpending(
                valkey, configuration.daily_caps, PostgresCosts(books.database).since, clock
            ),
            fetcher=_fetcher(settings, configuration, stack),
            assets=asset_store(settings, books.database, clock),
            reloads=Reloads(configuration, books.changes, valkey),
            issuer=open_issuer(settings, stack),
            clock=clock,
        )
        watching = asyncio.create_task(parts.reloads.watch())
        stack.callback(watching.cancel)
        yield _gateway(parts, stack)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is opened once and shared by the use cases."""

    settings: Settings
    configuration: Configuration
    books: Books
    repeats: PostgresRepeats
    usage: Reports
    valkey: Valkey
    live: ValkeyLiveTasks
    indexing: Indexing
    health: ValkeyHealthBoard
    budgets: ValkeyBudgets
    tracks: ValkeyTracks
    spending: ValkeySpending
    fetcher: GuardedFetcher
    assets: AssetStore
    reloads: Reloads
    issuer: Issuer | None
    clock: SystemClock

    def catalog(self) -> Catalog:
        """The catalogue in force."""
        return self.configuration.catalog

    def outlook(self) -> Outlook:
        """Who knows how things stand with the upstreams."""
        return Outlook(self.health, self.budgets, self.books.drains, self.tracks, self.spending)


def _gateway(parts: _Parts, stack: AsyncExitStack) -> Gateway:
    query = Query(parts.books.tasks, parts.live)
    dispatcher = _dispatcher(parts, stack)
    feeders: WeakSet[Feeder] = WeakSet()
    advance = _advance(parts, lambda task: _settled(task, dispatcher, feeders))
    core = _core(parts, query, advance)

    def feeder() -> Feeder:
        made = feeder_of(parts.settings, parts.books, core, dispatcher.notify)
        feeders.add(made)
        return made

    return Gateway(
        settings=parts.settings,
        configuration=parts.configuration,
        database=parts.books.database,
        valkey=parts.valkey,
        live=parts.live,
        tasks=parts.books.tasks,
        keys=parts.books.keys,
        ledger=parts.books.ledger,
        outbox=parts.books.outbox,
        core=core,
        advance=advance,
        sweep=Sweep(
            parts.books.tasks,
            parts.live,
            parts.assets,
            parts.repeats,
            parts.books.batches,
            parts.clock,
            lambda: parts.books.database.exclusively("sweep"),
            _retention(parts.settings),
        ),
        dispatcher=dispatcher,
        feeder=feeder,
        reconcile=Reconcile(
            parts.books.exposures,
            lambda: parts.configuration.adapters,
            parts.budgets,
            parts.clock,
            LostSubmits(parts.books.exposures, _lists(parts), parts.clock),
            lambda: parts.books.database.exclusively("reconcile"),
        ),
        proof=DailyProof(
            parts.books.ledger,
            parts.clock,
            lambda: parts.books.database.exclusively("proof"),
        ),
        old_urls=parts.books.old_urls,
    )


def _retention(settings: Settings) -> Retention:
    def ms(days: int | None) -> int | None:
        return None if days is None else days * 24 * HOUR_MS

    return Retention(ms(settings.keep_tasks_days), ms(settings.keep_payloads_days))


def _settled(task: Task, dispatcher: Dispatcher, feeders: WeakSet[Feeder]) -> None:
    meters.count(task)
    if task.has_callback:
        dispatcher.notify()
    if is_of_batch(task.id):
        for feeder in feeders:
            feeder.notify()


def _advance(parts: _Parts, settled: Callable[[Task], None]) -> Advance:
    tools = Tools(
        catalog=parts.catalog,
        adapters=lambda: parts.configuration.adapters,
        tasks=parts.books.tasks,
        live=parts.live,
        health=parts.health,
        budgets=parts.budgets,
        tracks=parts.tracks,
        spending=parts.spending,
        retries=RetryBudget(),
        batches=PollBatches(parts.budgets),
        lists=_lists(parts),
        outlook=parts.outlook(),
        results=ResultKeeper(
            assets=parts.assets,
            fetcher=parts.fetcher,
            clock=parts.clock,
            rehost=parts.settings.asset_store != "off",
            ttl_ms=parts.settings.task_ttl_hours * HOUR_MS,
        ),
        clock=parts.clock,
        on_settled=settled,
    )
    return Advance(tools)


def _lists(parts: _Parts) -> TaskLists:
    return TaskLists(
        parts.catalog,
        lambda: parts.configuration.adapters,
        parts.budgets,
        parts.books.exposures,
        parts.clock,
    )


def _submit(parts: _Parts, limits: ValkeyKeyLimits) -> Submit:
    return Submit(
        catalog=parts.catalog,
        tasks=parts.books.tasks,
        prices=parts.books.prices,
        recall=Recall(parts.repeats, parts.books.tasks),
        live=parts.live,
        indexing=parts.indexing,
        outlook=parts.outlook(),
        limits=limits,
        inspector=HeaderInspector(parts.fetcher),
        fetcher=parts.fetcher,
        clock=parts.clock,
        new_task_id=_new_task_id,
    )


def _core(parts: _Parts, query: Query, advance: Advance) -> Core:
    limits = ValkeyKeyLimits(parts.valkey)
    submit = _submit(parts, limits)
    return Core(
        catalog=parts.catalog,
        dialects=DIALECTS,
        submit=submit,
        query=query,
        cancel=Cancel(query, parts.books.tasks, parts.live, advance),
        batches=intake_of(parts.settings, parts.books, submit, parts.clock),
        pictures=Pictures(parts.assets, parts.fetcher),
        keys=parts.books.keys,
        ledger=parts.books.ledger,
        admin=administration(
            parts.settings,
            parts.books,
            parts.health.reset,
            parts.reloads.reload,
            EraseTeam(parts.books.erasure, parts.assets, parts.live.forget),
            limits,
            parts.issuer,
        ),
        usage=parts.usage,
        assets=parts.assets,
        clock=parts.clock,
        model_view=model_view,
        probes={"postgres": parts.books.database.ping, "valkey": parts.valkey.ping},
        readings=Readings(
            parts.live,
            parts.books.outbox,
            parts.books.exposures,
            parts.books.ledger,
            parts.books.batches,
        ),
        counted=meters.counted,
        upstreams=Upstreams(parts.catalog, parts.outlook(), parts.clock),
        sync_wait_s=float(parts.settings.sync_wait_seconds),
        seats=Seats(parts.settings.waits_max),
        public_url=parts.settings.public_url,
    )


def _new_task_id(dialect: str, now_ms: int, entropy: bytes) -> str:
    return DIALECTS[dialect].new_task_id(now_ms, entropy)


def _fetcher(
    settings: Settings, configuration: Configuration, stack: AsyncExitStack
) -> GuardedFetcher:
    client = fetch_client(settings.fetch_allowed_hosts)
    stack.push_async_callback(client.aclose)
    return GuardedFetcher(
        client,
        fetch_allowed_hosts=settings.fetch_allowed_hosts,
        callback_allowed_hosts=settings.callback_allowed_hosts,
        upstreams=lambda: configuration.catalog.upstreams,
    )


def _dispatcher(parts: _Parts, stack: AsyncExitStack) -> Dispatcher:
    settings, clock = parts.settings, parts.clock
    client = callback_client(settings.callback_allowed_hosts, settings.callback_ca_file)
    stack.push_async_callback(client.aclose)
    sender = HttpCallbackSender(client, clock, settings.callback_allowed_hosts)

    async def render(task_id: str) -> bytes | None:
        task = await parts.books.tasks.get(task_id)
        return None if task is None else _callback_body(task, settings.base_url, clock)

    return Dispatcher(parts.books.outbox, sender, render, clock)


def _callback_body(task: Task, base_url: str, clock: SystemClock) -> bytes:
    """Give what a query of the task would answer, in the dialect that created it."""
    view = View(base_url, "", clock.now_ms())
    return encode(DIALECTS[task.dialect].render_task(task, view).body)
