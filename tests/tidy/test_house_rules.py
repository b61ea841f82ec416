"""The house rules, held against every file of the repository; and each rule against a breach."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.tidy import rules

ROOT = Path(__file__).parents[2]
Rule = Callable[[str], Iterator[str]]


def repository_files() -> list[Path]:
    """What is, or is about to be, in the repository: no caches, no environment."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return [ROOT / name for name in names if name and (ROOT / name).is_file()]
    skipped = {".git", ".venv", ".venv-old-sdks", ".bench", "__pycache__", "data"}
    return [path for path in ROOT.rglob("*") if path.is_file() and not skipped & set(path.parts)]


def python_files(*folders: str) -> list[Path]:
    wanted = [ROOT / folder for folder in folders]
    return [
        path
        for path in repository_files()
        if path.suffix == ".py" and any(folder in path.parents for folder in wanted)
    ]


def breaches(rule: Rule, paths: Iterable[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {breach}"
        for path in paths
        for breach in rule(path.read_text(encoding="utf-8"))
    ]


def report(found: list[str]) -> None:
    assert not found, "\n" + "\n".join(found)


SHIPPED = ("gateway", "migrations", "benchmarks")


@pytest.mark.parametrize(
    ("rule", "folders"),
    [
        (rules.too_long_file, SHIPPED),
        (rules.too_long_functions, SHIPPED),
        (rules.missing_docstrings, ("gateway",)),
        (rules.swallowed_errors, (*SHIPPED, "tests")),
        (rules.floats, ("gateway/domain",)),
    ],
    ids=lambda value: getattr(value, "__name__", "-"),
)
def test_the_code_keeps_the_rule(rule, folders):
    paths = python_files(*folders)

    assert paths
    report(breaches(rule, paths))


@pytest.mark.parametrize("folder", ["dialects", "upstreams"])
def test_siblings_do_not_import_each_other(folder):
    """Also those added after the import contracts were written: one file each, and alone."""
    paths = python_files(f"gateway/{folder}")
    public = {path.stem for path in paths if not path.stem.startswith("_")}

    assert len(public) >= 5
    report(
        breaches(
            lambda source: rules.imports_of(source, f"gateway.{folder}", public),
            [path for path in paths if path.stem in public],
        )
    )


def test_every_module_says_what_it_is():
    found = breaches(rules.missing_docstrings, python_files("migrations", "benchmarks"))

    report([breach for breach in found if breach.endswith("the module has no docstring")])


def test_nothing_names_one_machine_or_one_network():
    texts = [path for path in repository_files() if b"\0" not in path.read_bytes()[:8000]]

    report(breaches(rules.forbidden_texts, texts))


def test_every_rule_switched_off_says_why():
    report(breaches(rules.unreasoned_ignores, [ROOT / "pyproject.toml"]))


def test_dependencies_are_pinned_in_hashed_files_and_nowhere_else():
    names = {path.relative_to(ROOT).as_posix() for path in repository_files()}

    assert not {name for name in names if name.endswith((".lock", "Pipfile"))}
    for kind in ("", "-dev", "-uv", "-old-sdks"):
        name = f"requirements{kind}.txt"
        pins = [line for line in (ROOT / name).read_text().splitlines() if "==" in line]
        assert pins
        assert [line for line in pins if not line.endswith("\\")] == []


BREACHES = [
    (rules.too_long_file, "x = 1\n" * 401, "401 lines, at most 400"),
    (rules.too_long_functions, "def f():\n" + "    x = 1\n" * 60, "f has 61 lines, at most 60"),
    (rules.missing_docstrings, "x = 1", "the module has no docstring"),
    (rules.missing_docstrings, '"""M."""\ndef f(): ...', "f has no docstring"),
    (
        rules.missing_docstrings,
        '"""M."""\nclass A:\n """A."""\n def f(self): ...',
        "f has no docstring",
    ),
    (rules.swallowed_errors, "try: f()\nexcept Exception: pass", "line 2 swallows every error"),
    (rules.swallowed_errors, "try: f()\nexcept: ...", "line 2 swallows every error"),
    (
        rules.swallowed_errors,
        "try: f()\nexcept (OSError, BaseException): pass",
        "line 2 swallows every error",
    ),
    (
        rules.swallowed_errors,
        "with contextlib.suppress(Exception): f()",
        "line 1 suppresses every error",
    ),
    (rules.floats, "x = float('1')", "line 1 calls float()"),
    (
        lambda source: rules.imports_of(source, "gateway.upstreams", {"fal", "openai"}),
        "from gateway.upstreams.fal import x",
        "imports its sibling fal",
    ),
    (
        lambda source: rules.imports_of(source, "gateway.upstreams", {"fal", "openai"}),
        "from gateway.upstreams import _http, fal",
        "imports its sibling fal",
    ),
    (
        rules.unreasoned_ignores,
        'ignore = [\n    "E501",\n]',
        'line 2 switches a rule off without a reason: "E501",',
    ),
    (
        rules.forbidden_texts,
        "https://pypi" + ".org/simple",
        "names a package registry's host: pypi" + ".org",
    ),
    (
        rules.forbidden_texts,
        "see /roo" + "t/notes/a.md",
        "names a path on the author's machine: /roo" + "t/notes/",
    ),
]
ALLOWED = [
    (rules.missing_docstrings, '"""M."""\ndef _f(): ...\nclass _A:\n def f(self): ...'),
    (rules.swallowed_errors, "try: f()\nexcept OSError: pass"),
    (rules.swallowed_errors, "try: f()\nexcept Exception:\n log()"),
    (rules.unreasoned_ignores, '    "E501", # long links'),
    (rules.floats, "def f(x: float) -> float: return x"),
]


def numbered(cases: Iterable[tuple]) -> list[str]:
    return [f"{case[0].__name__}-{number}" for number, case in enumerate(cases)]


@pytest.mark.parametrize(("rule", "source", "breach"), BREACHES, ids=numbered(BREACHES))
def test_a_breach_is_found(rule, source, breach):
    assert list(rule(source)) == [breach]


@pytest.mark.parametrize(("rule", "source"), ALLOWED, ids=numbered(ALLOWED))
def test_what_is_allowed_is_let_through(rule, source):
    assert list(rule(source)) == []
