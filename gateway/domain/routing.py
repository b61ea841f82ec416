"""Which upstream gets a request: filter the offers, then cheapest first (DESIGN §9).

An offer is left out, with its reason in words, by what it can do (its narrowed limits), by the
caller's rules, by the operator (drained, spent enough today), by its circuit, or because it is
busy. What remains is ranked by the caller's order, then by the strategy (`ranking.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.domain.conditions import Conditions, Scope
from gateway.domain.errors import Problem
from gateway.domain.health import WHOLE_UPSTREAM, Circuit, CircuitState
from gateway.domain.model import Catalog, Offer, cost_of
from gateway.domain.money import MicroUsd, format_micro
from gateway.domain.performance import Track
from gateway.domain.ranking import Choice, note_on, ranked
from gateway.domain.request import NO_RULES, GenerationRequest, RouteRules
from gateway.domain.sizes import resolve
from gateway.domain.strategy import Strategy
from gateway.domain.task import Candidate
from gateway.domain.upstream import Job
from gateway.domain.validation import INVALID, check, close_names

BUSY_RETRY_MS = 500
UNKNOWN = Track()


@dataclass(frozen=True, slots=True)
class Route:
    """The decision for one request.

    ``candidates`` are ranked; ``excluded`` gives (upstream, reason) for every other offer, and
    ``unable`` the problems behind the reason where the offer cannot serve such a request.
    ``problems`` is what the caller must change: names in the rules that nobody has, or whatever
    keeps every offer from serving the request. Intake refuses a request with problems; a later
    visit, after a reload took a name away, goes by ``candidates`` alone.
    ``retry_at_ms`` says when an upstream that is only busy or waiting may be free again.
    ``notes`` gives what decided beside the cost, per candidate; ``warning`` says that no healthy
    upstream was left.
    """

    candidates: tuple[Candidate, ...]
    excluded: tuple[tuple[str, str], ...] = ()
    problems: tuple[Problem, ...] = ()
    retry_at_ms: int | None = None
    unable: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    strategy: Strategy = Strategy.CHEAPEST
    notes: Mapping[str, str] = field(default_factory=dict)
    warning: str | None = None

    def words(self) -> tuple[str, ...]:
        """Tell the decision to people: the ranked offers with their cost, then who was left out."""
        offered = (
            f"{place}. {candidate.upstream}: ${format_micro(candidate.planned_cost)}"
            f"{self._note(candidate)}"
            for place, candidate in enumerate(self.candidates, 1)
        )
        left_out = (f"not {name}: {reason}" for name, reason in self.excluded)
        return (*offered, *left_out, *([f"warning: {self.warning}"] if self.warning else []))

    def _note(self, candidate: Candidate) -> str:
        note = self.notes.get(candidate.upstream)
        return f", {note}" if note else ""


def rank(
    request: GenerationRequest,
    catalog: Catalog,
    conditions: Conditions,
    now_ms: int,
    *,
    seed: str = "",
) -> Route:
    """Rank the offers for a normalized request; ``request.model`` is a canonical id.

    Never raises; see ``Route.problems``. Drained upstreams are left out, even the last one. A
    sick upstream is used when there is no healthy one (the last is never ejected), except that
    one asking for patience (Retry-After) is waited for. ``seed`` draws an order by weight.
    """
    offers = catalog.offers.get(request.model, ())
    named = _named_wrongly(request.rules, catalog)
    excluded: dict[str, str] = {}
    allowed = _allowed(offers, request.rules, excluded)
    if offers and not allowed and not named:
        named = (_nothing_allowed(request.rules, offers, excluded),)
    unable: dict[str, tuple[Problem, ...]] = {}
    able, problems = _able(allowed, request, catalog, conditions, now_ms, unable)
    excluded |= {name: "; ".join(map(str, found)) for name, found in unable.items()}
    strategy = request.rules.sort or catalog.routing.for_model(request.model)
    near_tie = catalog.routing.near_tie_percent
    able = ranked(able, strategy, near_tie, seed)
    able = _without_fallbacks(able, request.rules, excluded)
    serving = _in_service(able, catalog, conditions, excluded)
    healthy, waits, warning = _healthy(serving, conditions, request.model, now_ms, excluded)
    free = _free(healthy, catalog, conditions.in_flight, excluded)
    if len(free) < len(healthy):
        waits.append(now_ms + BUSY_RETRY_MS)
    return Route(
        candidates=tuple(_candidate(choice, catalog) for choice in free),
        excluded=tuple(excluded.items()),
        problems=named or problems,
        retry_at_ms=min(waits, default=None),
        unable=unable,
        strategy=strategy,
        notes={choice.upstream: note_on(choice, strategy, near_tie) for choice in free},
        warning=warning if free else None,
    )


def is_served(
    request: GenerationRequest,
    catalog: Catalog,
    circuits: Mapping[Scope, Circuit],
    drained: Collection[str],
) -> bool:
    """Whether `rank` would certainly accept a normalized request, without a warning.

    For intake, which needs no order: one offer that can serve the request, in service, with no
    circuit and no daily cap that could say otherwise. False says nothing.
    """
    if request.rules is not NO_RULES:
        return False
    defaults = catalog.models[request.model].defaults
    return any(
        (offer.upstream, request.model) not in circuits
        and (offer.upstream, WHOLE_UPSTREAM) not in circuits
        and offer.upstream not in drained
        and not catalog.upstreams[offer.upstream].daily_cost
        and not check(request, offer.limits, defaults=defaults)
        for offer in catalog.offers.get(request.model, ())
    )


def job_for(
    request: GenerationRequest, catalog: Catalog, upstream: str, attempt_id: str
) -> Job | None:
    """Give the job an upstream is sent, its size resolved under that offer's own limits.

    None when the upstream or its offer is not configured any more.
    """
    offer = catalog.offer(request.model, upstream)
    account = catalog.upstreams.get(upstream)
    if offer is None or account is None:
        return None
    resolved = resolve(request, offer.limits.size)
    return Job(attempt_id, request, offer, account, resolved.size, resolved.tier)


# --- the caller's rules --------------------------------------------------------------------


def _named_wrongly(rules: RouteRules, catalog: Catalog) -> tuple[Problem, ...]:
    """Give a problem for every name in the rules that is no upstream and no adapter."""
    known = {*catalog.upstreams, *(upstream.adapter for upstream in catalog.upstreams.values())}
    found = []
    for key in ("order", "only", "ignore"):
        for name in getattr(rules, key):
            if name not in known:
                field = f"provider.{key}"
                message = f"{field} names {name[:80]!r}, which is no upstream"
                legal = ", ".join(close_names(name, known) or sorted(known))
                found.append(Problem(field, message, INVALID, legal))
    return tuple(found)


def _is_named(offer: Offer, names: Collection[str]) -> bool:
    return offer.upstream in names or offer.adapter in names


def _allowed(offers: Sequence[Offer], rules: RouteRules, excluded: dict[str, str]) -> list[Offer]:
    """Give the offers the rules leave, noting why the others go."""
    left = []
    for offer in offers:
        if rules.only and not _is_named(offer, rules.only):
            excluded[offer.upstream] = "not in provider.only"
        elif _is_named(offer, rules.ignore):
            excluded[offer.upstream] = "in provider.ignore"
        elif rules.order and not rules.allow_fallbacks and not _is_named(offer, rules.order):
            excluded[offer.upstream] = "not in provider.order, and allow_fallbacks is false"
        else:
            left.append(offer)
    return left


def _nothing_allowed(
    rules: RouteRules, offers: Sequence[Offer], excluded: Mapping[str, str]
) -> Problem:
    """Give the problem of rules that exclude every offer of the model."""
    key = "only" if rules.only else "ignore" if rules.ignore else "order"
    reasons = ", ".join(f"{name} is {reason}" for name, reason in excluded.items())
    message = f"provider.{key} leaves no upstream for this model: {reasons}"
    return Problem(f"provider.{key}", message, INVALID, ", ".join(o.upstream for o in offers))


def _position(offer: Offer, order: Sequence[str]) -> int:
    """Give where an offer stands in the caller's order; behind it when it is not named."""
    for position, name in enumerate(order):
        if name in (offer.upstream, offer.adapter):
            return position
    return len(order)


