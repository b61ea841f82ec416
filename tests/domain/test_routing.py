"""Routing: who is left out and why, and that the cheapest able and healthy upstream comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.conditions import Conditions
from gateway.domain.health import WHOLE_UPSTREAM, Circuit
from gateway.domain.model import OnAmbiguous
from gateway.domain.request import GenerationRequest, RouteRules, Size
from gateway.domain.routing import BUSY_RETRY_MS, Route, is_served, job_for, rank
from gateway.domain.validation import normalize
from tests.support.catalogs import ask, catalog_of, model, pictures, upstream_toml

NOW = 1_800_000_000_000
WAN25, WAN27, PRO = "wan2.5-t2i-preview", "wan2.7-image", "wan2.7-image-pro"
CATALOG = catalog_of(
    upstream_toml("cheap", "evolink", {WAN25: "0.022"})
    + upstream_toml("beijing", "dashscope", {WAN25: "0.029", WAN27: "0.0294", PRO: "0.0735"})
    + upstream_toml("queue", "fal", {WAN25: "0.05"}, "max_in_flight = 2")
    + upstream_toml("wave", "qingbo", {WAN27: "0.02295", PRO: "0.0612"})
    + upstream_toml("verse", "modelverse", {WAN27: "0.027", PRO: "0.068"})
)
OPEN = Circuit(open_until_ms=NOW + 30_000, bench_ms=30_000, reason="HTTP 500")


def route(request: GenerationRequest, circuits=None, in_flight=None, **more) -> Route:
    normal, _ = normalize(request, model(request.model))
    conditions = Conditions(circuits or {}, in_flight=in_flight or {}, **more)
    return rank(normal, CATALOG, conditions, NOW)


def names(found: Route) -> list[str]:
    return [candidate.upstream for candidate in found.candidates]


def test_the_cheapest_comes_first():
    assert names(route(ask(WAN25, size="1280x1280"))) == ["cheap", "beijing", "queue"]
    assert names(route(ask(WAN27))) == ["wave", "verse", "beijing"]


def test_a_candidate_carries_what_an_attempt_needs():
    first = route(ask(WAN25, n=3)).candidates[0]
    assert (first.upstream, first.adapter, first.upstream_model) == (
        "cheap",
        "evolink",
        "wan2.5-text-to-image",
    )
    assert first.planned_cost == 66_000
    assert first.idempotent
    assert first.on_ambiguous is OnAmbiguous.FAILOVER


@pytest.mark.parametrize(
    ("request_", "served", "reason"),
    [
        (ask(WAN25, seed=1), ["beijing", "queue"], ("cheap", "seed is not supported")),
        (
            ask(WAN25, size="1024x1024"),
            ["cheap", "queue"],
            ("beijing", "size 1024x1024 has 1048576 pixels, fewer than 1265x1265"),
        ),
        (ask(WAN25, watermark=True), ["beijing"], ("queue", "watermark is not supported")),
        (
            ask(WAN27, tier="4K"),
            ["wave"],
            ("beijing", "tier 4K is too large here; wan2.7-image-pro"),
        ),
        (ask(PRO, tier="4K"), ["wave", "verse", "beijing"], None),
        (ask(WAN27, size="1920x1080"), ["beijing"], ("verse", "is not one of the sizes made here")),
        (ask(WAN27, aspect_ratio="16:9"), ["wave", "beijing"], ("verse", "16:9 is not made here")),
        (ask(WAN27, seed=0), ["wave", "beijing"], ("verse", "seed is 0")),
        (ask(WAN27, "", images=pictures(1)), ["verse"], ("wave", "prompt is required")),
        (
            ask(WAN27, images=pictures(1, byte_count=25_000_000)),
            ["wave"],
            ("beijing", "images[0] has 25000000 bytes"),
        ),
        (
            ask(WAN27, images=pictures(1, media_type="image/bmp")),
            ["verse", "beijing"],
            ("wave", "images[0] is image/bmp"),
        ),
    ],
)
def test_an_upstream_that_cannot_is_left_out_with_its_reason(request_, served, reason):
    found = route(request_)
    assert names(found) == served
    if reason is not None:
        assert reason[1] in dict(found.excluded)[reason[0]]


def test_what_is_the_default_anyway_demands_nothing():
    assert names(route(ask(WAN25, watermark=False, rewrite_prompt=True)))[0] == "cheap"


def test_when_nobody_can_the_nearest_ones_problems_are_the_callers():
    found = route(ask(WAN25, seed=3, watermark=True, size="1024x1024"))
    assert names(found) == []
    assert [p.field for p in found.problems] == ["size"]
    assert "1280x1280" in found.problems[0].message
    assert found.retry_at_ms is None


def test_a_snapped_size_is_served_by_all_at_what_it_becomes_there():
    found = route(ask(WAN25, size="1024x1024", snap_size=True))
    assert names(found) == ["cheap", "beijing", "queue"]


@pytest.mark.parametrize(
    ("rules", "served", "reason"),
    [
        (RouteRules(only=("fal",)), ["queue"], ("cheap", "not in provider.only")),
        (RouteRules(only=("queue", "dashscope")), ["beijing", "queue"], None),
        (RouteRules(ignore=("evolink",)), ["beijing", "queue"], ("cheap", "in provider.ignore")),
        (RouteRules(order=("queue",)), ["queue", "cheap", "beijing"], None),
        (RouteRules(order=("fal", "beijing")), ["queue", "beijing", "cheap"], None),
        (
            RouteRules(order=("queue", "cheap"), allow_fallbacks=False),
            ["queue", "cheap"],
            ("beijing", "not in provider.order, and allow_fallbacks is false"),
        ),
        (
            RouteRules(allow_fallbacks=False),
            ["cheap"],
            ("queue", "cheap is preferred, and allow_fallbacks is false"),
        ),
        (
            RouteRules(max_price=29_000),
            ["cheap", "beijing"],
            ("queue", "provider.max_price is $0.029, a picture costs $0.05"),
        ),
    ],
)
def test_the_callers_rules(rules, served, reason):
    found = route(ask(WAN25, rules=rules))
    assert names(found) == served
    assert found.problems == ()
    assert reason is None or dict(found.excluded)[reason[0]] == reason[1]


def test_unknown_names_in_rules_are_told_with_close_ones():
    found = route(ask(WAN25, rules=RouteRules(order=("cheep",), ignore=("nobody",))))
    near, far = found.problems
    assert (near.field, near.legal) == ("provider.order", "cheap")
    assert far.field == "provider.ignore"
    assert far.legal == (
        "beijing, cheap, dashscope, evolink, fal, modelverse, qingbo, queue, verse, wave"
    )


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (RouteRules(only=("wave",)), "provider.only"),
        (RouteRules(ignore=("evolink", "dashscope", "fal")), "provider.ignore"),
        (RouteRules(order=("wave",), allow_fallbacks=False), "provider.order"),
        (RouteRules(max_price=1), "provider.max_price"),
    ],
)
def test_rules_that_leave_nobody_are_the_callers_problem(rules, field):
    found = route(ask(WAN25, rules=rules))
    assert names(found) == []
    assert [p.field for p in found.problems] == [field]


def test_a_sick_upstream_is_left_out_while_another_is_healthy():
    found = route(ask(WAN25), {("cheap", WAN25): OPEN})
    assert names(found) == ["beijing", "queue"]
    assert dict(found.excluded)["cheap"] == "resting for 30 s: HTTP 500"


def test_an_account_fault_rests_the_upstream_for_every_model():
    found = route(ask(WAN25), {("cheap", WHOLE_UPSTREAM): OPEN, ("beijing", PRO): OPEN})
    assert names(found) == ["beijing", "queue"]


def test_a_recovering_upstream_takes_one_task_at_a_time():
    past = Circuit(open_until_ms=NOW - 1, bench_ms=30_000)
    assert names(route(ask(WAN25), {("cheap", WAN25): past}))[0] == "cheap"
    busy = Circuit(open_until_ms=NOW - 1, bench_ms=30_000, trial_until_ms=NOW + 5)
    found = route(ask(WAN25), {("cheap", WAN25): busy})
    assert dict(found.excluded)["cheap"] == "recovering, one task is trying it"


def test_the_last_upstreams_are_never_ejected():
    sick = {(name, WAN25): OPEN for name in ("cheap", "beijing", "queue")}
    found = route(ask(WAN25), sick)
    assert names(found) == ["cheap", "beijing", "queue"]
    assert found.excluded == ()
    assert found.warning == (
        "no healthy upstream is left, so a sick one is used: "
        "cheap is resting for 30 s: HTTP 500; beijing is resting for 30 s: HTTP 500; "
        "queue is resting for 30 s: HTTP 500"
    )
    assert found.words()[-1] == f"warning: {found.warning}"
    assert route(ask(WAN25), {("cheap", WAN25): OPEN}).warning is None


def test_the_last_upstream_is_waited_for_when_it_asked_for_patience():
    patient = Circuit(throttled_until_ms=NOW + 7_000, reason="HTTP 429")
    found = route(ask(WAN25, rules=RouteRules(only=("cheap",))), {("cheap", WAN25): patient})
    assert (names(found), found.retry_at_ms, found.problems) == ([], NOW + 7_000, ())
    assert dict(found.excluded)["cheap"] == "resting for 7 s: HTTP 429"
    found = route(ask(WAN25), {("cheap", WAN25): patient})
    assert (names(found), found.retry_at_ms) == (["beijing", "queue"], None)
    both = Circuit(open_until_ms=NOW + 30_000, throttled_until_ms=NOW + 7_000)
    found = route(ask(WAN25, rules=RouteRules(only=("cheap",))), {("cheap", WAN25): both})
    assert (names(found), found.retry_at_ms) == ([], NOW + 7_000)


def test_a_full_upstream_is_left_out_and_asked_again_soon():
    found = route(ask(WAN25, rules=RouteRules(only=("queue",))), in_flight={"queue": 2})
    assert (names(found), found.retry_at_ms) == ([], NOW + BUSY_RETRY_MS)
    assert dict(found.excluded)["queue"] == "busy: 2 of 2 jobs running"
    assert names(route(ask(WAN25), in_flight={"queue": 1}))[-1] == "queue"


def test_a_drained_upstream_is_left_out_even_if_it_is_the_last():
    found = route(ask(WAN25, rules=RouteRules(only=("cheap",))), drained={"cheap"})
    assert (names(found), found.problems, found.retry_at_ms) == ([], (), None)
    assert dict(found.excluded)["cheap"] == "drained by the operator"


def test_an_upstream_that_spent_enough_today_is_left_out():
    capped = catalog_of(
        upstream_toml("cheap", "evolink", {WAN25: "0.022"}, 'daily_cost_usd = "10"')
        + upstream_toml("beijing", "dashscope", {WAN25: "0.029"})
    )

    def found(spent: int, n: int = 1) -> Route:
        return rank(ask(WAN25, n=n), capped, Conditions(spent={"cheap": spent}), NOW)

    assert names(found(9_978_000)) == ["cheap", "beijing"]
    assert names(found(9_978_000, n=2)) == ["beijing"]
    reason = "daily cost cap: $9.978001 of $10 spent today (UTC)"
    assert found(9_978_001).excluded == (("cheap", reason),)


def test_equal_costs_go_to_the_less_loaded_then_by_name():
    twins = catalog_of(
        "".join(
            upstream_toml(name, "evolink", {WAN25: "0.022"}, "max_in_flight = 10")
            for name in ("b", "a", "c")
        )
    )
    ranked = rank(ask(WAN25), twins, Conditions(in_flight={"a": 5}), NOW)
    assert names(ranked) == ["b", "c", "a"]


def test_a_model_nobody_offers_has_no_route_and_no_blame():
    found = rank(ask("wan2.6-t2i"), CATALOG, Conditions(), NOW)
    assert (found.candidates, found.excluded, found.problems) == ((), (), ())
    assert rank(ask("gone-after-reload"), CATALOG, Conditions(), NOW).candidates == ()


def test_a_job_has_the_size_of_the_offer_it_is_for():
    wish = ask(WAN25, size="1024x1024", snap_size=True)
    job = job_for(wish, CATALOG, "beijing", "attempt-1")
    assert job is not None
    assert (job.size, job.tier, job.attempt_id) == (Size(1280, 1280), "2K", "attempt-1")
    assert job.offer.upstream_model == WAN25
    assert job.upstream.name == "beijing"
    assert job_for(wish, CATALOG, "gone", "attempt-1") is None
    assert job_for(ask(WAN27), CATALOG, "cheap", "attempt-1") is None


def test_a_route_shows_no_key():
    job = job_for(ask(WAN25), CATALOG, "beijing", "attempt-1")
    assert job is not None
    assert job.upstream.api_key.value == "k"
    assert repr(job.upstream.api_key) == str(job.upstream.api_key) == "Secret('**********')"


CIRCUITS = st.builds(
    Circuit,
    open_until_ms=st.sampled_from([0, NOW - 1, NOW + 1, NOW + 60_000]),
    throttled_until_ms=st.sampled_from([0, NOW - 1, NOW + 5_000]),
    trial_until_ms=st.sampled_from([0, NOW + 10]),
)
REQUESTS = st.builds(
    ask,
    st.sampled_from([WAN25, WAN27, PRO]),
    n=st.integers(1, 4),
    seed=st.sampled_from([None, 0, 7]),
    tier=st.sampled_from([None, "1K", "4K"]),
    watermark=st.sampled_from([None, True]),
    snap_size=st.booleans(),
    rules=st.builds(
        RouteRules,
        only=st.sampled_from([(), ("fal", "wave", "beijing")]),
        ignore=st.sampled_from([(), ("evolink",)]),
        order=st.sampled_from([(), ("queue",), ("dashscope",)]),
        allow_fallbacks=st.booleans(),
        max_price=st.sampled_from([None, 25_000, 60_000]),
    ),
)
UPSTREAMS = st.sampled_from(["cheap", "beijing", "queue", "wave", "verse"])
SCOPES = st.tuples(UPSTREAMS, st.sampled_from([WAN25, WAN27, PRO, WHOLE_UPSTREAM]))


@given(
    REQUESTS,
    st.dictionaries(SCOPES, CIRCUITS, max_size=8),
    st.dictionaries(UPSTREAMS, st.integers(0, 9)),
    st.frozensets(UPSTREAMS, max_size=2),
)
def test_every_route_is_sorted_complete_and_repeatable(request, circuits, in_flight, drained):
    found = route(request, circuits, in_flight, drained=drained)
    assert found == route(request, circuits, in_flight, drained=drained)
    excluded = dict(found.excluded)
    assert not excluded.keys() & set(names(found))
    assert excluded.keys() | set(names(found)) == {
        o.upstream for o in CATALOG.offers[request.model]
    }
    assert not drained & set(names(found))
    if not request.rules.order:
        costs = [candidate.planned_cost for candidate in found.candidates]
        assert costs == sorted(costs)
    if not found.problems and not drained and not found.candidates:
        assert found.retry_at_ms is not None
    for name in names(found):
        most = CATALOG.upstreams[name].max_in_flight
        assert not most or in_flight.get(name, 0) < most


def test_a_decision_is_told_in_words_with_costs_first_and_reasons_after():
    found = route(ask(WAN25, n=2), {("beijing", WAN25): OPEN})
    assert found.words() == (
        "1. cheap: $0.044",
        "2. queue: $0.1",
        "not beijing: resting for 30 s: HTTP 500",
    )


# --- intake: is one offer plainly enough? --------------------------------------------------------

CAPPED = catalog_of(
    upstream_toml("cheap", "evolink", {WAN25: "0.022"}, 'daily_cost_usd = "1"')
    + upstream_toml("queue", "fal", {WAN25: "0.05"}, "max_in_flight = 2")
)


@pytest.mark.parametrize(
    ("request_", "circuits", "drained", "served"),
    [
        (ask(WAN25), {}, (), True),
        (ask(WAN25, seed=1), {}, (), True),
        (ask(WAN25), {("queue", WAN25): OPEN}, (), False),
        (ask(WAN25), {("queue", WHOLE_UPSTREAM): OPEN}, (), False),
        (ask(WAN25), {("cheap", WAN25): OPEN}, (), True),
        (ask(WAN25), {}, ("queue",), False),
        (ask(WAN25, prompt="long " * 500), {}, (), False),
        (ask(WAN25, rules=RouteRules(only=("queue",))), {}, (), False),
        (ask(WAN27), {}, (), False),
    ],
)
def test_an_offer_in_service_without_circuit_and_cap_is_enough(request_, circuits, drained, served):
    assert is_served(request_, CAPPED, circuits, drained) is served


@given(
    request_=st.builds(
        ask,
        model=st.sampled_from([WAN25, WAN27, PRO]),
        prompt=st.sampled_from(["a kite", "long " * 500, ""]),
        seed=st.none() | st.just(1),
        n=st.integers(0, 5),
        size=st.sampled_from(["1280x1280", "64x64", "4096x4096"]),
        images=st.integers(0, 2).map(pictures),
    ),
    circuits=st.dictionaries(
        st.tuples(
            st.sampled_from(["cheap", "beijing", "queue", "wave", "verse"]),
            st.sampled_from([WAN25, WAN27, PRO, WHOLE_UPSTREAM]),
        ),
        st.sampled_from([OPEN, Circuit(throttled_until_ms=NOW + 5_000)]),
        max_size=4,
    ),
    drained=st.sets(st.sampled_from(["cheap", "beijing", "queue", "wave", "verse"])),
    in_flight=st.dictionaries(st.just("queue"), st.integers(0, 3)),
)
def test_what_is_plainly_served_has_a_route_without_a_warning(
    request_, circuits, drained, in_flight
):
    normal, _ = normalize(request_, model(request_.model))
    if is_served(normal, CATALOG, circuits, drained):
        found = rank(normal, CATALOG, Conditions(circuits, {}, in_flight, {}, drained), NOW)
        assert not found.problems
        assert found.warning is None
        assert found.candidates or found.retry_at_ms is not None
