"""The benchmark harness runs to its end and fills its tables; how fast is not judged here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import installing, plots
from benchmarks.subjects import Missing, Result, Round, table
from benchmarks.targets import accept_targets, target_table

ROOT = Path(__file__).parents[2]

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


@needs_wrk
def test_accepts_and_reads_are_measured_against_floors(tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    options = ["--seconds", "1", "--rounds", "1", "--connections", "4"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accept", *options, "--json", str(results)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    found = json.loads(results.read_text())
    floors = {"floor: typed", "floor: fastapi", "floor: raw", "floor: naive"}
    assert set(found["accept"]) == {"ours", *floors}
    assert "ours, DashScope's path" in found["read"]
    for name, rounds in (*found["accept"].items(), *found["read"].items()):
        assert rounds[0]["per_second"] > 0, name
        assert rounds[0]["errors"] == 0, name
        assert f"| {name} |" in done.stdout


@needs_wrk
def test_peers_are_measured_beside_the_floors_and_one_that_cannot_run_is_named(
    tmp_path: Path,
) -> None:
    programs, results = tmp_path / "bin", tmp_path / "results.json"
    programs.mkdir()
    (programs / "wrk").symlink_to(shutil.which("wrk") or "")
    options = ["--seconds", "1", "--rounds", "1", "--connections", "4"]
    options += ["--peers", "portkey", "--json", str(results)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peers", *options],
        cwd=ROOT,
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Left out: portkey: node is not installed" in done.stdout
    found = json.loads(results.read_text())
    measured = found["create"]["4"]
    assert list(measured) == ["ours", "floor: fastapi", "floor: raw", "ours, sync"]
    for name, rounds in measured.items():
        assert rounds[0]["per_second"] > 0, name
        assert rounds[0]["errors"] == 0, name
    judged = {target["what"] for target in found["targets"]}
    assert {"accepts, times floor: fastapi", "CPU per accept"} <= judged

    plots.main(results, tmp_path / "plots")
    drawn = (tmp_path / "plots" / "peers-throughput.svg").read_text()
    assert drawn.count("<polyline") == 4
    assert "ours, sync" in drawn


@needs_wrk
@pytest.mark.parametrize(
    ("module", "options", "judged"),
    [
        ("alone", "--seconds 1 --rounds 1", "added to a 50 ms vendor, p50"),
        ("crowd", "--callers 8 --seconds 2 --vendor-ms 100", "calls that failed | ≤ 0 | 0.00"),
        ("work", "--tasks 10 --polls 3", "CPU per task, callback included"),
        ("in_flight", "--sizes 5,10 --rate 5 --seconds 2", "poll lag p99"),
        ("pairs", "--seconds 1 --rounds 1 --connections 4", "sync, two of each, times one of each"),
    ],
)
def test_a_path_is_measured_against_its_targets(module: str, options: str, judged: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *options.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert f"| {judged}" in done.stdout


def test_a_target_says_whether_it_is_met() -> None:
    def result(name: str, per_second: float) -> Result:
        return Result(name, [Round(per_second, 1.0, 2.0, 0.5, 100.0, 0)])

    rates = {
        "ours": 1500.0,
        "floor: fastapi": 2000.0,
        "floor: raw": 4000.0,
        "LiteLLM 1.0": 100.0,
        "Portkey 1.0": 1000.0,
    }
    results = {name: result(name, rate) for name, rate in rates.items()}
    targets = {one.what: one for one in accept_targets(results, "ours", tail_ms=120.0)}

    assert targets["accepts, times LiteLLM 1.0"].found == 15
    assert targets["accepts, times LiteLLM 1.0"].met
    assert targets["accepts, times Portkey 1.0"].met
    assert targets["CPU per accept"].met
    assert not targets["accepts, times floor: fastapi"].met
    assert not targets["p99 of accepts at 70 % of that load"].met
    table = target_table(list(targets.values()))
    assert "| accepts, times floor: fastapi | ≥ 0.8 | 0.75 | **missed** |" in table


def test_a_ratio_is_of_rounds_beside_each_other() -> None:
    """The machine slowed down between the two of one turn: the other turns still say 0.8."""

    def result(name: str, *rates: float) -> Result:
        return Result(name, [Round(rate, 1.0, 2.0, 0.5, 100.0, 0) for rate in rates])

    ours = result("ours", 800.0, 400.0, 400.0)
    floor = result("floor: fastapi", 1000.0, 1000.0, 500.0)

    assert ours.times(floor) == 0.8
    assert "| ours | 400 | 1.0 ms | 2.0 ms | 0.50 ms | 100 MiB | 0.80 |" in table(
        "accepts", [ours, floor], "floor: fastapi"
    )


def test_an_installer_that_fails_is_quoted(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('no such version')"]

    with pytest.raises(Missing, match="cannot be installed: no such version"):
        installing.run(failing)
    with pytest.raises(Missing, match=r"cannot be installed: .*No such file"):
        installing.run([str(tmp_path / "absent")])


def test_without_wrk_the_benchmark_says_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.accept"],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert "apt-get install wrk" in done.stderr
