"""Accepting a request: resolve, check, price, hold and store; then make it due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import urandom

import structlog

from gateway.app.indexing import Indexing
from gateway.app.outlook import Outlook
from gateway.app.ports import (
    Clock,
    ImageFetcher,
    ImageInspector,
    KeyLimits,
    LiveTasks,
    NewTask,
    Prices,
    TaskStore,
)
from gateway.app.repeats import Recall
from gateway.crashpoints import CrashPoint, reached
from gateway.domain.access import Principal
from gateway.domain.callback import CallbackSpec
from gateway.domain.errors import (
    GatewayError,
    InsufficientCredits,
    InvalidRequest,
    ModelNotFound,
    NoHealthyUpstream,
    Problem,
    RateLimited,
    RepeatedCall,
    StoreUnavailable,
    TaskIdTaken,
    Unavailable,
)
from gateway.domain.limits import NOTHING_TAKEN, Limit, Taken, Verdict
from gateway.domain.model import Catalog, Model
from gateway.domain.pricing import Price, price_of
from gateway.domain.records import quick
from gateway.domain.repeats import CallMark
from gateway.domain.request import GenerationRequest
from gateway.domain.routing import Route, is_served, rank
from gateway.domain.submission import Draft, PartlyRead
from gateway.domain.task import Task
from gateway.domain.validation import check, close_names, normalize

log = structlog.get_logger(__name__)

ID_TRIES = 3


@quick
@dataclass(frozen=True, slots=True)
class Plan:
    """A request ready to be accepted: checked, priced and routable.

    ``route`` is None where nobody asked for it and it was plain that there is one.
    """

    request: GenerationRequest
    model: Model
    price: Price
    route: Route | None
    ignored: tuple[str, ...]
    top_up: bool

    @property
    def warning(self) -> str | None:
        """That no healthy upstream was left, in words."""
        return self.route.warning if self.route is not None else None


@quick
@dataclass(frozen=True, slots=True)
class Admission:
    """What a create call came to: its task, ``repeated`` when an earlier call had made it.

    ``warning`` says that no healthy upstream was left for it.
    """

    task: Task
    repeated: bool = False
    verdicts: tuple[Verdict, ...] = ()
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Submit:
    """The write side of task creation."""

    catalog: Callable[[], Catalog]
    tasks: TaskStore
    prices: Prices
    recall: Recall
    live: LiveTasks
    indexing: Indexing
    outlook: Outlook
    limits: KeyLimits
    inspector: ImageInspector
    fetcher: ImageFetcher
    clock: Clock
    new_task_id: Callable[[str, int, bytes], str]

    async def catalog_for(self, principal: Principal) -> Catalog:
        """Give the catalogue in force with the caller's own prices. Raises StoreUnavailable."""
        overrides = await self.prices.overrides()
        return overrides.seen_by(principal, self.catalog(), self.clock.now_ms())

    async def quote(self, draft: Draft, principal: Principal) -> tuple[Plan, Route]:
        """Check, price and route a draft without accepting it. Raises what `plan` raises."""
        plan = await self.plan(draft, principal)
        route = plan.route
        if route is None:
            route = await self._route(plan.request, await self.catalog_for(principal))
        return plan, route

    async def plan(self, draft: Draft, principal: Principal) -> Plan:
        """Check and price a draft without accepting it.

        Raises ModelNotFound, InvalidRequest with every problem found (in the caller's field
        names), NoHealthyUpstream, StoreUnavailable.
        """
        try:
            return await self._plan(draft, await self.catalog_for(principal))
        except InvalidRequest as error:
            raise renamed(error, draft.field_names) from None

    async def all_problems(self, error: PartlyRead) -> InvalidRequest:
        """Give the problems of a partly read call together with those the model's limits show.

        A field that could not be read is not judged a second time.
        """
        known = {problem.field for problem in error.problems}
        more: tuple[Problem, ...] = ()
        try:
            await self._plan(error.draft, self.catalog())
        except InvalidRequest as further:
            more = renamed(further, error.draft.field_names).problems
        except (ModelNotFound, Unavailable):
            pass
        return InvalidRequest(*error.problems, *(p for p in more if p.field not in known))

    async def _plan(self, draft: Draft, catalog: Catalog) -> Plan:
        model = resolve(catalog, draft.request.model)
        request, dropped = normalize(draft.request, model, snap_size=draft.snap_size)
        problems = list(check(request, model.limits, defaults=model.defaults))
        problems += await self.callback_problems(draft.callback)
        seen = request
        has_pictures = bool(request.images) or request.mask is not None
        if has_pictures and not any(problem.field == "images" for problem in problems):
            seen, image_problems = await self._inspected(request)
            problems += image_problems
        if seen is not request and seen != request:
            request = seen
            already = {str(problem) for problem in problems}
            again = check(request, model.limits, defaults=model.defaults)
            problems += [problem for problem in again if str(problem) not in already]
        if problems:
            raise InvalidRequest(*problems)
        route = None
        circuits, drained = await self.outlook.out_of_service()
        if not is_served(request, catalog, circuits, drained):
            route = await self._route(request, catalog)
        ignored = draft.ignored
        if dropped:
            ignored = (*ignored, *(draft.field_names.get(name, name) for name in dropped))
        price, top_up = price_of(request, catalog), catalog.routing.tops_up(model.id)
        return Plan(request, model, price, route, ignored, top_up)

    async def _route(self, request: GenerationRequest, catalog: Catalog) -> Route:
        """Rank the offers for a checked request. Raises InvalidRequest, NoHealthyUpstream."""
        route = rank(request, catalog, await self.outlook.look(), self.clock.now_ms())
        if route.problems:
            raise InvalidRequest(*route.problems)
        if not route.candidates and route.retry_at_ms is None:
            raise NoHealthyUpstream(f"No upstream can serve {request.model!r} right now.")
        return route

    async def callback_problems(self, callback: CallbackSpec | None) -> list[Problem]:
        """Give what the address guard has against a callback's address."""
        if callback is None:
            return []
        refusal = await self.fetcher.judge(callback.url, "callback")
        return [Problem("callback_url", refusal, "invalid_callback_url")] if refusal else []

    async def _inspected(
        self, request: GenerationRequest
    ) -> tuple[GenerationRequest, list[Problem]]:
        """Look at the header of every picture and of the mask, fetching them where needed.

        Gives the request with their facts, and what is wrong with them.
        """
        sent = {f"images[{index}]": image for index, image in enumerate(request.images)}
        if request.mask is not None:
            sent["mask"] = request.mask
        found = await asyncio.gather(
            *(self.inspector.inspect(image, field) for field, image in sent.items())
        )
        problems = [item for item in found if isinstance(item, Problem)]
        known = {
            field: image if isinstance(item, Problem) else item
            for (field, image), item in zip(sent.items(), found, strict=True)
        }
        mask = known.pop("mask", None)
        return replace(request, images=tuple(known.values()), mask=mask), problems

    async def accept(
        self,
        principal: Principal,
        dialect: str,
        draft: Draft,
        mark: CallMark | None = None,
        *,
        task_id: str | None = None,
        watched: bool = True,
    ) -> Admission:
        """Accept a draft: its credits are held and its task is durable when this returns.

        With a ``task_id`` it is that one or none (TaskIdTaken): the same draft under the same id
        makes one task, however often. ``watched``: somebody is going to wait for its end, so it
        is indexed by then too.

        A call that repeats an earlier one (by its ``mark``) is answered with that one's task,
        however the catalogue or the balance stand by now. Raises what `plan` raises,
        IdempotencyConflict, InsufficientCredits, RateLimited and StoreUnavailable; then nothing was
        held.
        """
        if mark is not None and (earlier := await self.recall.earlier(principal, mark)):
            return Admission(earlier, repeated=True)
        plan = await self.plan(draft, principal)
        now_ms = self.clock.now_ms()
        reached(CrashPoint.ACCEPT_PLANNED)
        taken = await self._taken(principal, plan.request.n, draft)
        try:
            task = await self._accepted(principal, dialect, draft, plan, now_ms, mark, task_id)
        except GatewayError as error:
            # What may have been accepted, as that of a caller who left may, stays counted.
            if not isinstance(error, StoreUnavailable) or error.outcome_known:
                await self.limits.give_back(principal.counted_as, taken)
            if not isinstance(error, InsufficientCredits | RateLimited | RepeatedCall):
                raise
            # The same call may have been accepted meanwhile, and taken what was left.
            if mark is None or mark.key is None:
                raise
            earlier = await self.recall.earlier(principal, mark)
            if earlier is None:
                raise
            return Admission(earlier, repeated=True)
        reached(CrashPoint.ACCEPT_HELD)
        if watched:
            await self._indexed(task, now_ms, plan.request)
        else:
            self.indexing.soon(task)
        return Admission(task, verdicts=taken.verdicts, warning=plan.warning)

    async def _indexed(self, task: Task, now_ms: int, request: GenerationRequest) -> None:
        try:
            await self.live.enqueue(task, now_ms, request)
        except Unavailable:
            # Postgres has it; the sweeper indexes it when Valkey is back.
            log.warning("enqueue_failed", task_ids=[task.id])
        reached(CrashPoint.ACCEPT_ENQUEUED)

    async def _taken(self, principal: Principal, images: int, draft: Draft) -> Taken:
        """Take a call from its key's limits a minute.

        Raises RateLimited, InvalidRequest; then nothing was taken.
        """
        limits = possible_limits(principal, images, draft)
        if not limits:
            return NOTHING_TAKEN
        taken = await self.limits.take(principal.counted_as, limits)
        if not (refusals := taken.refusals):
            return taken
        words = " and ".join(f"{one.allowed} {one.name} a minute" for one in refusals)
        left = ", ".join(f"{one.remaining} {one.name}" for one in refusals)
        wait_s = max(one.retry_ms for one in refusals) / 1000
        message = f"This key is limited to {words}; now {left} are left. Retry in {wait_s:.1f} s."
        raise RateLimited(message, wait_s, taken.verdicts)

    async def _accepted(
        self,
        principal: Principal,
        dialect: str,
        draft: Draft,
        plan: Plan,
        now_ms: int,
        mark: CallMark | None,
        task_id: str | None,
    ) -> Task:
        """Store the task under an id that nobody has; the printed formats are short on entropy."""
        tries_left = ID_TRIES if task_id is None else 1
        while True:
            chosen = task_id or self.new_task_id(dialect, now_ms, urandom(16))
            task = _task(chosen, principal, dialect, draft, plan, now_ms)
            tries_left -= 1
            try:
                await self.tasks.accept(NewTask(task, plan.request, draft.callback, mark))
            except TaskIdTaken:
                if not tries_left:
                    raise
            else:
                return task