def _without_fallbacks(
    able: list[Choice], rules: RouteRules, excluded: dict[str, str]
) -> list[Choice]:
    """Keep only the first choice when the caller wants no fallback and named no order."""
    if rules.allow_fallbacks or rules.order:
        return able
    for choice in able[1:]:
        excluded[choice.upstream] = f"{able[0].upstream} is preferred, and allow_fallbacks is false"
    return able[:1]


# --- ability, health, capacity -------------------------------------------------------------


def _able(
    offers: Sequence[Offer],
    request: GenerationRequest,
    catalog: Catalog,
    conditions: Conditions,
    now_ms: int,
    unable: dict[str, tuple[Problem, ...]],
) -> tuple[list[Choice], tuple[Problem, ...]]:
    """Give the offers that can serve the request, and the nearest one's problems if none can.

    The nearest is the one with the fewest problems, then the cheapest.
    """
    model = catalog.models.get(request.model)
    defaults = model.defaults if model is not None else {}
    able: list[Choice] = []
    others: list[tuple[int, MicroUsd, str]] = []
    for offer in offers:
        problems = check(request, offer.limits, defaults=defaults)
        if problems:
            unable[offer.upstream] = problems
            others.append((len(problems), offer.cost.per_image("1K"), offer.upstream))
            continue
        resolved = resolve(request, offer.limits.size)
        unit = cost_of(offer, resolved.tier, 1, edits=bool(request.images))
        limit = request.rules.max_price
        if limit is not None and unit > limit:
            unable[offer.upstream] = (_too_dear(unit, limit),)
            others.append((1, unit, offer.upstream))
            continue
        track = conditions.tracks.get((offer.upstream, offer.model), UNKNOWN)
        able.append(
            Choice(
                offer,
                resolved,
                unit * request.n,
                order=_position(offer, request.rules.order),
                load=_load(catalog, conditions.in_flight, offer.upstream),
                expected_ms=track.expected_ms(model.typical_ms if model else 0, now_ms),
                success=track.success_rate(now_ms),
            )
        )
    nearest = min(others, default=None)
    return able, () if able or nearest is None else unable[nearest[2]]


