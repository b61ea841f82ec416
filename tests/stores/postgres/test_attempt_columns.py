"""The columns of attempts that statements write are those of the table."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Integer, Text

from gateway.stores.postgres.tables import attempts
from gateway.stores.postgres.task_sql import ATTEMPT_COLUMNS

KINDS = {BigInteger: "bigint", Integer: "integer", Boolean: "boolean", Text: "text"}


def test_statements_write_every_column_of_an_attempt() -> None:
    found = {column.name: KINDS[type(column.type)] for column in attempts.columns}
    assert found == ATTEMPT_COLUMNS
