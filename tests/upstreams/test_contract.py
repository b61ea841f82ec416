"""Every adapter against the simulated provider, over the production transport and real sockets."""

from __future__ import annotations

import base64
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from PIL import Image

from gateway.app.ports import UpstreamAdapter
from gateway.domain.errors import Blame, Sent, UpstreamError
from gateway.domain.model import Secret
from gateway.domain.request import InputImage
from gateway.domain.upstream import Accepted, Cancelled, Delivered, Job, PollAnswer, Running
from gateway.egress.clients import GuardedClient, upstream_client
from gateway.simulator import Script, Simulator, SimulatorConfig, VendorConfig
from gateway.upstreams import CAN_CANCEL, IDEMPOTENT, _http, build
from tests.upstreams.support import FIELD, KITE, job, pictures, size, upstream

WORK_MS = 10_000
QUEUE_MS = 2_000


def a_png() -> str:
    out = io.BytesIO()
    Image.new("RGB", (512, 512), "teal").save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


PNG_URL = a_png()
INLINE = (InputImage(PNG_URL), InputImage(PNG_URL))


@dataclass(frozen=True)
class Case:
    """A job for two pictures (where the vendor makes two) and the vendor that takes it."""

    job: Job
    generation: str = "B"

    @property
    def adapter(self) -> str:
        return self.job.upstream.adapter

    @property
    def blocking(self) -> bool:
        if self.adapter == "modelverse":
            return self.job.offer.protocol == "images" or self.job.request.n > 4
        return self.adapter == "openai" or self.job.offer.protocol == "multimodal-generation"

    @property
    def n(self) -> int:
        return self.job.request.n


T2I, I2I, W27 = "wan2.5-t2i-preview", "wan2.5-i2i-preview", "wan2.7-image"
GPT = "gpt-image-1.5"
CASES = {
    "evolink": Case(job("evolink", T2I, n=2, size=size("768x768"))),
    "evolink-edit": Case(job("evolink", I2I, n=2, images=pictures(KITE, FIELD))),
    "dashscope-text2image": Case(job("dashscope", T2I, n=2, rewrite_prompt=True, seed=7)),
    "dashscope-image2image": Case(job("dashscope", I2I, n=2, images=pictures(KITE, PNG_URL))),
    "dashscope-messages": Case(job("dashscope", W27, n=2, tier="1K", thinking=True)),
    "dashscope-boxes": Case(
        job("dashscope", W27, n=2, images=INLINE, boxes=(((1, 2, 30, 40),), ()))
    ),
    "dashscope-group": Case(job("dashscope", W27, n=2, group=True)),
    "dashscope-wan2.6": Case(job("dashscope", "wan2.6-t2i", n=2, negative_prompt="text")),
    "dashscope-interleave": Case(job("dashscope", "wan2.6-image", n=2, interleave=True)),
    "dashscope-region": Case(job("dashscope", "wan2.1-t2i-turbo", n=2)),
    "dashscope-blocking": Case(job("dashscope", W27, n=2, protocol="multimodal-generation")),
    "modelverse": Case(job("modelverse", W27, n=2, images=pictures(KITE))),
    "modelverse-blocking": Case(job("modelverse", W27, n=2, protocol="images")),
    "modelverse-large-group": Case(job("modelverse", "wan2.7-image-pro", n=5, group=True)),
    "qingbo-a": Case(job("qingbo", W27, n=2, tier="4K"), "A"),
    "qingbo-b": Case(job("qingbo", W27, n=2, images=pictures(KITE, FIELD)), "B"),
    "qingbo-c": Case(job("qingbo", W27, n=2, upstream_options={"generation": "C"}), "C"),
    "qingbo-c-edit": Case(
        job("qingbo", W27, n=2, images=pictures(KITE), upstream_options={"generation": "C"}), "C"
    ),
    "openai": Case(job("openai", GPT, n=2, options={"quality": "low"})),
    "openai-edit": Case(job("openai", GPT, n=2, images=INLINE, mask=INLINE[0])),
    "openai-edit-of-links": Case(job("openai", GPT, n=2, images=pictures(KITE))),
    "fal": Case(job("fal", T2I, n=2, seed=3)),
    "fal-edit": Case(job("fal", I2I, n=2, images=pictures(KITE))),
    "replicate": Case(job("replicate", T2I, n=1, negative_prompt="text")),
    "replicate-edit": Case(job("replicate", I2I, n=1, images=pictures(KITE, FIELD))),
}
# One way of asking per vendor and kind of answer, for what depends on nothing else.
USUAL = (
    "evolink",
    "dashscope-text2image",
    "dashscope-messages",
    "dashscope-blocking",
    "modelverse",
    "modelverse-blocking",
    "qingbo-b",
    "openai",
    "fal",
    "replicate",
)
TASKS = tuple(name for name in USUAL if not CASES[name].blocking)


