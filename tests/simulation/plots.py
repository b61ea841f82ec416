"""Draw one simulated run as SVG: ``python -m tests.simulation.plots [docs/plots]``.

Four pictures of the same ten minutes: which vendor takes the tasks, what a picture costs beside
the clairvoyant choice, how many tasks were tried again, and each vendor's circuit and troubles.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from gateway.domain.health import CircuitState
from tests.simulation.scenario import COSTS, START_MS, Trouble, drawn
from tests.simulation.world import Run, World, clairvoyant_costs

SEED, MINUTES, PER_SECOND = 11, 10, 2.5
WIDTH, LEFT, TOP, PLOT_WIDTH = 860, 90, 40, 750
BUCKET_S = 10
COLOURS = {"bargain": "#0b7285", "middle": "#e67700", "dashscope": "#5f3dc4"}
STATES = {
    CircuitState.CLOSED: "#d3f9d8",
    CircuitState.HALF_OPEN: "#ffec99",
    CircuitState.OPEN: "#ff8787",
}
TROUBLES = {Trouble.OUTAGE: "#212529", Trouble.BROWN_OUT: "#868e96", Trouble.THROTTLE: "#ced4da"}

Series = Mapping[str, Sequence[float]]


def main(folder: Path) -> None:
    """Run the scenario and write the pictures."""
    run = asyncio.run(World(drawn(SEED, MINUTES, PER_SECOND)).run())
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawing in (
        ("routing-share.svg", share(run)),
        ("routing-cost.svg", cost(run)),
        ("routing-failovers.svg", failovers(run)),
        ("routing-breakers.svg", breakers(run)),
    ):
        (folder / name).write_text(drawing, encoding="utf-8")


def share(run: Run) -> str:
    """Jobs taken per second by each vendor."""
    series = {
        name: [
            sum(s.taken[name] for s in run.samples[i : i + BUCKET_S]) / BUCKET_S
            for i in range(0, MINUTES * 60, BUCKET_S)
        ]
        for name in COSTS
    }
    return _lines("Jobs taken per second, by vendor", series, COLOURS)


def cost(run: Run) -> str:
    """US cents per picture, paid and clairvoyant, by when the task arrived."""
    paid = {task.id: task.cost for task in run.tasks.values()}
    series = {
        "paid": _per_picture(run, paid),
        "clairvoyant": _per_picture(run, clairvoyant_costs(run.scenario)),
    }
    colours = {"paid": "#c92a2a", "clairvoyant": "#2b8a3e"}
    return _lines("US cents per picture, by the task's arrival", series, colours)


def failovers(run: Run) -> str:
    """Attempts beyond the first, by when the task arrived."""
    counts = [0.0] * (MINUTES * 60 // BUCKET_S)
    for arrival in run.scenario.arrivals:
        counts[_bucket(arrival.at_ms)] += len(run.tasks[arrival.task_id].attempts) - 1
    title = "Failovers of the tasks that arrived in ten seconds"
    return _lines(title, {"failovers": counts}, {"failovers": "#c92a2a"})


def breakers(run: Run) -> str:
    """The circuit of each vendor over time; below it, what the vendor suffered from."""
    parts = []
    for row, name in enumerate(COSTS):
        y = TOP + row * 60
        parts.append(f'<text x="10" y="{y + 18}">{name}</text>')
        seconds = [sample.circuits[name] for sample in run.samples[: MINUTES * 60]]
        begin = 0
        for state, same in groupby(seconds):
            end = begin + len(list(same))
            parts.append(
                f'<rect x="{_x(begin):.1f}" y="{y}" width="{_x(end) - _x(begin):.1f}" '
                f'height="26" fill="{STATES[state]}"/>'
            )
            begin = end
        for spell in run.scenario.spells:
            if spell.upstream == name:
                x = _x((spell.start_ms - START_MS) / 1000)
                width = _x((spell.end_ms - START_MS) / 1000) - x
                colour = TROUBLES[spell.trouble]
                parts.append(
                    f'<rect x="{x:.1f}" y="{y + 28}" width="{width:.1f}" height="8" '
                    f'fill="{colour}"/><text x="{x:.1f}" y="{y + 48}">{spell.trouble}</text>'
                )
    height = TOP + len(COSTS) * 60
    legend = {state.value.replace("_", "-"): colour for state, colour in STATES.items()}
    return _page("Circuits: what each vendor's breaker said", parts, height, legend)


def _per_picture(run: Run, costs: Mapping[str, int]) -> list[float]:
    spent, pictures = ([0.0] * (MINUTES * 60 // BUCKET_S) for _ in "ab")
    for arrival in run.scenario.arrivals:
        spent[_bucket(arrival.at_ms)] += costs[arrival.task_id] / 10_000
        pictures[_bucket(arrival.at_ms)] += arrival.n
    return [a / b if b else 0.0 for a, b in zip(spent, pictures, strict=True)]


def _bucket(at_ms: int) -> int:
    return (at_ms - START_MS) // 1000 // BUCKET_S


def _x(seconds: float) -> float:
    return LEFT + seconds * PLOT_WIDTH / (MINUTES * 60)


def _lines(title: str, series: Series, colours: Mapping[str, str]) -> str:
    height = 200
    most = max(max(values) for values in series.values()) or 1.0
    axes = f"M{LEFT} {TOP}V{TOP + height}H{LEFT + PLOT_WIDTH}"
    parts = [
        f'<text x="{LEFT - 8}" y="{TOP + 4}" text-anchor="end">{most:.1f}</text>',
        f'<text x="{LEFT - 8}" y="{TOP + height}" text-anchor="end">0</text>',
        f'<path d="{axes}" fill="none" stroke="#868e96"/>',
    ]
    for name, values in series.items():
        points = " ".join(
            f"{_x((i + 0.5) * BUCKET_S):.1f},{TOP + height * (1 - value / most):.1f}"
            for i, value in enumerate(values)
        )
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        )
    return _page(title, parts, TOP + height, colours)


def _page(title: str, parts: list[str], height: int, legend: Mapping[str, str]) -> str:
    for minute in range(0, MINUTES + 1, 2):
        x = _x(minute * 60)
        parts.append(
            f'<text x="{x:.1f}" y="{height + 18}" text-anchor="middle">{minute} min</text>'
        )
    for place, (name, colour) in enumerate(legend.items()):
        x = LEFT + 420 + place * 115
        parts.append(
            f'<rect x="{x}" y="10" width="12" height="12" fill="{colour}"/>'
            f'<text x="{x + 17}" y="20">{name}</text>'
        )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height + 30}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{LEFT}" y="20" font-weight="bold">{title}</text>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/plots"))
