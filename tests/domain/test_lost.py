"""Which jobs of a vendor's list are those of lost submits, and where the list proves nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.errors import Blame
from gateway.domain.lost import LATE_MS, SKEW_MS, ListedJob, LostSubmit, job_of, verdicts
from tests.domain.tasks import NOW, failed, started
from tests.domain.tasks import a_task as task_of

T = 10_000_000
MINUTE = 60_000


def lost(name: str = "a", at_ms: int = T, **changes: Any) -> LostSubmit:
    return replace(LostSubmit(name, "wan", at_ms, at_ms + 1_000, exposure=20_000), **changes)


def made(name: str = "j", at_ms: int = T + 100, model: str = "wan") -> ListedJob:
    return ListedJob(name, model, at_ms)


def test_an_attempt_listens_until_it_is_given_up():
    unknown = task_of(started("a")).attempts[0]
    assert LostSubmit.of(unknown) == LostSubmit("a1", "m", NOW, NOW)
    ended = task_of(started("a"), failed(Blame.PROVIDER)).attempts[0]
    assert LostSubmit.of(ended) == LostSubmit("a1", "m", NOW, NOW + 10)


@pytest.mark.parametrize(
    ("job", "may"),
    [
        (made(), True),
        (made(model=""), True),
        (made(model="wan2"), False),
        (made(at_ms=T - SKEW_MS), True),
        (made(at_ms=T - SKEW_MS - 1), False),
        (made(at_ms=T + 1_000 + LATE_MS), True),
        (made(at_ms=T + 1_001 + LATE_MS), False),
    ],
)
def test_a_job_is_of_a_submit_by_model_and_time(job, may):
    assert lost().may_have_made(job) is may
    assert lost().since_ms == T - SKEW_MS
    assert lost().until_ms(T + 9) == T + 1_000 + LATE_MS


def test_a_submit_under_way_may_have_made_whatever_came_after_it():
    running = lost(finished_ms=None)
    assert running.may_have_made(made(at_ms=T + 60 * MINUTE))
    assert running.until_ms(T + 77) == T + 77


def test_the_only_job_of_the_time_is_the_submits_own():
    assert job_of(lost(), [], [made(), made("early", T - 5 * MINUTE)]) == made()


@pytest.mark.parametrize(
    ("others", "jobs"),
    [
        ([], []),
        ([], [made("j"), made("k")]),
        ([], [made(model="")]),
        ([lost("b")], [made()]),
        ([lost("b", T - 1_000, finished_ms=None)], [made()]),
    ],
    ids=["none", "two", "a strange model", "another lost one", "one under way"],
)
def test_a_job_that_may_be_anothers_is_left_alone(others, jobs):
    assert job_of(lost(), others, jobs) is None


def test_a_rival_of_another_time_or_model_is_none():
    others = [lost("b", T + 10 * MINUTE), lost("c", model="wan2")]
    assert job_of(lost(), others, [made()]) == made()


def said(ones, jobs, *, others=(), exclusive=True):
    found = verdicts(ones, others, jobs, exclusive=exclusive)
    return {name: job and job.id for name, job in found.items()}


@pytest.mark.parametrize("exclusive", [True, False])
def test_without_a_job_in_its_time_nothing_was_made_whoever_uses_the_account(exclusive):
    far = [made("far", T + 10 * MINUTE), made("other", model="wan2")]
    pair = [lost("a"), lost("b", T + 5)]
    assert said(pair, far, exclusive=exclusive) == {"a": None, "b": None}
    assert said(pair, [], others=[lost("c")], exclusive=exclusive) == {"a": None, "b": None}


def test_one_job_and_one_submit_belong_together_at_an_account_of_our_own():
    assert said([lost()], [made()]) == {"a": "j"}
    assert said([lost()], [made()], exclusive=False) == {}


def test_several_of_one_cost_are_paired_in_order_of_time_and_the_rest_made_nothing():
    three = [lost("b", T + 500), lost("a"), lost("c", T + 900)]
    jobs = [made("k", T + 950), made("j", T + 10)]
    assert said(three, jobs) == {"a": "j", "b": "k", "c": None}


@pytest.mark.parametrize(
    ("ones", "jobs", "others"),
    [
        ([lost()], [made("j"), made("k")], []),
        ([lost()], [made(), made("k", model="")], []),
        ([lost()], [made()], [lost("x")]),
        ([lost("a"), lost("b", exposure=9)], [made()], []),
        ([lost("a"), lost("b", n=2)], [made()], []),
    ],
    ids=["a stranger's", "a strange model", "a rival", "another cost", "another count"],
)
def test_what_the_list_does_not_prove_is_left_standing(ones, jobs, others):
    assert said(ones, jobs, others=others) == {}


def test_a_strange_model_counts_against_everything_in_its_time():
    assert said([lost()], [made(model="")]) == {}


def test_a_pairing_that_leaves_a_job_over_is_none():
    # Both jobs are only of the first submit's time: there was one more than it can have made.
    pair = [lost("a"), lost("b", T + 3 * MINUTE)]
    jobs = [made("j", T), made("k", T + 10)]
    assert said(pair, jobs) == {}


def test_models_and_times_far_apart_are_judged_alone():
    ones = [lost("a"), lost("b", T + 10 * MINUTE), lost("c", model="wan2"), lost("d", T + 5)]
    jobs = [made("j"), made("k"), made("m", model="wan2")]
    assert said(ones, jobs) == {"a": "j", "d": "k", "b": None, "c": "m"}
