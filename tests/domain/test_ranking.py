"""Strategies: what comes first among the offers that could serve a request."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.conditions import Conditions
from gateway.domain.performance import Track
from gateway.domain.request import RouteRules
from gateway.domain.routing import Route, rank
from gateway.domain.strategy import Strategy
from tests.support.catalogs import ask, catalog_of, problems_of, upstream_toml

NOW = 1_800_000_000_000
MODEL = "wan2.5-t2i-preview"
COSTS = {"cheap": "0.022", "near": "0.023", "dear": "0.05"}


def fast(seconds: float) -> Track:
    return Track(NOW, 1, 1, seconds * 1000, NOW)


def failing(share: float) -> Track:
    return Track(NOW, 1_000, 1_000 * (1 - share))


def route(head: str = "", tracks=None, more: str = "", seed: str = "", **rules) -> Route:
    catalog = catalog_of(
        head
        + "".join(upstream_toml(name, "evolink", {MODEL: cost}) for name, cost in COSTS.items())
        + more
    )
    conditions = Conditions(tracks={(name, MODEL): track for name, track in (tracks or {}).items()})
    return rank(ask(MODEL, rules=RouteRules(**rules)), catalog, conditions, NOW, seed=seed)


def names(found: Route) -> list[str]:
    return [candidate.upstream for candidate in found.candidates]


def routing(strategy: str, band: str = "0") -> str:
    return f'[routing]\nstrategy = "{strategy}"\nnear_tie_percent = {band}\n'


def test_cheapest_is_the_default_and_time_does_not_matter_then():
    found = route(tracks={"cheap": fast(90), "dear": fast(1)})
    assert (names(found), found.strategy) == (["cheap", "near", "dear"], Strategy.CHEAPEST)
    assert found.words()[0] == "1. cheap: $0.022"


def test_within_the_band_the_faster_one_is_first_and_the_words_say_so():
    tracks = {"cheap": fast(20), "near": fast(8)}
    assert names(route(routing("cheapest", "4"), tracks)) == ["cheap", "near", "dear"]
    found = route(routing("cheapest", "5"), tracks)
    assert names(found) == ["near", "cheap", "dear"]
    assert found.words()[:2] == (
        "1. near: $0.023, takes about 8.0 s",
        "2. cheap: $0.022, takes about 20.0 s",
    )


def test_fastest_goes_by_time_and_then_by_cost():
    found = route(routing("fastest"), {"dear": fast(2), "cheap": fast(30), "near": fast(30)})
    assert names(found) == ["dear", "cheap", "near"]
    assert found.words()[0] == "1. dear: $0.05, takes about 2.0 s"


def test_what_is_unknown_takes_as_long_as_the_model_typically_does():
    found = route(routing("fastest"), {"dear": fast(2), "cheap": fast(600)})
    assert names(found) == ["dear", "near", "cheap"]


def test_effective_is_cost_per_success():
    tracks = {"cheap": failing(0.9), "near": failing(0.5)}
    found = route(routing("effective"), tracks)
    assert names(found) == ["near", "dear", "cheap"]
    assert found.words()[1] == "2. dear: $0.05, 100% end well"


def test_a_model_may_have_a_strategy_of_its_own_and_the_caller_another():
    tracks = {"dear": fast(1), "cheap": failing(0.9)}
    head = routing("fastest") + f'[models."{MODEL}"]\nstrategy = "effective"\n'
    assert route(head, tracks).strategy is Strategy.EFFECTIVE
    assert names(route(head, tracks, sort=Strategy.FASTEST))[0] == "dear"
    assert names(route(head, tracks, sort=Strategy.CHEAPEST))[0] == "cheap"


def test_the_callers_order_comes_before_every_strategy():
    for strategy in Strategy:
        found = route(routing(strategy.value, "50"), {"cheap": fast(1)}, order=("dear",))
        assert names(found)[0] == "dear"


def canary(head: str, weights: dict[str, int], seed: str) -> list[str]:
    catalog = catalog_of(
        head
        + "".join(
            upstream_toml(name, "evolink", {MODEL: COSTS[name]}) + f"weight = {weight}\n"
            for name, weight in weights.items()
        )
    )
    return names(rank(ask(MODEL), catalog, Conditions(), NOW, seed=seed))


def test_weights_share_out_the_tasks():
    weights = {"cheap": 90, "near": 10, "dear": 0}
    drawn = [canary(routing("weighted"), weights, f"task-{no}") for no in range(1_000)]
    first = Counter(order[0] for order in drawn)
    assert 70 <= first["near"] <= 130
    assert first["near"] + first["cheap"] == 1_000
    assert {order[2] for order in drawn} == {"dear"}, "weight 0 is only failed over to"


def test_a_task_is_drawn_the_same_order_every_time():
    weights = {"cheap": 1, "near": 1, "dear": 1}
    for no in range(20):
        first, again = (canary(routing("weighted"), weights, f"task-{no}") for _ in "ab")
        assert first == again


@pytest.mark.parametrize(
    ("head", "where", "words"),
    [
        ('[routing]\nstrategy = "cheepest"\n', "routing.strategy", "did you mean 'cheapest'"),
        ("[routing]\nnear_tie_percent = 101\n", "routing.near_tie_percent", "at most 100"),
        ("[routing]\nnear_tie = 1\n", "routing.near_tie", "did you mean 'near_tie_percent'"),
    ],
)
def test_a_wrong_policy_is_told(head, where, words):
    ((place, message),) = problems_of(head)
    assert place == where
    assert words in message


@given(
    st.sampled_from(list(Strategy)),
    st.integers(0, 100),
    st.dictionaries(st.sampled_from(list(COSTS)), st.floats(0.1, 600).map(fast)),
    st.text(max_size=8),
)
def test_every_strategy_keeps_everybody_and_repeats_itself(strategy, band, tracks, seed):
    found = route(routing(strategy.value, str(band)), tracks, seed=seed)
    assert sorted(names(found)) == sorted(COSTS)
    assert found == route(routing(strategy.value, str(band)), tracks, seed=seed)


@given(
    st.integers(0, 100),
    st.dictionaries(st.sampled_from(list(COSTS)), st.floats(0.1, 600).map(fast)),
)
def test_nobody_is_preferred_to_one_cheaper_by_more_than_the_band(band, tracks):
    found = route(routing("cheapest", str(band)), tracks)
    costs = [candidate.planned_cost for candidate in found.candidates]
    for place, cost in enumerate(costs):
        assert all(cost <= later * (1 + band / 100) + 1e-9 for later in costs[place:])
