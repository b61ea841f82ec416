"""The schema as SQLAlchemy metadata: for reports, and for Alembic to notice drift.

The revisions in `migrations/versions` create it; triggers, CHECKs, storage options and views are
written there alone. Times are UTC milliseconds, money is integer micro.
Ids and words are ASCII, compared bytewise (collation C), so that id order is the same everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData()

Word = Text(collation="C")

teams = Table(
    "teams",
    metadata,
    Column("id", Word, primary_key=True),
    Column("name", Text, nullable=False),
    Column("user_group", Text, nullable=False, server_default="default"),
    Column("created_ms", BigInteger, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("suspended_ms", BigInteger),
    Column("callback_retries", Word, nullable=False, server_default="quick"),
    Column("monthly_budget", BigInteger),
    Column("budget_mode", Word, nullable=False, server_default="refuse"),
    Column("budget_alerts", ARRAY(Integer), nullable=False, server_default="{80,100}"),
    Column("low_balance", BigInteger),
    Column("alert_url", Text),
    UniqueConstraint("name", name="teams_name_key"),
    Index("teams_newest", text("created_ms DESC"), text("id DESC")),
)

accounts = Table(
    "accounts",
    metadata,
    Column("team_id", Word, ForeignKey("teams.id"), primary_key=True),
    Column("balance", BigInteger, nullable=False, server_default="0"),
    Column("held", BigInteger, nullable=False, server_default="0"),
)

webhook_secrets = Table(
    "webhook_secrets",
    metadata,
    Column("id", Word, primary_key=True),
    Column("team_id", Word, ForeignKey("teams.id"), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("valid_until_ms", BigInteger),
    Index("webhook_secrets_team", "team_id", text("created_ms DESC")),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Word, primary_key=True),
    Column("team_id", Word, ForeignKey("teams.id"), nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("hash", LargeBinary, nullable=False),
    Column("last4", Text, nullable=False),
    Column("default_mode", Word, nullable=False, server_default="auto"),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Column("revoked_ms", BigInteger),
    Column("version", Integer, nullable=False, server_default="1"),
    Column("scopes", ARRAY(Text)),
    Column("models", ARRAY(Text)),
    Column("upstreams", ARRAY(Text)),
    Column("networks", ARRAY(Text)),
    Column("requests_per_minute", Integer),
    Column("images_per_minute", Integer),
    Column("concurrent_tasks", Integer),
    Column("credit_cap", BigInteger),
    Column("monthly_credit_cap", BigInteger),
    Column("limits_id", Word, nullable=False),
    UniqueConstraint("hash", name="api_keys_hash_key"),
    Index("api_keys_team", "team_id", "created_ms"),
    Index("api_keys_newest", text("created_ms DESC"), text("id DESC")),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("actor_id", Word, nullable=False),
    Column("actor_name", Text, nullable=False),
    Column("session", Word),
    Column("action", Word, nullable=False),
    Column("subject", Word, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("before", JSONB),
    Column("after", JSONB),
    Index("audit_of_subject", "subject", text("id DESC")),
)

operators = Table(
    "operators",
    metadata,
    Column("id", Word, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Word, nullable=False),
    Column("team_id", Word, ForeignKey("teams.id", ondelete="CASCADE")),
    Column("hash", LargeBinary),
    Column("last4", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("revoked_ms", BigInteger),
    Column("version", Integer, nullable=False, server_default="1"),
    UniqueConstraint("name", name="operators_name_key"),
    UniqueConstraint("hash", name="operators_hash_key"),
    CheckConstraint("(role = 'member') = (team_id IS NOT NULL)", name="operators_members_team"),
    Index("operators_of_team", "team_id", postgresql_where=text("team_id IS NOT NULL")),
)

price_overrides = Table(
    "price_overrides",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("team_id", Word, ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    Column("key_id", Word),
    Column("owner", Word, nullable=False),
    Column("model", Word, nullable=False),
    Column("prices", JSONB, nullable=False),
    Column("from_ms", BigInteger),
    Column("until_ms", BigInteger),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("owner", "model", name="price_overrides_one"),
)

admin_repeats = Table(
    "admin_repeats",
    metadata,
    Column("actor_id", Word, primary_key=True),
    Column("scope", Word, primary_key=True),
    Column("key", Word, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("subject", Word),
    Column("sealed", LargeBinary),
    Column("created_ms", BigInteger, nullable=False),
    Index("admin_repeats_age", "created_ms"),
)

meta = Table(
    "meta",
    metadata,
    Column("key", Word, primary_key=True),
    Column("value", Text, nullable=False),
)

transfers = Table(
    "transfers",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("kind", Word, nullable=False),
    Column("team_id", Word, ForeignKey("teams.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("returned", BigInteger, nullable=False, server_default="0"),
    Column("hold_id", Uuid, ForeignKey("transfers.id")),
    Column("task_id", Word),
    Column("reference", Text),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger),
    Index(
        "transfers_one_resolution_per_hold",
        "hold_id",
        unique=True,
        postgresql_where=text("kind IN ('capture', 'release')"),
    ),
    Index(
        "transfers_moving",
        "team_id",
        "created_ms",
        postgresql_include=["kind", "amount"],
        postgresql_where=text("kind NOT IN ('hold', 'release')"),
    ),
    Index("transfers_refunds", "task_id", postgresql_where=text("kind = 'refund'")),
    Index(
        "transfers_credits",
        "team_id",
        text("created_ms DESC"),
        text("id DESC"),
        postgresql_where=text("kind IN ('grant', 'credit', 'debit', 'refund', 'expiration')"),
    ),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Word, primary_key=True),
    Column("team_id", Word, nullable=False),
    Column("key_id", Word, nullable=False),
    Column("dialect", Word, nullable=False),
    Column("model", Word, nullable=False),
    Column("status", Word, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("deadline_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    Column("hold", BigInteger, nullable=False),
    Column("charged", BigInteger, nullable=False, server_default="0"),
    Column("callback_url", Text),
    Column("callback_events", ARRAY(Text)),
    Column("doc", LargeBinary, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Index("tasks_unfinished", "id", postgresql_where=text("status IN ('pending', 'processing')")),
    Index("tasks_by_team", "team_id", text("created_ms DESC")),
    Index("tasks_finished", "finished_ms", postgresql_where=text("finished_ms IS NOT NULL")),
    Index(
        "tasks_told",
        "id",
        postgresql_where=text("callback_url IS NOT NULL AND finished_ms IS NOT NULL"),
    ),
    Index(
        "tasks_with_payload",
        "finished_ms",
        postgresql_where=text("finished_ms IS NOT NULL AND octet_length(request) > 0"),
    ),
)

attempts = Table(
    "attempts",
    metadata,
    Column("id", Word, primary_key=True),
    Column("task_id", Word, nullable=False),
    Column("no", Integer, nullable=False),
    Column("upstream", Word, nullable=False),
    Column("adapter", Word, nullable=False),
    Column("upstream_model", Text, nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger),
    Column("outcome", Word, nullable=False),
    Column("upstream_task_id", Text),
    Column("code", Text),
    Column("reason", Text),
    Column("blame", Word),
    Column("planned_cost", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("exposure", BigInteger, nullable=False),
    Column("polls", Integer, nullable=False),
    Column("misses", Integer, nullable=False),
    Column("retry_after_ms", BigInteger, nullable=False),
    Column("idempotent", Boolean, nullable=False),
    Column("on_ambiguous", Word, nullable=False),
    Column("delivered", Integer, nullable=False),
    Column("resolution", Word),
    Index("attempts_of_task", "task_id", "no"),
    Index("attempts_by_time", "started_ms", postgresql_using="brin"),
    Index(
        "attempts_exposed",
        text("started_ms DESC"),
        text("id DESC"),
        postgresql_where=text("exposure > 0"),
    ),
)

usage = Table(
    "usage",
    metadata,
    Column("task_id", Word, primary_key=True),
    Column("team_id", Word, nullable=False),
    Column("key_id", Word, nullable=False),
    Column("model", Word, nullable=False),
    Column("upstream", Word),
    Column("status", Word, nullable=False),
    Column("images", Integer, nullable=False),
    Column("charged", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),
    Column("exposure", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("finished_ms", BigInteger, nullable=False),
    Index("usage_by_team", "team_id", "finished_ms"),
    Index("usage_by_time", "finished_ms"),
)

usage_days = Table(
    "usage_days",
    metadata,
    Column("day_ms", BigInteger, primary_key=True),
    Column("team_id", Word, primary_key=True),
    Column("key_id", Word, primary_key=True),
    Column("model", Word, primary_key=True),
    Column("upstream", Word, primary_key=True),
    Column("status", Word, primary_key=True),
    Column("latency", SmallInteger, primary_key=True),
    *(
        Column(name, BigInteger, nullable=False)
        for name in ("tasks", "images", "charged", "cost", "exposure", "waste")
    ),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("team_id", Word, primary_key=True),
    Column("scope", Word, primary_key=True),
    Column("key", Word, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("task_id", Word, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("idempotency_keys_age", "created_ms"),
)

sdk_calls = Table(
    "sdk_calls",
    metadata,
    Column("task_id", Word, primary_key=True),
    Column("key_id", Word, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("retries", Integer, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Index("sdk_calls_newest", "key_id", "fingerprint", text("created_ms DESC")),
    Index("sdk_calls_age", "created_ms"),
)

callbacks = Table(
    "callbacks",
    metadata,
    Column("id", Word, primary_key=True),
    Column("task_id", Word, ForeignKey("tasks.id", ondelete="CASCADE")),
    Column("team_id", Word, nullable=False),
    Column("url", Text, nullable=False),
    Column("body", Text),
    Column("event", Word, nullable=False),
    Column("state", Word, nullable=False, server_default="pending"),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("next_at_ms", BigInteger, nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False, server_default="0"),
    Column("created_ms", BigInteger, nullable=False),
    Index("callbacks_of_task", "task_id"),
    Index("callbacks_alerts", "created_ms", postgresql_where=text("task_id IS NULL")),
    Index("callbacks_due", "next_at_ms", postgresql_where=text("state = 'pending'")),
    Index("callbacks_plain", "id", postgresql_where=text("url NOT LIKE 'sealed:%'")),
    Index("callbacks_newest", text("created_ms DESC"), text("id DESC")),
    Index(
        "callbacks_dead",
        text("created_ms DESC"),
        text("id DESC"),
        postgresql_where=text("state = 'dead'"),
    ),
)

gone_receivers = Table(
    "gone_receivers",
    metadata,
    Column("team_id", Word, ForeignKey("teams.id", ondelete="CASCADE"), primary_key=True),
    Column("url_hash", LargeBinary, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)

callback_tries = Table(
    "callback_tries",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=True),
    Column("callback_id", Word, ForeignKey("callbacks.id", ondelete="CASCADE"), nullable=False),
    Column("status", Integer),
    Column("error", Text),
    Column("started_ms", BigInteger, nullable=False),
    Column("duration_ms", BigInteger, nullable=False),
    Index("callback_tries_of_callback", "callback_id", "id"),
)

drained_upstreams = Table(
    "drained_upstreams",
    metadata,
    Column("name", Word, primary_key=True),
    Column("at_ms", BigInteger, nullable=False),
)

assets = Table(
    "assets",
    metadata,
    Column("id", Word, primary_key=True),
    Column("media_type", Word, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("expires_ms", BigInteger, nullable=False),
    Index("assets_expiry", "expires_ms"),
)
