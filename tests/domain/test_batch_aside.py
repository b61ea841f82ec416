"""Lines that wait for their model: the others go on, in order, and one line tries for all."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain import batch_aside
from gateway.domain.batch_aside import Aside

WAIT_S = 3
NEVER = 10_000


def test_what_needs_the_same_waits_with_a_line_that_was_refused():
    aside = Aside()
    assert aside.admits(1, "sick", 0.0)
    aside.refuse(1, "sick", 5.0)
    assert not aside.admits(2, "sick", 1.0)
    assert aside.admits(3, "well", 1.0)
    assert (len(aside), aside.passed_over(1.0)) == (2, [1, 2])


def test_after_the_wait_the_first_line_is_tried_alone_and_takes_the_others_along():
    aside = Aside()
    for no in (7, 4):
        aside.refuse(no, "sick", 5.0)
    aside.refuse(1, "worse", 9.0)
    assert aside.passed_over(5.0) == [1, 7]
    assert aside.admits(4, "sick", 5.0)
    assert not aside.admits(7, "sick", 5.0)
    aside.take("sick")
    assert aside.passed_over(5.0) == [1]
    assert aside.admits(7, "sick", 5.0)


def test_a_line_that_fails_by_itself_says_nothing_about_its_model():
    aside = Aside()
    aside.refuse(1, "sick", 5.0)
    aside.refuse(2, "sick", 5.0)
    aside.drop(1)
    assert not aside.admits(3, "sick", 1.0)
    assert aside.admits(2, "sick", 5.0)
    for no in (2, 3, 99):
        aside.drop(no)
    assert aside.admits(4, "sick", 1.0)


def test_no_more_are_put_aside_than_there_is_room_for(monkeypatch):
    monkeypatch.setattr(batch_aside, "ASIDE_MAX", 3)
    aside = Aside()
    aside.refuse(1, "sick", 5.0)
    assert [aside.admits(no, "sick", 1.0) for no in range(2, 9)] == [False] * 7
    assert aside.passed_over(1.0) == [1, 2, 3]


@dataclass
class Site:
    """A batch whose models find an upstream from a turn on; ``sent`` are lines in their order."""

    needs: list[int]
    well_from: dict[int, int]
    aside: Aside = field(default_factory=Aside)
    sent: list[int] = field(default_factory=list)
    refused: set[int] = field(default_factory=set)

    def waiting(self) -> list[int]:
        return [no for no in range(len(self.needs)) if no not in self.sent]

    def next_lines(self, count: int, now_s: int) -> list[int]:
        while True:
            before = len(self.aside)
            passed = set(self.aside.passed_over(now_s))
            found = [no for no in self.waiting() if no not in passed]
            lines = [no for no in found if self.aside.admits(no, self.needs[no], now_s)]
            if len(lines) >= count or len(self.aside) == before:
                return lines[:count]

    def turn(self, count: int, now_s: int) -> None:
        lines, refused = self.next_lines(count, now_s), set(self.refused)
        is_well = {no: self.well_from[self.needs[no]] <= now_s for no in lines}
        for need in self.refused:
            assert sum(self.needs[no] == need for no in lines) <= 1
        for no in lines:
            if is_well[no]:
                self.aside.take(self.needs[no])
                self.refused.discard(self.needs[no])
                self.sent.append(no)
        for no in lines:
            if not is_well[no]:
                self.aside.refuse(no, self.needs[no], now_s + WAIT_S)
                self.refused.add(self.needs[no])
        # A place is left unused only when nothing waits but what must.
        if len(lines) < count:
            assert {self.needs[no] for no in self.waiting()} <= refused | self.refused


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.lists(st.sampled_from([0, 1, 5, 12, NEVER]), min_size=4, max_size=4),
    st.integers(1, 7),
)
def test_every_line_is_sent_once_in_the_order_of_its_model_and_none_waits_for_another(
    needs, well_from, count
):
    site = Site(needs, dict(enumerate(well_from)))
    for now_s in range(12 + 2 * WAIT_S + 2 * len(needs)):
        site.turn(count, now_s)
    assert len(site.sent) == len(set(site.sent))
    able = [no for no, need in enumerate(needs) if well_from[need] != NEVER]
    assert sorted(site.sent) == able
    for need in range(4):
        own = [no for no in site.sent if needs[no] == need]
        assert own == sorted(own)
