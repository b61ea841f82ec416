"""What the use cases need from the outside, as Protocols. Wiring supplies the concrete parts."""

from __future__ import annotations

from gateway.app.ports.clock import Clock
from gateway.app.ports.durable import (
    AssetStore,
    CallbackCounts,
    Drains,
    Exposures,
    KeyStore,
    Ledger,
    LedgerCheck,
    LedgerChecks,
    NewTask,
    Outbox,
    Repeats,
    Settlement,
    TaskFilter,
    TaskPage,
    TaskStore,
    Usage,
)
from gateway.app.ports.index import Budgets, HealthBoard, KeyLimits, Lease, LiveTasks, QueueFigures
from gateway.app.ports.outbound import (
    CallbackSender,
    FetchedImage,
    FetchFailed,
    ImageFetcher,
    ImageInspector,
    UpstreamAdapter,
)

__all__ = [
    "AssetStore",
    "Budgets",
    "CallbackCounts",
    "CallbackSender",
    "Clock",
    "Drains",
    "Exposures",
    "FetchFailed",
    "FetchedImage",
    "HealthBoard",
    "ImageFetcher",
    "ImageInspector",
    "KeyLimits",
    "KeyStore",
    "Lease",
    "Ledger",
    "LedgerCheck",
    "LedgerChecks",
    "LiveTasks",
    "NewTask",
    "Outbox",
    "QueueFigures",
    "Repeats",
    "Settlement",
    "TaskFilter",
    "TaskPage",
    "TaskStore",
    "UpstreamAdapter",
    "Usage",
]
