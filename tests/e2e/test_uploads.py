"""Files that callers upload before the task that names them (DashScope's ``file://`` pictures)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from obstore.store import MemoryStore

from gateway.app.dialect import Upload, UploadedFile
from gateway.app.uploads import BYTES_MAX, PICTURE_TTL_S, TICKET_TTL_S, Uploads
from gateway.domain.errors import AuthenticationFailed, InvalidRequest
from gateway.domain.request import GenerationRequest, InputImage
from gateway.domain.submission import Draft
from gateway.stores.objects.assets import ObjectAssets
from tests.support.pictures import MASK, PNG
from tests.support.stack import Stack, Team

pytestmark = pytest.mark.asyncio(loop_scope="module")

EDIT = "/api/v1/services/aigc/image2image/image-synthesis"
PROMISED = {
    "policy",
    "signature",
    "upload_dir",
    "upload_host",
    "oss_access_key_id",
    "x_oss_object_acl",
    "x_oss_forbid_overwrite",
    "expire_in_seconds",
    "max_file_size_mb",
    "capacity_limit_mb",
}
KEY = "gateway-uploads/0123456789abcdef/cat.png"


@pytest.fixture
def stack(calm_stack: Stack) -> Stack:
    return calm_stack


async def policy(stack: Stack, team: Team) -> dict[str, Any]:
    path = "/api/v1/uploads?action=getPolicy&model=wan2.5-i2i-preview"
    data: dict[str, Any] = (await stack.get(team, path)).json()["data"]
    return data


async def upload(
    stack: Stack, ticket: dict[str, Any], content: bytes, name: str = "cat.png"
) -> httpx.Response:
    """Send the form the SDK sends; no key, as there."""
    form = {
        "OSSAccessKeyId": ticket["oss_access_key_id"],
        "Signature": ticket["signature"],
        "policy": ticket["policy"],
        "key": f"{ticket['upload_dir']}/{name}",
        "x-oss-object-acl": ticket["x_oss_object_acl"],
        "x-oss-forbid-overwrite": ticket["x_oss_forbid_overwrite"],
        "success_action_status": "200",
        "x-oss-content-type": "image/png",
    }
    files = {"file": (name, content)}
    return await stack.client.post(ticket["upload_host"], data=form, files=files)


async def edit(stack: Stack, team: Team, url: str) -> httpx.Response:
    body = {
        "model": "wan2.5-i2i-preview",
        "input": {"prompt": "a kite", "images": [url]},
        "parameters": {"n": 1},
    }
    return await stack.post(team, body, EDIT, {"x-dashscope-async": "enable"})


async def test_an_uploaded_picture_is_edited_for_the_team_that_uploaded_it_and_no_other(
    stack: Stack,
) -> None:
    team, other = await stack.team(), await stack.team()
    ticket = await policy(stack, team)
    url = f"oss://{ticket['upload_dir']}/cat.png"

    stored = await upload(stack, ticket, PNG)
    created = await edit(stack, team, url)
    stolen = await edit(stack, other, url)
    body = await stack.ended(team, created.json()["output"]["task_id"])
    request = await stack.gateway.tasks.request_of(body["id"])

    assert ticket.keys() >= PROMISED
    assert stored.status_code == 200
    assert body["status"] == "completed"
    assert request.images[0].width == 512
    assert (stolen.status_code, stolen.json()["code"]) == (400, "InvalidParameter")
    assert "input.images[0]" in stolen.json()["message"]
    await stack.assert_ledger_is_clean()


async def test_a_second_file_of_the_same_name_does_not_pass_for_the_first(stack: Stack) -> None:
    ticket = await policy(stack, await stack.team())

    answers = [await upload(stack, ticket, content) for content in (PNG, PNG, MASK)]

    assert [answer.status_code for answer in answers] == [200, 200, 409]
    assert set(answers[2].json()) == {"code", "message", "request_id"}


async def test_a_form_that_does_not_fit_its_ticket_is_a_flat_400(stack: Stack) -> None:
    team = await stack.team()
    mine, other = await policy(stack, team), await policy(stack, team)

    foreign = await upload(stack, {**mine, "upload_dir": other["upload_dir"]}, PNG)
    no_picture = await upload(stack, mine, b"<svg/>")
    no_file = await stack.client.post(
        mine["upload_host"], data={"key": f"{mine['upload_dir']}/a"}, files={"x": b"y"}
    )

    for answer, field in ((foreign, "key"), (no_picture, "file"), (no_file, "file")):
        assert (answer.status_code, answer.json()["code"]) == (400, "InvalidParameter")
        assert field in answer.json()["message"]


async def test_an_upload_without_a_ticket_of_ours_is_refused_before_its_body_is_read(
    stack: Stack,
) -> None:
    for query in ("", "?ticket=" + "a" * 40, "?ticket=%ff%00"):
        answer = await stack.client.post(f"/api/v1/uploads{query}", content=b"x" * 50 * 2**20)

        assert answer.status_code == 401
        assert answer.json()["code"] == "InvalidApiKey"


async def test_a_ticket_is_not_to_be_had_without_a_key_nor_read_as_a_picture(stack: Stack) -> None:
    ticket = await policy(stack, await stack.team())

    keyless = await stack.client.get("/api/v1/uploads?action=getPolicy&model=wan2.5-i2i-preview")
    as_picture = await stack.client.get(f"/assets/{ticket['policy']}.png")

    assert (keyless.status_code, keyless.json()["code"]) == (401, "InvalidApiKey")
    assert as_picture.status_code == 404


class SetClock:
    """A clock that stands where the test puts it."""

    ms = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.ms


def file_of(content: bytes) -> Upload:
    return Upload(KEY, UploadedFile("file", "cat.png", "image/png", content))


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def uploads(clock: SetClock) -> Uploads:
    return Uploads(ObjectAssets(MemoryStore(), clock), clock)


async def test_a_ticket_is_good_for_ten_minutes(uploads: Uploads, clock: SetClock) -> None:
    ticket = await uploads.grant("team-1")

    clock.ms += TICKET_TTL_S * 1000 - 1
    assert await uploads.admit(ticket) == "team-1"
    clock.ms += 1
    with pytest.raises(AuthenticationFailed):
        await uploads.admit(ticket)


async def test_a_picture_is_kept_for_two_days(uploads: Uploads, clock: SetClock) -> None:
    draft = Draft(GenerationRequest("m", "p", images=(InputImage(f"oss://{KEY}"),)))
    await uploads.keep("team-1", file_of(PNG))

    clock.ms += PICTURE_TTL_S * 1000 - 1
    resolved = await uploads.resolved("team-1", draft, lambda url: KEY)
    clock.ms += 1

    assert resolved.request.images[0].url.startswith("data:image/png;base64,")
    with pytest.raises(InvalidRequest, match="upload it again"):
        await uploads.resolved("team-1", draft, lambda url: KEY)


async def test_a_picture_above_the_cap_is_refused(uploads: Uploads) -> None:
    head = PNG
    await uploads.keep("team-1", file_of(head.ljust(BYTES_MAX, b"\0")))

    with pytest.raises(InvalidRequest, match=str(BYTES_MAX)):
        await uploads.keep("team-1", file_of(head.ljust(BYTES_MAX + 1, b"\0")))
