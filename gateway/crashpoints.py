"""Named places where a test stops a process from outside, to kill it or to break an engine there.

Off unless ``CRASH_POINTS_DIR`` names a directory when the process starts. There, a file with a
point's name arms it: the first process to get there renames the file to ``<point>.<pid>`` and
stands still, its whole event loop with it, until that file is removed or the process is killed.
"""

from __future__ import annotations

import os
import time
from enum import StrEnum
from pathlib import Path

LOOK_AGAIN_S = 0.005


class CrashPoint(StrEnum):
    """Every point, in the order in which a task's life passes them."""

    ACCEPT_PLANNED = "accept_planned"
    """Validated and priced; nothing is held yet."""
    ACCEPT_HELD = "accept_held"
    """The hold and the task are committed; Valkey does not know the task."""
    ACCEPT_ENQUEUED = "accept_enqueued"
    """The task is due; its caller has no answer."""
    ANSWER_WAITING = "answer_waiting"
    """A synchronous caller is about to wait for the task."""
    VISIT_CLAIMED = "visit_claimed"
    """A worker has the lease and has done nothing."""
    SUBMIT_ADMITTED = "submit_admitted"
    """The upstream's budget is taken; no intent is written."""
    SUBMIT_INTENDED = "submit_intended"
    """The intent is durable; nothing was sent."""
    SUBMIT_ANSWERED = "submit_answered"
    """The vendor has the task; what it answered is known to this process alone."""
    SUBMIT_SAVED = "submit_saved"
    """The answer is durable."""
    ATTEMPT_FAILED = "attempt_failed"
    """The vendor refused; that is known to this process alone."""
    POLL_ANSWERED = "poll_answered"
    """The vendor said how the task stands."""
    RESULT_KEPT = "result_kept"
    """The pictures are kept; the task does not know them."""
    SETTLE_DECIDED = "settle_decided"
    """The task has its ending; nothing of it is durable."""
    SETTLE_COMMITTED = "settle_committed"
    """Money, usage and callback are committed; budgets and Valkey do not know."""
    VISIT_ENDED = "visit_ended"
    """The visit is over; Valkey has the old state and the lease."""
    VISIT_SAVED = "visit_saved"
    """Valkey has the new state."""
    LEASES_RENEWED = "leases_renewed"
    """The leases of long visits were just extended."""
    CANCEL_SEIZED = "cancel_seized"
    """A caller's cancel has the task's lease and has done nothing."""
    CANCEL_INTENDED = "cancel_intended"
    """The wish to cancel is durable; the vendor was not asked."""
    CANCEL_ASKED = "cancel_asked"
    """The vendor was asked to cancel; its answer is known to this process alone."""
    CALLBACK_CLAIMED = "callback_claimed"
    """A callback is claimed and not sent."""
    CALLBACK_SENT = "callback_sent"
    """The receiver has the callback; the try is not written down."""
    CALLBACK_RECORDED = "callback_recorded"
    """The try is written down."""
    SWEEP_READ = "sweep_read"
    """The sweeper has read unfinished tasks and indexed none of them."""
    SWEEP_INDEXED = "sweep_indexed"
    """Everything is indexed; the index is not declared complete."""
    BATCH_READ = "batch_read"
    """A batch is read and judged; nothing of it is stored."""
    BATCH_SENT = "batch_sent"
    """Lines of a batch are tasks; the batch does not know."""
    BATCH_ENDED = "batch_ended"
    """A batch has ended and its callback is written; nobody was told."""
    WORKER_DRAINING = "worker_draining"
    """A worker was told to stop and has claimed its last task."""
    API_DRAINING = "api_draining"
    """An API process was told to stop; it is not ready any more and still listens."""


def _folder() -> Path | None:
    name = os.environ.get("CRASH_POINTS_DIR")
    return Path(name) if name else None


_FOLDER = _folder()


def reached(point: CrashPoint) -> None:
    """Stand still here if the point is armed; otherwise nothing."""
    if _FOLDER is not None:
        _stand_still(_FOLDER / point.value)


def _stand_still(armed: Path) -> None:
    held = armed.with_name(f"{armed.name}.{os.getpid()}")
    try:
        armed.rename(held)
    except FileNotFoundError:
        return
    while held.exists():
        time.sleep(LOOK_AGAIN_S)
