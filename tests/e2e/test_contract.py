"""`/openapi.json` is a contract: whatever is sent, the answer is one that it documents, and no 5xx.

schemathesis makes the calls: valid ones, invalid ones, and chains in which one call uses what
another answered. Each operation of the document gets a share; `make soak` sends many more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import FlakyStrategyDefinition
from hypothesis.stateful import run_state_machine_as_test
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.support.stack import Team, running_stack

# The gateway that runs beside the strategies uses chance too; hypothesis takes it for theirs.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

ADMIN_KEY = "the-admin-key"
TIMEOUT_S = 30
ROUND = 10
# Which sizes, counts and fields a model takes is data of the model and not in the document.
NOT_FOR_US = [positive_data_acceptance]


@dataclass
class Served:
    """A gateway that runs beside the test, for a client that blocks."""

    url: str
    team: Team
    schema: Any

    def headers_for(self, path: str) -> dict[str, str]:
        key = ADMIN_KEY if path.startswith("/admin") else self.team.key
        return {"Authorization": f"Bearer {key}"}

    def checks_to_skip(self, case: Case) -> list[Any]:
        # DashScope ignores query parameters it does not know, and its SDKs count on that.
        is_lenient = case.path.startswith(("/api/v1/tasks", "/dashscope/api/v1/tasks"))
        # A parameter whose value is an empty list is not there any more when it is sent.
        vanishes = any(value in ([], {}) for value in (case.query or {}).values())
        return [*NOT_FOR_US, negative_data_rejection] if is_lenient or vanishes else NOT_FOR_US


@pytest.fixture
def served(tmp_path: Path, database_url: str, redis_url: str) -> Iterator[Served]:
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def serve() -> None:
        async with running_stack(tmp_path, database_url, redis_url, admin_key=ADMIN_KEY) as stack:
            found["stop"], found["loop"] = asyncio.Event(), asyncio.get_running_loop()
            found["url"], found["team"] = stack.url, await stack.team(credits=1_000_000)
            ready.set()
            await found["stop"].wait()
            await stack.assert_ledger_is_clean()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            found["error"] = error
            raise
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="served")
    thread.start()
    ready.wait()
    schema = schemathesis.openapi.from_url(f"{found['url']}/openapi.json")
    yield Served(found["url"], found["team"], schema)
    found["loop"].call_soon_threadsafe(found["stop"].set)
    thread.join()
    assert "error" not in found


def send_to_each_operation(served: Served, mode: GenerationMode, examples: int) -> int:
    """Send so many generated calls to each operation; gives how many operations there are."""
    operations = [found.ok() for found in served.schema.get_all_operations()]
    for operation in operations:
        _send_to(served, operation, mode, examples)
    return len(operations)


def _send_to(served: Served, operation: Any, mode: GenerationMode, examples: int) -> None:
    headers = served.headers_for(operation.path)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=examples < 20,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Case) -> None:
        skipped = served.checks_to_skip(case)
        case.call_and_validate(headers=headers, timeout=TIMEOUT_S, excluded_checks=skipped)

    send()


def send_chains(served: Served, examples: int) -> None:
    """Call operations with what others answered: make, read, change, cancel, delete.

    The gateway lives on between chains, so the same beginning may meet another answer; hypothesis
    then gives up its round, and the next one begins anew. What was wrong until then counts.
    """
    assert served.schema.analysis.inject_links() > 100
    wrong: list[Exception] = []

    class Chains(served.schema.as_state_machine()):  # type: ignore[misc]
        def get_call_kwargs(self, case: Case) -> dict[str, Any]:
            return {"headers": served.headers_for(case.path), "timeout": TIMEOUT_S}

        def validate_response(self, response: Any, case: Case, **_: Any) -> None:
            try:
                case.validate_response(response, excluded_checks=served.checks_to_skip(case))
            except Exception as error:
                wrong.append(error)
                raise

    for _ in range(0, examples, ROUND):
        with suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(
                Chains,
                settings=settings(
                    max_examples=ROUND,
                    stateful_step_count=10,
                    deadline=None,
                    database=None,
                    derandomize=examples < 20,
                    suppress_health_check=list(HealthCheck),
                ),
            )
    assert wrong == []


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
def test_every_answer_is_a_documented_one(served: Served, mode: GenerationMode) -> None:
    assert send_to_each_operation(served, mode, examples=4) > 60


def test_every_answer_in_a_chain_of_calls_is_a_documented_one(served: Served) -> None:
    send_chains(served, examples=10)


@pytest.mark.soak
def test_many_calls_and_chains(served: Served) -> None:
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
        operations = send_to_each_operation(served, mode, examples=100)
        print(f"{mode}: {operations} operations, 100 calls each")
    send_chains(served, examples=150)
    print("150 chains of 10 calls")
