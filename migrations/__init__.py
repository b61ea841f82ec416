"""Alembic revisions of the PostgreSQL schema; `gateway migrate` applies them.

A new one: change `gateway/stores/postgres/tables.py`, then with GATEWAY_DATABASE_URL naming a
migrated database: `alembic -c migrations/alembic.ini revision --autogenerate -m "what changes"`.
"""
