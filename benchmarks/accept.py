"""Accepting and reading tasks: ours against the floors, interleaved.

    python -m benchmarks.accept [--seconds 5] [--rounds 3] [--connections 64] [--json FILE]

The API alone, in production settings: key check, limits, validation, price, hold, task row, due
queue; one hot team. No worker runs, as none runs beside the floors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks import subjects
from benchmarks.floors import FLOORS
from benchmarks.ours import MODEL, PROMPT, floor, ours
from benchmarks.subjects import Call, Result, Subject, interleaved, table
from benchmarks.targets import accept_targets, read_targets, target_table

BODY = {"model": MODEL, "prompt": PROMPT, "size": "1280x1280", "n": 1}
CREATE = "/v1/images/generations"
OURS = "ours"


def measure(
    *, seconds: float, rounds: int, connections: int, floors: Sequence[str] = FLOORS
) -> dict[str, list[Result]]:
    """Measure accepts and reads; gives the results of each."""
    with ours() as gateway, ExitStack() as stack:
        api = gateway.box.start_api()
        accepts = [Subject(OURS, gateway.accept(), [api.pid])]
        reads = [
            Subject(OURS, gateway.read(), [api.pid]),
            Subject("ours, DashScope's path", gateway.read("/api/v1/tasks/"), [api.pid]),
        ]
        for kind in floors:
            url, process = stack.enter_context(floor(gateway.box, kind))
            create = Call("POST", url + CREATE, body=BODY)
            accepts.append(Subject(f"floor: {kind}", create, [process.pid]))
            if kind != "naive":
                task_id = subjects.send(create)["id"]
                query = Call("GET", f"{url}/v1/tasks/{task_id}")
                reads.append(Subject(f"floor: {kind}", query, [process.pid]))
        load = {"rounds": rounds, "connections": connections, "seconds": seconds}
        return {
            "accept": interleaved(accepts, **load),  # type: ignore[arg-type]
            "read": interleaved(reads, **load),  # type: ignore[arg-type]
        }


def main() -> None:
    """Read the arguments, measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--floors", nargs="*", default=list(FLOORS), choices=FLOORS)
    parser.add_argument("--json", type=Path, help="also write every round here")
    options = parser.parse_args()
    try:
        subjects.need_wrk()
    except subjects.Missing as missing:
        sys.exit(str(missing))
    found = measure(
        seconds=options.seconds,
        rounds=options.rounds,
        connections=options.connections,
        floors=options.floors,
    )
    base = f"floor: {options.floors[0]}" if options.floors else None
    for what, results in found.items():
        print(table(f"{what}, {options.connections} connections", results, base))
    judged = {one.name: one for one in found["accept"]}
    print(target_table([*accept_targets(judged, OURS), *read_targets(found["read"])]))
    if options.json:
        options.json.write_text(json.dumps(subjects.plain(found), indent=1))


if __name__ == "__main__":
    main()
