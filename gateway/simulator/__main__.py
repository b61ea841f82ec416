"""Development entry: ``python -m gateway.simulator`` serves every vendor on its default port."""

from __future__ import annotations

import argparse
import logging

import uvloop

from gateway.simulator import DEFAULT_PORTS, SimulatorConfig, run


def main() -> None:
    """Parse the options and serve until interrupted."""
    options = argparse.ArgumentParser(prog="python -m gateway.simulator", description=__doc__)
    options.add_argument("--host", default="127.0.0.1")
    options.add_argument("--latency-ms", type=int, default=0)
    options.add_argument("--work-ms", type=int, nargs=2, default=(1_000, 3_000))
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--same-pictures", action="store_true", help="one picture per size")
    given = options.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    log = logging.getLogger("gateway.simulator")
    for name, port in DEFAULT_PORTS.items():
        log.info("%-10s http://%s:%d", name, given.host, port)
    uvloop.run(
        run(
            SimulatorConfig(
                host=given.host,
                ports=DEFAULT_PORTS,
                latency_ms=given.latency_ms,
                work_ms=(given.work_ms[0], given.work_ms[1]),
                seed=given.seed,
                distinct_pictures=not given.same_pictures,
            )
        )
    )


if __name__ == "__main__":
    main()
