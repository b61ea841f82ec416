"""What the documentation says exists: links, commands, options, variables, configurations, code.

Every Markdown page of the product is read. Code spans and shell blocks are searched for commands,
TOML and JSON blocks are parsed, and a TOML block that could be an operator's whole file must pass
`gateway catalog check`. The tables that enumerate something in the code are compared with it.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import typer.main
import yaml

from gateway import catalog
from gateway.catalog import limits
from gateway.catalog.builtin import builtin, read_model
from gateway.catalog.reading import Table
from gateway.cli import app
from gateway.dialects._schemas import FIELDS
from gateway.domain import errors
from gateway.settings import PREFIX, Settings
from gateway.simulator import Script

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "deploy" / "README.md", *DOCS.rglob("*.md")])
OPERATORS_TABLES = {"credits", "upstreams", "models"}
# Errors of the inside, of the command line and of operators' calls (docs/admin.md): no key of a
# team ever gets one.
NEVER_ANSWERED = {
    "TaskIdTaken",
    "RepeatedCall",
    "StaleFence",
    "ConfigError",
    "NotFound",
    "RepeatedChange",
    "InUse",
    "VersionConflict",
    "NameTaken",
}

_FENCE = re.compile(r"^( *)```([\w-]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_COMMAND = re.compile(r"(?:^|[\s/(])gateway ((?:[a-z]|--)[^|;&#>()\n]*)")
_VARIABLE = re.compile(rf"\b{PREFIX}[A-Z][A-Z_]*\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the page it is on, the line it begins at, its language, its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        """Name it in a test's id."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@cache
def blocks(*languages: str) -> tuple[Block, ...]:
    """Give every fenced block in one of these languages."""
    found = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in _FENCE.finditer(text):
            if match[2] in languages:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(page, line, match[2], dedent(match[3])))
    return tuple(found)


