"""The month of a time, written so that PostgreSQL puts it in line instead of calling it.

A function whose one SELECT has a FROM is called for each row, and takes six times as long; every
hold and every charge asks for it.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_AT = "timestamp '1970-01-01' + ms * interval '1 millisecond'"

_MONTH_OF = """
CREATE OR REPLACE FUNCTION month_of(ms bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ {body} $$
"""


def upgrade() -> None:
    body = f"SELECT (extract(year FROM {_AT}) * 12 + extract(month FROM {_AT}))::integer"
    op.execute(_MONTH_OF.format(body=body))


def downgrade() -> None:
    op.execute(
        _MONTH_OF.format(
            body=f"""
    SELECT (extract(year FROM at) * 12 + extract(month FROM at))::integer
    FROM (SELECT {_AT} AS at) t
"""
        )
    )
