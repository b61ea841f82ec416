"""What every dialect must do, whichever file it lives in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gateway.dialects
from gateway.app.dialect import Operation, ResultImage, UploadDialect
from gateway.dialects import DIALECTS, discover
from gateway.domain import errors
from gateway.domain.errors import Blame, GatewayError, InvalidRequest, NotAllowed, Problem
from gateway.domain.task import TaskStatus
from tests.dialects.samples import (
    CANCELLED,
    COMPLETED,
    FAILED,
    STATES,
    VIEW,
    call,
    catalog,
    create_routes,
    failed,
    wire,
)
from tests.dialects.test_fields import JSON

ERRORS: tuple[GatewayError, ...] = (
    InvalidRequest(Problem("size", "size is wrong", "invalid_value", "1K")),
    errors.BodyTooLarge(),
    errors.AuthenticationFailed(),
    errors.InsufficientCredits(),
    errors.NotAllowed(),
    errors.ModelNotFound("wan9", ("wan2.7-image",)),
    errors.TaskNotFound(),
    errors.RouteNotFound(),
    errors.MethodNotAllowed(),
    errors.TooLateToCancel(),
    errors.IdempotencyConflict(),
    errors.RateLimited("slow down", 2.0),
    errors.NoHealthyUpstream(),
    errors.StoreUnavailable(),
    errors.IndexUnavailable(),
    errors.ResultUnavailable(),
    errors.WaitExpired("task-1"),
    errors.UpstreamError("it broke", blame=Blame.PROVIDER),
    GatewayError("something"),
)
EVERY_DIALECT = pytest.mark.parametrize("name", sorted(DIALECTS))


def test_every_file_without_an_underscore_is_a_dialect_of_its_name():
    folder = Path(gateway.dialects.__file__).parent
    files = {path.stem for path in folder.glob("*.py") if not path.stem.startswith("_")}
    assert set(DIALECTS) == files
    assert all(dialect.name == name for name, dialect in DIALECTS.items())


def test_adding_a_dialect_is_adding_a_file(tmp_path, monkeypatch):
    (tmp_path / "telegraph.py").write_text(
        "from gateway.dialects._base import NativeTasks\n"
        "class Telegraph(NativeTasks):\n"
        "    name, prefix, root, routes = 'telegraph', '/telegraph/v1', '/v1', ()\n"
        "DIALECT = Telegraph()\n"
    )
    monkeypatch.setattr(gateway.dialects, "__path__", [*gateway.dialects.__path__, str(tmp_path)])
    assert set(discover()) == {*DIALECTS, "telegraph"}


def test_no_two_dialects_claim_one_address():
    claimed: dict[tuple[str, str], str] = {}
    for dialect in DIALECTS.values():
        assert dialect.prefix == f"/{dialect.name}{dialect.root}" or dialect.name == "evolink"
        for route in dialect.routes:
            bases = [dialect.prefix] + [dialect.root] * route.at_root
            for base in bases:
                key = (route.method, base + route.path)
                assert key not in claimed, f"{key}: {claimed.get(key)} and {dialect.name}"
                claimed[key] = dialect.name


def test_the_root_belongs_to_whom_the_design_says():
    owner = {
        (route.method, dialect.root + route.path): dialect.name
        for dialect in DIALECTS.values()
        for route in dialect.routes
        if route.at_root
    }
    assert owner["POST", "/v1/images/generations"] == "evolink"
    assert owner["POST", "/v1/images/edits"] == "evolink"
    assert owner["GET", "/v1/tasks/{task_id}"] == "evolink"
    assert owner["POST", "/v1/tasks"] == "qingbo"
    assert owner["POST", "/v1/tasks/submit"] == "modelverse"
    assert owner["GET", "/v1/tasks/status"] == "modelverse"
    assert owner["GET", "/api/v1/tasks/{task_id}"] == "dashscope"


def test_at_the_root_the_creator_of_a_task_answers_for_it():
    by_creator = {r.path for r in DIALECTS["evolink"].routes if r.by_creator}
    assert by_creator == {
        "/tasks/{task_id}",
        "/tasks/{task_id}/cancel",
        "/tasks/{task_id}/events",
    }


@EVERY_DIALECT
def test_every_route_is_documented(name):
    for route in DIALECTS[name].routes:
        assert route.summary
        assert route.error_statuses
        if route.operation is Operation.CREATE and 400 in route.error_statuses:
            assert route.request_schema


@EVERY_DIALECT
@pytest.mark.parametrize("task", STATES, ids=lambda task: task.status.value)
def test_every_state_of_anybodys_task_can_be_rendered(name, task):
    dialect = DIALECTS[name]
    for reply in (dialect.render_created(task, VIEW), dialect.render_task(task, VIEW)):
        assert reply.status == 200
        assert task.id in str(wire(reply.body))
    links = [image.url for image in COMPLETED.images]
    text = str(wire(dialect.render_task(task, VIEW).body))
    assert all((link in text) == (task.status is TaskStatus.COMPLETED) for link in links)


@EVERY_DIALECT
def test_links_of_our_own_get_our_address(name):
    assert "'https://gw.example/assets/2c1f.png'" in str(
        wire(DIALECTS[name].render_task(COMPLETED, VIEW).body)
    )


@EVERY_DIALECT
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_has_a_shape_a_status_and_a_sentence(name, error):
    reply = DIALECTS[name].render_error(error, VIEW)
    body = wire(reply.body)
    words = body.get("error", body)
    assert reply.status >= 400
    assert (reply.status >= 500) == (error.status >= 500)
    assert words["message"] == error.message
    assert isinstance(words["code"], str)
    assert words["code"]


@EVERY_DIALECT
def test_a_caller_who_waited_in_vain_gets_the_task_id(name):
    reply = DIALECTS[name].render_error(errors.WaitExpired("task-1"), VIEW)
    assert "'task-1'" in str(wire(reply.body))


@EVERY_DIALECT
@pytest.mark.parametrize("task", [FAILED, failed("Throttling", Blame.RATE), CANCELLED])
def test_a_synchronous_caller_hears_of_a_failure_as_an_error(name, task):
    dialect = DIALECTS[name]
    error = dialect.failure_of(task)
    caller = task.error is None or task.error.blame is Blame.CALLER
    assert (dialect.render_error(error, VIEW).status < 500) == caller


@EVERY_DIALECT
def test_the_vendors_words_about_our_account_stay_ours(name):
    task = failed("Arrearage", Blame.ACCOUNT, "Account 4711 is overdue")
    dialect = DIALECTS[name]
    texts = (
        str(wire(dialect.render_task(task, VIEW).body)),
        str(wire(dialect.render_error(dialect.failure_of(task), VIEW).body)),
    )
    assert all("4711" not in text and "Arrearage" not in text for text in texts)


@EVERY_DIALECT
def test_results_and_streams_carry_every_picture(name):
    dialect = DIALECTS[name]
    images = (
        ResultImage(url="https://files.example.net/0.png"),
        ResultImage(url="/assets/2c1f.png"),
    )
    text = str(wire(dialect.render_result(COMPLETED, images, VIEW).body))
    assert "https://gw.example/assets/2c1f.png" in text
    events = dialect.stream_event(COMPLETED, images, VIEW)
    assert events
    assert all(event != "error" for event, _ in events)
    failures = dialect.stream_event(FAILED, (), VIEW)
    assert [event for event, _ in failures] == ["error"]


@EVERY_DIALECT
def test_a_frame_is_one_event_with_one_line_of_data(name):
    frame = DIALECTS[name].frame(1, "result", b'{"a":1}')
    assert frame.endswith(b'{"a":1}\n\n')
    assert frame.count(b"data:") == 1
    assert frame.count(b"\n\n") == 1


@EVERY_DIALECT
def test_task_ids_are_new_plain_and_made_of_the_given_chance(name):
    dialect = DIALECTS[name]
    made = {dialect.new_task_id(1795170001_412, bytes([n]) * 16) for n in range(200)}
    assert len(made) == 200
    assert all(made_id.replace("-", "").isalnum() and len(made_id) <= 64 for made_id in made)
    assert dialect.new_task_id(1, b"x" * 16) == dialect.new_task_id(1, b"x" * 16)


@EVERY_DIALECT
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"null", b'{"model": 5}', b"{}"])
def test_a_broken_body_is_a_400(name, body):
    dialect = DIALECTS[name]
    for route in create_routes(dialect):
        asynchronous = {} if route.kind == "sync" else {"x-dashscope-async": "enable"}
        with pytest.raises(InvalidRequest):
            dialect.read_create(call(body, headers=asynchronous), route, catalog())


@EVERY_DIALECT
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_body_crashes_a_dialect(name, data):
    dialect = DIALECTS[name]
    route = data.draw(st.sampled_from(create_routes(dialect)))
    schema = route.request_schema
    assert schema is not None
    body = {}
    for field in data.draw(st.sets(st.sampled_from(sorted(schema["properties"])))):
        inner = schema["properties"][field].get("properties")
        if inner:
            keys = st.sampled_from(sorted(inner))
            body[field] = data.draw(st.dictionaries(keys, JSON, max_size=4) | JSON)
        else:
            body[field] = data.draw(JSON)
    headers = data.draw(st.sampled_from([{}, {"x-dashscope-async": "enable"}]))
    try:
        draft = dialect.read_create(call(wire(body), headers=headers), route, catalog())
    except (InvalidRequest, NotAllowed) as error:
        wire(dialect.render_error(error, VIEW).body)
    else:
        assert draft.request.model


@EVERY_DIALECT
def test_every_canonical_field_has_a_name_of_the_callers(name):
    if not create_routes(DIALECTS[name]):
        return
    route = create_routes(DIALECTS[name])[0]
    headers = {"x-dashscope-async": "enable"}
    nested = {"model": "wan2.7-image", "input": {"prompt": "p"}}
    flat = {"model": "wan2.7-image", "prompt": "p"}
    assert route.request_schema is not None
    body = nested if "input" in route.request_schema["properties"] else flat
    draft = DIALECTS[name].read_create(call(body, headers=headers), route, catalog())
    known = {"model", "prompt", "n", "seed", "watermark", "thinking", "group", "images", "tier"}
    assert known <= set(draft.field_names)


def test_the_dialect_that_takes_uploads_says_so():
    assert [name for name, it in DIALECTS.items() if isinstance(it, UploadDialect)] == ["dashscope"]
