"""Batches: what takes them in, and what feeds them in a worker."""

from __future__ import annotations

from collections.abc import Callable

from gateway.app.batch_feeding import Feeder
from gateway.app.batch_intake import Intake
from gateway.app.core import Core
from gateway.app.dialect import View
from gateway.app.submit import Submit
from gateway.dialects.evolink import DIALECT
from gateway.domain.batch import Batch
from gateway.http.replies import encode
from gateway.settings import Settings
from gateway.wiring import meters
from gateway.wiring.books import Books, SystemClock

MIB = 1024 * 1024


def intake_of(settings: Settings, books: Books, submit: Submit, clock: SystemClock) -> Intake:
    """Give what takes batches in."""
    return Intake(
        submit,
        books.batches,
        books.repeats,
        clock,
        lines_max=settings.batch_lines_running,
        body_max=settings.batch_max_mib * MIB,
    )


def feeder_of(settings: Settings, books: Books, core: Core, notify: Callable[[], None]) -> Feeder:
    """Give what feeds batches; ``notify`` is told that a callback was written."""

    def render(batch: Batch) -> str:
        """Give what a query of the batch would answer."""
        view = View(settings.base_url, "", core.clock.now_ms())
        return encode(DIALECT.render_batch(batch, view).body).decode()

    def over(batch: Batch) -> None:
        meters.count_batch(batch)
        notify()

    return Feeder(
        feed=books.batch_feed,
        keys=books.keys,
        submit=core.submit,
        cancel=core.cancel,
        clock=core.clock,
        dialect=DIALECT.name,
        lines_max=settings.batch_lines_running,
        render=render,
        counted=meters.count_lines,
        over=over,
    )
