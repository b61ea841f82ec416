"""The house rules that no linter knows, each a function from a text to what breaks it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

Function = ast.FunctionDef | ast.AsyncFunctionDef

HOMES = ("work", "root", "Users")

# Written in halves, so that this file does not name what it forbids.
FORBIDDEN_TEXTS = {
    "a package registry's host": re.compile(
        "|".join(
            re.escape(left + right)
            for left, right in [
                ("pypi", ".org"), ("files.python", "hosted.org"), ("registry.npm", "js.org"),
                ("npmm", "irror.com"), ("crates", ".io"), ("proxy.go", "lang.org"),
                ("pypi.tuna", "."), ("mirrors.ali", "yun.com"), ("repo.mav", "en.apache.org"),
                ("gh", "cr.io"), ("qu", "ay.io"), ("docker", ".io"),
            ]
        )
    ),
    "a path on the author's machine": re.compile("/(?:" + "|".join(HOMES) + ")/[a-z]+/"),
    "an index address in a requirements file": re.compile(
        r"^--(?:(?:extra-)?index|find)-(?:url|links)", re.MULTILINE
    ),
}  # fmt: skip


def too_long_file(source: str) -> Iterator[str]:
    """A file one can hold in one's head."""
    lines = len(source.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines, at most {FILE_LINES_MAX}"


def too_long_functions(source: str) -> Iterator[str]:
    """A function that fits a screen, docstring included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines, at most {FUNCTION_LINES_MAX}"


def missing_docstrings(source: str) -> Iterator[str]:
    """Modules, and public functions, classes and methods, say what they are."""
    tree = ast.parse(source)
    if not ast.get_docstring(tree):
        yield "the module has no docstring"
    holders: list[ast.Module | ast.ClassDef] = [tree]
    while holders:
        for node in holders.pop().body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                if not ast.get_docstring(node) and not _is_overload(node):
                    yield f"{node.name} has no docstring"
                if isinstance(node, ast.ClassDef):
                    holders.append(node)


def swallowed_errors(source: str) -> Iterator[str]:
    """No handler of every error that does nothing, however it is written."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ExceptHandler):
            if _catches_all(node.type) and all(_does_nothing(line) for line in node.body):
                yield f"line {node.lineno} swallows every error"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            yield from (
                f"line {node.lineno} suppresses every error"
                for argument in node.args
                if _catches_all(argument)
            )


def floats(source: str) -> Iterator[str]:
    """Nothing is turned into a float where money is decided."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "float":
            yield f"line {node.lineno} calls float()"


def imports_of(source: str, package: str, siblings: set[str]) -> Iterator[str]:
    """A module of `package` names none of the `siblings` beside it."""
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for sibling in siblings & {name.removeprefix(package + ".") for name in names}:
            yield f"imports its sibling {sibling}"


def unreasoned_ignores(source: str) -> Iterator[str]:
    """In pyproject.toml, each rule that is switched off says why on its own line."""
    for number, line in enumerate(source.splitlines(), 1):
        if re.match(r'\s+"[A-Z]+[0-9]*",', line) and not re.search(r"#\s+\S+ \S+", line):
            yield f"line {number} switches a rule off without a reason: {line.strip()}"


def forbidden_texts(source: str) -> Iterator[str]:
    """Nothing that only one machine or one network has."""
    for what, pattern in FORBIDDEN_TEXTS.items():
        found = pattern.search(source)
        if found:
            yield f"names {what}: {found[0]}"


def _is_overload(node: Function | ast.ClassDef) -> bool:
    return any(ast.unparse(decorator).endswith("overload") for decorator in node.decorator_list)


def _catches_all(node: ast.expr | None) -> bool:
    if node is None:
        return True
    names = node.elts if isinstance(node, ast.Tuple) else [node]
    return any(ast.unparse(name) in ("Exception", "BaseException") for name in names)


def _does_nothing(node: ast.stmt) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant or isinstance(node, ast.Pass | ast.Continue)
