"""The truth: teams, keys, ledger, tasks, attempts, usage, callbacks and assets in PostgreSQL 15+.

Hot statements are raw SQL over asyncpg, kept as named constants beside their store; reports and
Alembic's drift check use the SQLAlchemy metadata of `tables.py`. Every schema change is a
revision in `migrations/`.
"""
