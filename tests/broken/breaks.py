"""Promises and what breaks them: one edit of the source each, and the test that must notice."""

from __future__ import annotations

from dataclasses import dataclass

_SQL = "gateway/stores/postgres/task_sql.py"
_MACHINE = "gateway/domain/machine.py"
_MATRIX = "tests/crash/test_matrix.py::test_a_quarter_of_the_matrix"
_SETTLE = "tests/stores/postgres/test_settle.py"
_FEED = "gateway/stores/postgres/batch_feed.py"
_BATCHES = "tests/stores/postgres/test_batches.py"
_CAPS = "tests/stores/postgres/test_key_caps.py"


@dataclass(frozen=True)
class Break:
    """What is broken, how (``old``, once in ``file``, becomes ``new``), and who must notice."""

    promise: str
    file: str
    old: str
    new: str
    noticed_by: str


BREAKS = (
    Break(
        "a worker that was overtaken saves nothing: the fence check",
        _SQL,
        """
        WHERE id = item.id AND fence = item.fence AND status IN ('pending', 'processing')
        FOR UPDATE
    ) t
), moved""",
        """
        WHERE id = item.id AND status IN ('pending', 'processing')
        FOR UPDATE
    ) t
), moved""",
        f"{_SETTLE}::test_a_stale_fence_changes_nothing",
    ),
    Break(
        "a worker that was overtaken settles nothing: the fence check",
        _SQL,
        """
        WHERE id = item.id AND fence = item.fence AND status IN ('pending', 'processing')
        FOR UPDATE
    ) t
), ended""",
        """
        WHERE id = item.id AND status IN ('pending', 'processing')
        FOR UPDATE
    ) t
), ended""",
        f"{_SETTLE}::test_a_stale_fence_changes_nothing",
    ),
    Break(
        "a hold is resolved once, whoever writes: the unique index",
        "migrations/versions/0001_first_schema.py",
        "CREATE UNIQUE INDEX transfers_one_resolution_per_hold",
        "CREATE INDEX transfers_one_resolution_per_hold",
        "tests/stores/postgres/test_ledger.py::test_a_hold_is_resolved_once",
    ),
    Break(
        "money moves only with the settlement that ends the task: no release before it",
        _SQL,
        """
        CASE WHEN charged > 0 THEN hold - charged ELSE 0 END, hold_id, id, at_ms
    FROM mine
), used""",
        """
        CASE WHEN charged > 0 THEN hold - charged ELSE 0 END, hold_id, id, at_ms
    FROM (
        SELECT t.id, t.team_id, t.hold, i.resolution_id, 0 AS charged, i.hold_id, i.at_ms
        FROM item i JOIN tasks t ON t.id = i.id
    ) early
), used""",
        f"{_SETTLE}::test_a_stale_fence_changes_nothing",
    ),
    Break(
        "only delivered pictures are charged",
        "gateway/domain/task.py",
        "return min(task.hold, task.unit_price * len(ending.images))",
        "return task.hold",
        "tests/domain/test_machine.py::test_only_delivered_pictures_are_charged",
    ),
    Break(
        "nobody holds what the team has not",
        _SQL,
        "WHERE available >= amount AND ($18::boolean OR",
        "WHERE ($18::boolean OR",
        "tests/stores/postgres/test_accept.py",
    ),
    Break(
        "a key spends no more than its cap",
        _SQL,
        "OR m.spent + m.held + m.amount > m.credit_cap",
        "",
        f"{_CAPS}::test_what_is_not_charged_can_be_spent_again",
    ),
    Break(
        "a key and the one that replaces it share their limits",
        "gateway/stores/postgres/keys.py",
        "_wanted(old), old.limits_id",
        "_wanted(old)",
        f"{_CAPS}::test_a_rotated_key_and_the_new_one_share_their_caps",
    ),
    Break(
        "nothing is bought with credits that have expired",
        _SQL,
        'a.available - {_expired("a.team_id", "n.at_ms")} AS available',
        "a.available",
        "tests/stores/postgres/test_expirations.py"
        "::test_what_is_left_of_a_grant_is_gone_at_its_time_and_booked_later",
    ),
    Break(
        "an Idempotency-Key makes one task",
        _SQL,
        "SELECT * FROM item WHERE NOT taken AND first_id IS NULL",
        "SELECT * FROM item WHERE NOT taken",
        "tests/stores/postgres/test_repeats.py"
        "::test_a_second_call_under_a_key_is_told_of_the_first_and_holds_nothing",
    ),
    Break(
        "what is about to be sent is written down first",
        "gateway/app/submitting.py",
        "visit.task = await tools.tasks.save(apply(visit.task, AttemptStarted(attempt)), attempt)",
        "visit.task = apply(visit.task, AttemptStarted(attempt))",
        _MATRIX,
    ),
    Break(
        "what a vendor may have billed is booked as exposure",
        _MACHINE,
        "exposure=last.planned_cost if outcome is Outcome.UNKNOWN else 0,",
        "exposure=0,",
        "tests/domain/test_machine.py"
        "::test_an_unknown_submit_fails_over_once_and_its_possible_cost_is_kept",
    ),
    Break(
        "an ambiguous submit is bought elsewhere once, not again and again",
        _MACHINE,
        "if last.on_ambiguous is OnAmbiguous.FAILOVER and unknown <= 1:",
        "if last.on_ambiguous is OnAmbiguous.FAILOVER:",
        "tests/domain/test_machine.py"
        "::test_an_unknown_submit_fails_over_once_and_its_possible_cost_is_kept",
    ),
    Break(
        "a lost submit adopts no job that another may have made",
        "gateway/domain/lost.py",
        "return None if any(other.may_have_made(mine[0]) for other in others) else mine[0]",
        "return mine[0]",
        "tests/domain/test_lost.py::test_a_job_that_may_be_anothers_is_left_alone",
    ),
    Break(
        "a job is adopted only at an account of our own: the operator's word",
        "gateway/app/task_lists.py",
        "return found is not None and found.exclusive_account",
        "return found is not None",
        "tests/e2e/test_lost_submits.py"
        "::test_an_account_that_others_may_use_proves_only_that_nothing_was_made",
    ),
    Break(
        "a caller's fault never fails over",
        "gateway/domain/errors.py",
        "return self is not Blame.CALLER",
        "return True",
        "tests/domain/test_machine.py::test_a_callers_fault_ends_the_task_at_once",
    ),
    Break(
        "a cancel is durable before the vendor hears it",
        "gateway/app/polling.py",
        "visit.task = await tools.tasks.save(visit.task, None)\n    reached",
        "reached",
        "tests/e2e/test_first_image.py::test_a_wish_to_cancel_is_durable_when_the_vendor_hears_it",
    ),
    Break(
        "a vendor's cancel is remembered as ours, whoever hears of it",
        "gateway/app/polling.py",
        "if task.cancel_requested or task.cancel_asked:",
        "if False:",
        "tests/e2e/test_first_image.py::test_a_cancel_survives_the_process_that_asked_the_vendor",
    ),
    Break(
        "a claimed task is nobody else's until its lease ends",
        "gateway/stores/valkey/lua/claim.lua",
        "redis.call('ZADD', KEYS[1], ends, id)",
        "redis.call('ZADD', KEYS[1], now, id)",
        "tests/stores/valkey/test_queue_machine.py::test_the_queue_does_what_its_model_does",
    ),
    Break(
        "a lease that was lost saves nothing",
        "gateway/stores/valkey/lua/save.lua",
        "local ours = not row[3] or (row[3] == ARGV[3] and row[4] ~= '0')",
        "local ours = true",
        "tests/stores/valkey/test_live_tasks.py"
        "::test_an_expired_lease_is_delivered_again_and_the_old_one_cannot_save",
    ),
    Break(
        "a callback keeps its id on every try",
        "gateway/stores/postgres/outbox.py",
        'return f"msg_{uuid5(_NAMESPACE, task_id).hex}"',
        'return f"msg_{uuid5(_NAMESPACE, task_id + str(id(object()))).hex}{id([])}"',
        "tests/stores/postgres/test_outbox.py",
    ),
    Break(
        "where a callback goes is sealed at rest",
        "gateway/stores/postgres/accepting.py",
        "url = seal_url(vault, new.callback.url, team_id)",
        "url = new.callback.url",
        "tests/stores/postgres/test_urls.py"
        "::test_an_address_is_sealed_from_accept_to_delivery_and_shown_as_it_was_sent",
    ),
    Break(
        "an Idempotency-Key is not stored as it was sent",
        "gateway/stores/postgres/vault.py",
        'return self.hash(f"idempotency-key {owner} {key}").hex()',
        "return key",
        "tests/stores/postgres/test_repeats.py"
        "::test_what_is_stored_of_a_key_says_neither_the_key_nor_who_else_uses_it",
    ),
    Break(
        "a line of a batch is one task, whoever sends it: its one id",
        "gateway/app/batch_feeding.py",
        "await self.submit.accept(principal, self.dialect, draft, task_id=task_id)",
        "await self.submit.accept(principal, self.dialect, draft)",
        "tests/e2e/test_batches.py::test_every_line_becomes_one_task_with_its_pictures",
    ),
    Break(
        "a line whose task exists was accepted, whatever is said of it",
        _FEED,
        "told.code IS NULL OR {_EXISTS} AS accepted",
        "told.code IS NULL AS accepted",
        f"{_BATCHES}::test_a_line_whose_task_exists_was_accepted_whatever_is_said",
    ),
    Break(
        "a worker that lost a team's lease moves none of its batches",
        _FEED,
        "WHERE b.id = $2 AND s.runner = $1 FOR UPDATE OF b",
        "WHERE b.id = $2 AND (s.runner = $1 OR true) FOR UPDATE OF b",
        f"{_BATCHES}::test_a_runner_without_the_lease_changes_nothing",
    ),
    Break(
        "an address is judged when the socket is opened, not only when it is read",
        "gateway/egress/guard.py",
        "if refusal(str(sockaddr[0])):",
        "if False:",
        "tests/egress/test_vectors.py::test_no_socket_is_made_for_a_bad_address",
    ),
    Break(
        "a name is judged by what it resolves to now",
        "gateway/egress/guard.py",
        "if self._guarded and any(refusal(address) for address in addresses):",
        "if False:",
        "tests/egress/test_guard.py"
        "::test_the_resolver_itself_refuses_such_a_name_before_any_socket",
    ),
    Break(
        "a write by a login carries the token that only our own page can read",
        "gateway/http/admin/serve.py",
        "if not hmac.compare_digest(sent.encode(), session.csrf.encode()):",
        "if False:",
        "tests/admin/test_sessions.py::test_a_write_by_a_login_must_come_from_our_own_page",
    ),
    Break(
        "no more failed logins than allowed are looked at, however many come at once",
        "gateway/app/login.py",
        """
        taken = await self.limits.take(subject, (limit,))
        if taken.refusals:""",
        """
        taken = await self.limits.take(subject, (limit,))
        if False:""",
        "tests/admin/test_throttled_logins.py"
        "::test_a_names_failures_are_counted_exactly_wherever_they_come_from",
    ),
    Break(
        "a member sees no other team: what is asked about must be its own",
        "gateway/http/admin/confine.py",
        "if team_id != actor.team_id:",
        "if False:",
        "tests/admin/test_members.py::test_no_route_shows_a_members_token_anything_of_another_team",
    ),
    Break(
        "an issuer's token answers this login and no other: the nonce",
        "gateway/domain/oidc.py",
        'if claims.get("nonce") != nonce:',
        "if False:",
        "tests/admin/test_oidc_refusals.py"
        "::test_a_token_that_does_not_answer_our_question_lets_nobody_in",
    ),
    Break(
        "an issuer's answer is taken once",
        "gateway/app/oidc.py",
        "if not await self.subjects.use_once(answer.state):",
        "if False:",
        "tests/admin/test_oidc_refusals.py"
        "::test_an_answer_is_taken_once_and_by_the_browser_that_asked",
    ),
)