def resolve(catalog: Catalog, name: str) -> Model:
    """Give the model a name stands for, if it is sold. Raises ModelNotFound."""
    model_id = catalog.aliases.get(name)
    if model_id is None or not catalog.offers.get(model_id):
        sold = [alias for alias, model in catalog.aliases.items() if catalog.offers.get(model)]
        raise ModelNotFound(name, close_names(name, sold))
    return catalog.models[model_id]


def possible_limits(principal: Principal, images: int, draft: Draft) -> tuple[Limit, ...]:
    """Give a call's limits a minute. Raises InvalidRequest when it can never pass one."""
    limits = principal.rules.limits(images)
    for limit in limits:
        if limit.amount > limit.allowed:
            name = draft.field_names.get("n", "n")
            message = f"This key may ask for at most {limit.allowed} pictures a minute."
            raise InvalidRequest(Problem(name, message, legal=f"1 to {limit.allowed}"))
    return limits


def renamed(error: InvalidRequest, names: Mapping[str, str]) -> InvalidRequest:
    """Give the same problems under the caller's own field names."""
    return InvalidRequest(*(in_callers_words(problem, names) for problem in error.problems))


def in_callers_words(problem: Problem, names: Mapping[str, str]) -> Problem:
    """Give a problem under the caller's own field name.

    ``images[1]`` keeps its index unless that picture has a name of its own.
    """
    known = problem.field if problem.field in names else problem.field.partition("[")[0]
    name = names.get(known, known)
    message = problem.message
    if message.startswith(known):
        message = name + message[len(known) :]
    return replace(problem, field=name + problem.field[len(known) :], message=message)


def _task(
    task_id: str, principal: Principal, dialect: str, draft: Draft, plan: Plan, now_ms: int
) -> Task:
    return Task(
        id=task_id,
        team_id=principal.team_id,
        key_id=principal.key_id,
        dialect=dialect,
        model=plan.model.id,
        requested_model=draft.request.model,
        n=plan.request.n,
        tier=plan.price.tier,
        unit_price=plan.price.unit,
        hold=plan.price.hold,
        created_ms=now_ms,
        deadline_ms=now_ms + plan.model.deadline_ms,
        typical_ms=plan.model.typical_ms,
        has_callback=draft.callback is not None,
        user_group=principal.user_group,
        ignored=plan.ignored,
        echo=draft.echo,
        top_up=plan.top_up,
    )
