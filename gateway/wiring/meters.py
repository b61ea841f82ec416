"""Prometheus counters of a process: what became of the tasks and attempts that it settled.

Everything is counted once, when a task ends, by the process that settles it: a worker, or the API
process that cancels it. Sums over all processes are the whole gateway's.
"""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
    start_http_server,
)

from gateway.domain.batch import Batch, LineState
from gateway.domain.errors import Unavailable
from gateway.domain.task import Outcome, Task, TaskStatus
from gateway.settings import Settings

REGISTRY = CollectorRegistry()
SECONDS = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 900)

tasks_finished = Counter(
    "igw_tasks_finished_total", "Tasks that ended.", ["model", "status"], registry=REGISTRY
)
images_delivered = Counter(
    "igw_images_delivered_total", "Pictures delivered and charged.", ["model"], registry=REGISTRY
)
task_seconds = Histogram(
    "igw_task_duration_seconds",
    "From accept to the pictures, completed tasks alone.",
    ["model"],
    buckets=SECONDS,
    registry=REGISTRY,
)
attempts = Counter(
    "igw_attempts_total",
    "Tries at upstreams, by how they ended.",
    ["upstream", "model", "outcome"],
    registry=REGISTRY,
)
attempt_seconds = Histogram(
    "igw_attempt_duration_seconds",
    "From submit to the pictures, at the upstream that delivered.",
    ["upstream", "model"],
    buckets=SECONDS,
    registry=REGISTRY,
)
failovers = Counter(
    "igw_failovers_total", "Tries beyond a task's first.", ["model"], registry=REGISTRY
)

batch_lines = Counter(
    "igw_batch_lines_total", "Lines of batches that ended.", ["status"], registry=REGISTRY
)
batches = Counter("igw_batches_total", "Batches that ended.", ["status"], registry=REGISTRY)


def count_lines(ended: Mapping[LineState, int]) -> None:
    """Count lines of batches that have just ended, by how."""
    for state, lines in ended.items():
        batch_lines.labels(state.value).inc(lines)


def count_batch(batch: Batch) -> None:
    """Count a batch that has just ended."""
    batches.labels(batch.status.value).inc()


def count(task: Task) -> None:
    """Count a task that has just been settled, with its attempts."""
    model = task.model
    tasks_finished.labels(model, task.status.value).inc()
    images_delivered.labels(model).inc(len(task.images))
    if task.status is TaskStatus.COMPLETED and task.finished_ms is not None:
        task_seconds.labels(model).observe((task.finished_ms - task.created_ms) / 1000)
    for attempt in task.attempts:
        attempts.labels(attempt.upstream, model, attempt.outcome.value).inc()
        if attempt.outcome is Outcome.DELIVERED and attempt.finished_ms is not None:
            seconds = (attempt.finished_ms - attempt.started_ms) / 1000
            attempt_seconds.labels(attempt.upstream, model).observe(seconds)
    failovers.labels(model).inc(max(0, len(task.attempts) - 1))


def counted() -> bytes:
    """Give this process's counters as Prometheus reads them."""
    return generate_latest(REGISTRY)


def serve(settings: Settings) -> None:
    """Serve a worker's counters at ``/metrics`` if a port is set, from a thread of its own.

    Raises Unavailable when the port is taken.
    """
    if settings.worker_metrics_port is None:
        return
    where = f"{settings.host}:{settings.worker_metrics_port}"
    try:
        start_http_server(settings.worker_metrics_port, settings.host, REGISTRY)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(f"cannot listen on {where} for metrics: {reason}") from None