def prose(page: Path) -> str:
    """Give a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Give the fragments a page's headings can be linked by."""
    found = set()
    for heading in _HEADING.findall(prose(page)):
        plain = re.sub(r"[`*]", "", _LINK.sub(lambda m: m[0][1 : m[0].index("]")], heading))
        found.add(re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-"))
    return found


def table_under(page: Path, heading: str) -> Iterator[list[str]]:
    """Give the rows (without the head) of the first table after a heading."""
    text = prose(page).split(f"{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert rows is not None, f"no table under {heading!r}"
    for line in rows[0].splitlines()[2:]:
        yield [cell.strip() for cell in line.strip("|").split(" | ")]


def coded(text: str) -> list[str]:
    """Give the code spans of a text."""
    return re.findall(r"`([^`]+)`", text)


# --- links -----------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{target} leads nowhere"
        assert linked.is_relative_to(ROOT), f"{target} leaves the repository"
        if fragment:
            assert fragment in anchors(linked), f"{target}: no such heading"


# --- commands --------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[list[str]]:
    """Give the words after `gateway` wherever code on a page calls it."""
    shell = [b.text for b in blocks("", "sh", "bash", "console", "yaml") if b.page == page]
    spans = coded(prose(page))
    for code in [*spans, *shell]:
        for line in code.replace("\\\n", " ").splitlines():
            for match in _COMMAND.finditer(line):
                yield shlex.split(match[1].replace("'", ""))


def options_of(words: list[str]) -> tuple[set[str], list[str]]:
    """Follow words into the command line's groups; gives a command's options and what is left."""
    command: Any = typer.main.get_command(app)
    left = list(words)
    while hasattr(command, "commands") and left and not left[0].startswith("-"):
        name = left.pop(0)
        assert name in command.commands, f"gateway {' '.join(words)}: no command {name!r}"
        command = command.commands[name]
    return {name for parameter in command.params for name in parameter.opts} | {"--help"}, left


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_exists(page: Path) -> None:
    for words in commands(page):
        known, left = options_of([word for word in words if word != "…"])
        wrong = {word.partition("=")[0] for word in left if word.startswith("--")} - known
        assert not wrong, f"gateway {' '.join(words)}: no option {wrong}"


def test_commands_are_found_where_they_are_written() -> None:
    assert ["catalog", "check", "--config", "gateway.toml"] in commands(DOCS / "configuration.md")


# --- settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_variable_is_a_setting(page: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    named = set(_VARIABLE.findall(page.read_text(encoding="utf-8")))
    assert named <= known, f"not settings: {sorted(named - known)}"


# --- blocks ----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("json"), ids=str)
def test_json_blocks_parse(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_blocks_parse(block: Block) -> None:
    assert yaml.safe_load(block.text) is not None


@pytest.mark.parametrize("block", blocks("python"), ids=str)
def test_python_blocks_parse(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_toml_blocks_are_good_configuration(block: Block, tmp_path: Path) -> None:
    document = tomllib.loads(block.text)
    if set(document) <= OPERATORS_TABLES:
        _assert_passes_check(block.text, tmp_path)
    elif "id" in document:
        _assert_is_model_file(document)


def _assert_passes_check(text: str, folder: Path) -> None:
    secret = folder / "secret"
    secret.write_text("dummy-key")
    path = folder / "gateway.toml"
    path.write_text(re.sub(r'"file:[^"]+"', f'"file:{secret}"', text))
    environ = dict.fromkeys(re.findall(r'"env:(\w+)"', text), "dummy-key")
    assert catalog.check(path, environ).problems == ()


def _assert_is_model_file(document: Mapping[str, Any]) -> None:
    notes: list[tuple[str, str]] = []
    known = builtin().models
    name = document["id"]
    table = Table({k: v for k, v in document.items() if k != "id"}, name, notes)
    assert read_model(table, name, known) is not None
    table.finish()
    assert notes == []


# --- enumerations ----------------------------------------------------------------------------


def test_the_api_page_names_every_field_of_a_create_call() -> None:
    documented = {
        name
        for heading in ("### What to make", "### How to answer", "### Extras")
        for row in table_under(DOCS / "api.md", heading)
        for name in coded(row[0])
    }
    assert documented == set(FIELDS)


def test_the_api_page_lists_every_error_that_is_raised_with_its_status() -> None:
    documented = {
        (int(row[0]), code)
        for row in table_under(DOCS / "api.md", "### Codes")
        for code in coded(row[1])
    }
    raised = {
        (kind.status, kind.code)
        for name, kind in vars(errors).items()
        if isinstance(kind, type)
        and issubclass(kind, errors.GatewayError)
        and name not in NEVER_ANSWERED
        and re.search(rf"(?<!class )\b{name}\(", sources())
    }
    assert raised <= documented


@cache
def sources() -> str:
    """Give the product's code, but for the definitions of the errors themselves."""
    paths = sorted((ROOT / "gateway").rglob("*.py"))
    return "\n".join(p.read_text(encoding="utf-8") for p in paths if p.name != "errors.py")


def test_the_configuration_page_names_every_key() -> None:
    page = prose(DOCS / "configuration.md")
    tables = (limits._LIMITS, limits._SIZE, limits._IMAGES, limits._COUNT)
    named = set(coded(page))
    assert {key for table in tables for key in table} <= named


def test_the_simulator_page_explains_every_part_of_a_script() -> None:
    rows = [
        row
        for heading in ("### When", "### Effects")
        for row in table_under(DOCS / "simulator.md", heading)
    ]
    assert {name for row in rows for name in coded(row[0])} == {f.name for f in fields(Script)}


@pytest.mark.parametrize("adapter", sorted(builtin().providers))
def test_every_provider_has_a_page_with_its_models(adapter: str) -> None:
    page = prose(DOCS / "providers" / f"{adapter}.md")
    named = set(coded(page))
    assert set(builtin().providers[adapter].models) <= named


def test_decisions_are_numbered_one_by_one() -> None:
    names = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1)), names
