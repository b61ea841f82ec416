"""Draw the results of `benchmarks.peers` as SVG.

    python -m benchmarks.plots results.json [docs/plots]

Two pictures, both axes logarithmic: requests per second and median latency by connections.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from math import ceil, floor, log10
from pathlib import Path
from statistics import median
from typing import Any

WIDTH, LEFT, TOP, PLOT_WIDTH, HEIGHT = 860, 70, 70, 760, 300
COLOURS = ("#c92a2a", "#0b7285", "#5f3dc4", "#e67700", "#2b8a3e", "#868e96")

Points = Sequence[tuple[float, float]]
Series = Mapping[str, Points]


def main(results: Path, folder: Path) -> None:
    """Write the pictures of one run."""
    found = json.loads(results.read_text())["create"]
    folder.mkdir(parents=True, exist_ok=True)
    for name, title, figure in (
        ("peers-throughput.svg", "Creates per second, by connections", "per_second"),
        ("peers-latency.svg", "Median latency of a create (ms), by connections", "p50_ms"),
    ):
        text = lines(title, series(found, figure))
        (folder / name).write_text(text, encoding="utf-8")


def series(found: Mapping[str, Mapping[str, Sequence[Mapping[str, Any]]]], figure: str) -> Series:
    """Give the medians of a figure by subject, over the numbers of connections."""
    drawn: dict[str, list[tuple[float, float]]] = {}
    for count, results in found.items():
        for name, rounds in results.items():
            value = median(one[figure] for one in rounds)
            drawn.setdefault(name, []).append((float(count), value))
    return {name: sorted(points) for name, points in drawn.items()}


def lines(title: str, drawn: Series) -> str:
    """Draw series over logarithmic axes."""
    xs = [x for points in drawn.values() for x, _ in points]
    ys = [y for points in drawn.values() for _, y in points]
    low, high = floor(log10(min(ys))), ceil(log10(max(ys)))
    at_x = scale(log10(min(xs)), log10(max(xs)), LEFT, LEFT + PLOT_WIDTH)
    at_y = scale(low, high, TOP + HEIGHT, TOP)
    parts = [
        f'<path d="M{LEFT} {TOP}V{TOP + HEIGHT}H{LEFT + PLOT_WIDTH}" fill="none" stroke="#868e96"/>'
    ]
    for power in range(low, high + 1):
        y = at_y(10**power)
        parts.append(
            f'<path d="M{LEFT} {y:.1f}H{LEFT + PLOT_WIDTH}" stroke="#e9ecef"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{10**power:,g}</text>'
        )
    parts += [
        f'<text x="{at_x(x):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{x:g}</text>'
        for x in sorted(set(xs))
    ]
    for place, (name, points) in enumerate(drawn.items()):
        colour = COLOURS[place % len(COLOURS)]
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        x, y = LEFT + place % 4 * 190, 30 + place // 4 * 18
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
            f'<rect x="{x}" y="{y}" width="12" height="12" fill="{colour}"/>'
            f'<text x="{x + 17}" y="{y + 10}">{name}</text>'
        )
        parts += [
            f'<circle cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="3" fill="{colour}"/>'
            for x, y in points
        ]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {TOP + HEIGHT + 30}" '
        f'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{LEFT}" y="20" font-weight="bold">{title}</text>'
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Give where a value lies when powers of ten from low to high run from start to end."""
    span = (high - low) or 1.0
    return lambda value: start + (log10(value) - low) / span * (end - start)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "docs/plots"))