def _too_dear(unit: MicroUsd, limit: MicroUsd) -> Problem:
    field = "provider.max_price"
    message = f"{field} is ${format_micro(limit)}, a picture costs ${format_micro(unit)}"
    return Problem(field, message, INVALID)


def _load(catalog: Catalog, in_flight: Mapping[str, int], upstream: str) -> float:
    most = catalog.upstreams[upstream].max_in_flight
    return min(in_flight.get(upstream, 0) / most, 1.0) if most else 0.0


def _in_service(
    able: Sequence[Choice], catalog: Catalog, conditions: Conditions, excluded: dict[str, str]
) -> list[Choice]:
    """Give the choices the operator leaves in service, noting why the others go."""
    left = []
    for choice in able:
        most = catalog.upstreams[choice.upstream].daily_cost
        spent = conditions.spent.get(choice.upstream, 0)
        if choice.upstream in conditions.drained:
            excluded[choice.upstream] = "drained by the operator"
        elif most and spent + choice.cost > most:
            today = f"${format_micro(spent)} of ${format_micro(most)} spent today (UTC)"
            excluded[choice.upstream] = f"daily cost cap: {today}"
        else:
            left.append(choice)
    return left


def _healthy(
    able: Sequence[Choice],
    conditions: Conditions,
    model: str,
    now_ms: int,
    excluded: dict[str, str],
) -> tuple[list[Choice], list[int], str | None]:
    """Give the choices whose circuits admit, else the sick ones with a warning.

    And when a waiting one may admit: a vendor's Retry-After is waited out even by the last one,
    benched or not.
    """
    healthy: list[Choice] = []
    sick: list[Choice] = []
    waits: list[int] = []
    circuits = conditions.circuits
    for choice in able:
        keys = ((choice.upstream, model), (choice.upstream, WHOLE_UPSTREAM))
        found = [circuits[key] for key in keys if key in circuits]
        shut = [circuit for circuit in found if not circuit.admits(now_ms)]
        if not shut:
            healthy.append(choice)
            continue
        excluded[choice.upstream] = _why_shut(shut[0], now_ms)
        throttled_until_ms = max(circuit.throttled_until_ms for circuit in shut)
        if throttled_until_ms > now_ms:
            waits.append(throttled_until_ms)
        else:
            sick.append(choice)
    if healthy or waits or not sick:
        return healthy, waits if not healthy else [], None
    reasons = "; ".join(f"{c.upstream} is {excluded.pop(c.upstream)}" for c in sick)
    return sick, [], f"no healthy upstream is left, so a sick one is used: {reasons}"


def _why_shut(circuit: Circuit, now_ms: int) -> str:
    because = f": {circuit.reason}" if circuit.reason else ""
    if circuit.state(now_ms) is CircuitState.HALF_OPEN:
        return f"recovering, one task is trying it{because}"
    seconds = -(-(circuit.shut_until_ms - now_ms) // 1000)
    return f"resting for {seconds} s{because}"


def _free(
    choices: Sequence[Choice],
    catalog: Catalog,
    in_flight: Mapping[str, int],
    excluded: dict[str, str],
) -> list[Choice]:
    free = []
    for choice in choices:
        most = catalog.upstreams[choice.upstream].max_in_flight
        if most and in_flight.get(choice.upstream, 0) >= most:
            running = in_flight[choice.upstream]
            excluded[choice.upstream] = f"busy: {running} of {most} jobs running"
        else:
            free.append(choice)
    return free


def _candidate(choice: Choice, catalog: Catalog) -> Candidate:
    upstream = catalog.upstreams[choice.upstream]
    return Candidate(
        upstream=choice.upstream,
        adapter=choice.offer.adapter,
        upstream_model=choice.offer.upstream_model,
        planned_cost=choice.cost,
        idempotent=upstream.idempotent_submit,
        on_ambiguous=upstream.on_ambiguous,
    )
