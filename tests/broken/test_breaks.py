"""The breaks still fit the source, and the tests that notice them exist; `make prove` runs them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.broken.breaks import BREAKS, Break

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("one", BREAKS, ids=lambda one: one.promise)
def test_a_break_fits_the_source_and_names_a_test(one: Break) -> None:
    assert (ROOT / one.file).read_text(encoding="utf-8").count(one.old) == 1
    file, _, name = one.noticed_by.partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not name or name in functions
