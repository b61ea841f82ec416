"""What a dialect reads out of one create call, before it is priced and accepted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import InvalidRequest, Problem
from gateway.domain.records import quick
from gateway.domain.request import GenerationRequest, ResultFormat


@dataclass(frozen=True, slots=True)
class Wait:
    """How a caller wants the answer.

    ``wait_s`` None is asynchronous; otherwise the answer may take so long.
    ``task_on_timeout``: after the wait, answer the task as it stands (``Prefer: wait=N``)
    instead of an error. ``task_on_failure``: a task that failed is answered as a task too
    (Qingbo's waiting call), not as an error.
    """

    wait_s: float | None = None
    task_on_timeout: bool = False
    task_on_failure: bool = False


@quick
@dataclass(frozen=True, slots=True)
class Draft:
    """One create call in canonical words.

    ``request.model`` still holds the name the caller used. ``wait`` None leaves sync or
    async to the rules of ⚑ §4. ``snap_size``: an illegal size is moved to the nearest legal
    one instead of refused (the OpenAI dialect, whose clients send fixed sizes). ``ignored``
    names fields of the call that the dialect documents as ignored. ``field_names`` maps
    canonical field names to the caller's. ``echo`` is kept for rendering.
    """

    request: GenerationRequest
    wait: Wait | None = None
    result_format: ResultFormat | None = None
    callback: CallbackSpec | None = None
    stream: bool = False
    snap_size: bool = False
    ignored: tuple[str, ...] = ()
    field_names: dict[str, str] = field(default_factory=dict)
    echo: dict[str, Any] = field(default_factory=dict)


class PartlyRead(InvalidRequest):
    """The call has bad fields; ``draft`` holds the rest, so that all problems can be told at once.

    ``problems`` already carry the caller's field names.
    """

    def __init__(self, problems: tuple[Problem, ...], draft: Draft) -> None:
        """Take what is wrong with the call itself, and what could be read of it."""
        super().__init__(*problems)
        self.draft = draft