@dataclass
class Bench:
    """One simulated vendor with the adapter that talks to it."""

    sim: Simulator
    adapter: UpstreamAdapter
    client: GuardedClient
    case: Case

    @property
    def vendor(self) -> str:
        return self.case.adapter

    async def submit(self) -> Accepted | Delivered:
        return await self.adapter.submit(self.case.job)

    async def accepted(self) -> str:
        answer = await self.submit()
        assert isinstance(answer, Accepted)
        return answer.upstream_task_id

    async def finished(self) -> Delivered:
        """Submit and wait for the end, in the simulator's own time."""
        answer = await self.submit()
        if isinstance(answer, Delivered):
            return answer
        self.sim.advance(WORK_MS)
        delivered = await self.adapter.poll(answer.upstream_task_id)
        assert isinstance(delivered, Delivered)
        return delivered

    async def failure(self) -> UpstreamError:
        """Submit and wait for the failure."""
        with pytest.raises(UpstreamError) as raised:
            await self.finished()
        return raised.value

    async def look(self, image: Any) -> Image.Image:
        content = image.content
        if content is None:
            answer = await self.client.get(image.url)
            assert answer.status_code == 200
            content = answer.content
        return Image.open(io.BytesIO(content))


@asynccontextmanager
async def bench(name: str, *scripts: Script, **changes: Any) -> AsyncIterator[Bench]:
    """A vendor under these scripts. Blocking calls work at once, tasks take ten seconds."""
    case = CASES[name]
    vendor = VendorConfig(api=case.adapter, generation=case.generation)
    work = (0, 0) if case.blocking else (WORK_MS, WORK_MS)
    config = SimulatorConfig(vendors={case.adapter: vendor}, work_ms=work, queue_ms=QUEUE_MS)
    if case.blocking:
        config = replace(config, queue_ms=0)
    async with Simulator(config) as sim:
        sim.script(case.adapter, *scripts)
        account = upstream(
            case.adapter,
            base_url=sim.base_url(case.adapter),
            allow_private=True,
            options=case.job.upstream.options,
            **changes,
        )
        client = upstream_client(account)
        adapter = build(account, client, lambda: sim.clock.now_ms() // 1000)
        try:
            yield Bench(sim, adapter, client, case)
        finally:
            await adapter.aclose()


@pytest.mark.parametrize("name", CASES)
async def test_submit_poll_deliver_and_look_at_the_pictures(name: str) -> None:
    async with bench(name) as it:
        answer: Accepted | PollAnswer = await it.submit()
        if not it.case.blocking:
            assert isinstance(answer, Accepted)
            assert (await it.adapter.poll(answer.upstream_task_id)) in (
                Running(queued=True),
                Running(queued=True, progress=0),
            )
            it.sim.advance(QUEUE_MS)
            running = await it.adapter.poll(answer.upstream_task_id)
            assert isinstance(running, Running)
            assert not running.queued
            it.sim.advance(WORK_MS)
            answer = await it.adapter.poll(answer.upstream_task_id)
        assert isinstance(answer, Delivered)
        assert (len(answer.images), answer.failed) == (it.case.n, 0)
        for image in answer.images:
            assert min((await it.look(image)).size) >= 512
        bill = it.sim.bill(it.vendor)
        assert (len(bill.records), bill.images) == (1, it.case.n)


@pytest.mark.parametrize("name", TASKS)
async def test_links_are_promised_no_longer_than_they_live(name: str) -> None:
    async with bench(name) as it:
        image = (await it.finished()).images[0]
        assert image.url is not None
        assert image.expires_at is not None
        it.sim.advance(image.expires_at * 1000 - it.sim.clock.now_ms() - 1_000)
        assert (await it.client.get(image.url)).status_code == 200


@pytest.mark.parametrize("name", [name for name in USUAL if CASES[name].n > 1])
async def test_a_partial_delivery_gives_the_pictures_there_are(name: str) -> None:
    async with bench(name, Script(deliver=1)) as it:
        answer = await it.finished()
        assert len(answer.images) == 1
        # Only DashScope's old shape says that a picture failed; elsewhere the list is shorter.
        assert answer.failed == (1 if name == "dashscope-text2image" else 0)
        assert it.sim.bill(it.vendor).images == 1


FAILURES: dict[str, dict[str, Blame]] = {
    "content_policy": {},
    "invalid_parameter": {"replicate": Blame.PROVIDER},
    "server_error": {},
    "timeout": {},
    "rate": {
        "evolink": Blame.PROVIDER,
        "fal": Blame.PROVIDER,
        "replicate": Blame.PROVIDER,
    },
}
USUAL_BLAME = {
    "content_policy": Blame.CALLER,
    "invalid_parameter": Blame.CALLER,
    "server_error": Blame.PROVIDER,
    "timeout": Blame.PROVIDER,
    "rate": Blame.RATE,
}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("fault", FAILURES)
async def test_a_failed_task_has_its_blame_and_costs_nothing(name: str, fault: str) -> None:
    async with bench(name, Script(fail=fault)) as it:
        error = await it.failure()
        expected = FAILURES[fault].get(name, USUAL_BLAME[fault])
        assert (error.blame, error.sent) == (expected, Sent.REFUSED)
        assert it.sim.bill(it.vendor).images == 0


REFUSALS: list[tuple[str, Blame, Sent]] = [
    ("invalid_parameter", Blame.CALLER, Sent.REFUSED),
    ("content_policy", Blame.CALLER, Sent.REFUSED),
    ("too_large", Blame.CALLER, Sent.REFUSED),
    ("bad_key", Blame.ACCOUNT, Sent.REFUSED),
    ("unpaid", Blame.ACCOUNT, Sent.REFUSED),
    ("forbidden", Blame.ACCOUNT, Sent.REFUSED),
    ("model_not_found", Blame.ACCOUNT, Sent.REFUSED),
    ("rate", Blame.RATE, Sent.REFUSED),
    ("server_error", Blame.PROVIDER, Sent.REFUSED),
    ("unavailable", Blame.PROVIDER, Sent.REFUSED),
]


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize(("fault", "blame", "sent"), REFUSALS)
async def test_a_refused_submit_has_its_blame(
    name: str, fault: str, blame: Blame, sent: Sent
) -> None:
    async with bench(name, Script(error=fault)) as it:
        error = await it.failure()
        assert (error.blame, error.sent) == (blame, sent)
        if fault == "model_not_found":
            assert error.scope == "model"


@pytest.mark.parametrize("name", USUAL)
async def test_a_wrong_key_is_the_accounts_fault_and_is_not_shown(name: str) -> None:
    async with bench(name) as it:
        account = upstream(
            it.vendor,
            base_url=it.sim.base_url(it.vendor),
            allow_private=True,
            options=it.case.job.upstream.options,
        )
        account = replace(account, api_key=Secret("wrong-key-of-ours"))
        adapter = build(account, it.client, lambda: 0)
        with pytest.raises(UpstreamError) as raised:
            await adapter.submit(it.case.job)
        assert (raised.value.blame, raised.value.scope) == (Blame.ACCOUNT, "upstream")
        assert "wrong-key-of-ours" not in repr(vars(raised.value))


@pytest.mark.parametrize("name", USUAL)
async def test_a_vendor_that_refuses_connections_got_nothing(name: str) -> None:
    async with bench(name) as it:
        await it.sim.down(it.vendor)
        error = await it.failure()
        assert (error.blame, error.sent) == (Blame.PROVIDER, Sent.NO)


SPOILED: list[tuple[Script, Callable[[Case], Sent]]] = [
    (Script(accept_then="timeout"), lambda case: Sent.UNKNOWN),
    (Script(accept_then="reset"), lambda case: Sent.UNKNOWN),
    # A reset cannot be told from one after acceptance.
    (Script(reset=True), lambda case: Sent.UNKNOWN),
    (Script(answer="html"), lambda case: Sent.UNKNOWN),
    (Script(answer="garbage"), lambda case: Sent.UNKNOWN),
    (Script(answer="wrong_types"), lambda case: Sent.UNKNOWN),
    (Script(answer="truncated"), lambda case: Sent.UNKNOWN),
    # An empty list of pictures means that none was made; an empty task id means nothing.
    (Script(answer="empty"), lambda case: Sent.REFUSED if case.blocking else Sent.UNKNOWN),
    (Script(error="timeout", status=504), lambda case: Sent.UNKNOWN),
]


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize(
    ("script", "sent"),
    SPOILED,
    ids=[
        "accept-then-timeout",
        "accept-then-reset",
        "reset",
        "html",
        "garbage",
        "wrong-types",
        "truncated",
        "empty",
        "gateway-timeout",
    ],
)
async def test_a_spoiled_answer_says_whether_it_may_be_billed(
    monkeypatch: pytest.MonkeyPatch, name: str, script: Script, sent: Callable[[Case], Sent]
) -> None:
    monkeypatch.setattr(_http, "BLOCKING_TIMEOUT_S", 0.5)
    async with bench(name, script, submit_timeout_ms=500) as it:
        error = await it.failure()
        assert (error.blame, error.sent) == (Blame.PROVIDER, sent(it.case))


@pytest.mark.parametrize("name", sorted(IDEMPOTENT))
async def test_an_idempotent_submit_repeated_is_one_task_and_one_bill(name: str) -> None:
    case = next(key for key in USUAL if CASES[key].adapter == name)
    lost = Script(accept_then="timeout", times=1)
    async with bench(case, lost, submit_timeout_ms=300) as it:
        with pytest.raises(UpstreamError) as raised:
            await it.submit()
        assert raised.value.sent is Sent.UNKNOWN
        first, second = await it.accepted(), await it.accepted()
        assert first == second == it.sim.tasks(it.vendor)[0].id
        it.sim.advance(WORK_MS)
        assert isinstance(await it.adapter.poll(first), Delivered)
        bill = it.sim.bill(it.vendor)
        assert (len(bill.records), bill.images, bill.pending_images) == (1, it.case.n, 0)


async def test_an_idempotency_key_in_dispute_leaves_the_outcome_unknown() -> None:
    async with bench("evolink") as it:
        await it.accepted()
        other = replace(it.case.job, request=replace(it.case.job.request, prompt="Another"))
        with pytest.raises(UpstreamError) as raised:
            await it.adapter.submit(other)
        assert (raised.value.sent, raised.value.code) == (Sent.UNKNOWN, "idempotency_conflict")


CANCELLABLE = tuple(name for name in TASKS if CASES[name].adapter in CAN_CANCEL)


@pytest.mark.parametrize("name", CANCELLABLE)
async def test_a_queued_task_is_cancelled_and_not_billed(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        assert await it.adapter.cancel(task_id) is True
        assert await it.adapter.poll(task_id) == Cancelled()
        it.sim.advance(WORK_MS)
        bill = it.sim.bill(it.vendor)
        assert (bill.images, bill.pending_images) == (0, 0)


@pytest.mark.parametrize("name", TASKS)
async def test_a_running_task_is_not_reported_as_cancelled(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        it.sim.advance(QUEUE_MS)
        assert await it.adapter.cancel(task_id) is False
        it.sim.advance(WORK_MS)
        assert isinstance(await it.adapter.poll(task_id), Delivered | Cancelled)


@pytest.mark.parametrize("name", CANCELLABLE)
async def test_a_finished_or_unknown_task_cannot_be_cancelled(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        it.sim.advance(WORK_MS)
        assert await it.adapter.cancel(task_id) is False
        unknown = task_id.replace(it.sim.tasks(it.vendor)[0].id, "no-such-task")
        assert await it.adapter.cancel(unknown) is False


@pytest.mark.parametrize("name", TASKS)
async def test_a_task_cancelled_by_the_vendor_says_so(name: str) -> None:
    async with bench(name, Script(cancelled=True)) as it:
        task_id = await it.accepted()
        it.sim.advance(WORK_MS)
        assert await it.adapter.poll(task_id) == Cancelled()


@pytest.mark.parametrize("name", TASKS)
async def test_a_task_the_vendor_does_not_know_yet_is_asked_for_again(name: str) -> None:
    async with bench(name, Script(unknown_ms=1_000)) as it:
        task_id = await it.accepted()
        with pytest.raises(UpstreamError) as raised:
            await it.adapter.poll(task_id)
        assert (raised.value.sent, raised.value.code) == (Sent.NO, "task_unknown")
        it.sim.advance(1_000)
        assert isinstance(await it.adapter.poll(task_id), Running)


QUERY_TROUBLE = [
    Script(on="query", error="rate", times=1),
    Script(on="query", error="server_error", times=1),
    Script(on="query", error="unavailable", times=1),
    Script(on="query", error="bad_key", times=1),
    # The transport repeats a query once when a kept connection was closed under it.
    Script(on="query", reset=True, times=2),
    Script(on="query", answer="html", times=1),
    Script(on="query", answer="garbage", times=1),
    Script(on="query", answer="wrong_types", times=1),
    Script(on="query", answer="truncated", times=1),
]


@pytest.mark.parametrize("name", TASKS)
async def test_trouble_with_a_query_never_ends_a_task(name: str) -> None:
    async with bench(name) as it:
        task_id = await it.accepted()
        it.sim.advance(QUEUE_MS)
        for script in QUERY_TROUBLE:
            it.sim.script(it.vendor, script)
            with pytest.raises(UpstreamError) as raised:
                await it.adapter.poll(task_id)
            assert raised.value.sent is Sent.NO
            assert isinstance(await it.adapter.poll(task_id), Running)
        await it.sim.down(it.vendor)
        with pytest.raises(UpstreamError) as raised:
            await it.adapter.poll(task_id)
        assert raised.value.sent is Sent.NO
        await it.sim.up(it.vendor)
        it.sim.advance(WORK_MS)
        assert isinstance(await it.adapter.poll(task_id), Delivered)


async def test_a_refusal_names_the_time_to_come_back() -> None:
    async with bench("evolink", Script(error="rate", retry_after_s=7)) as it:
        assert (await it.failure()).retry_after_s == 7
