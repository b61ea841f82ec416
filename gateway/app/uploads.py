"""Pictures that clients upload before they create the task that names them (DashScope's SDK).

A ticket is given to an authenticated caller; whoever holds it may upload for ten minutes, on
behalf of that caller's team. The team's own create calls may then name the picture by its key
until it expires. The picture travels inside the request, like one sent as a data URL.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from secrets import token_hex

from gateway.app.dialect import Upload
from gateway.app.ports import AssetStore, Clock
from gateway.app.submit import renamed
from gateway.domain.errors import AuthenticationFailed, InvalidRequest, NameTaken, Problem
from gateway.domain.picture import sniff
from gateway.domain.request import InputImage
from gateway.domain.submission import Draft

TICKET_TYPE = "application/vnd.gateway.upload-ticket"
TICKET_TTL_S = 600
PICTURE_TTL_S = 48 * 3600
BYTES_MAX = 30 * 1024 * 1024
SCHEME = "oss://"


@dataclass(frozen=True, slots=True)
class Uploads:
    """Tickets and uploaded pictures, both kept in the asset store."""

    assets: AssetStore
    clock: Clock

    async def grant(self, team_id: str) -> str:
        """Give a new ticket for a team."""
        ticket = token_hex(20)
        expires_ms = self.clock.now_ms() + TICKET_TTL_S * 1000
        await self.assets.put(_ticket_id(ticket), team_id.encode(), TICKET_TYPE, expires_ms)
        return ticket

    async def admit(self, ticket: str) -> str:
        """Give the team a ticket was given to.

        Raises AuthenticationFailed when it is not ours or has expired.
        """
        found = await self.assets.get(_ticket_id(ticket))
        if found is None:
            raise AuthenticationFailed("The upload ticket is not valid or has expired.")
        return found[0].decode()

    async def keep(self, team_id: str, upload: Upload) -> None:
        """Keep a team's picture.

        Raises InvalidRequest when it is too large or no picture, NameTaken when another picture
        has its key: two local files of one name share one in the SDK, and the second must not
        pass for the first.
        """
        content = upload.file.content
        media_type = sniff(content)
        if media_type is None or len(content) > BYTES_MAX:
            message = f"file must be a picture of at most {BYTES_MAX} bytes."
            raise InvalidRequest(Problem("file", message, "invalid_image"))
        asset_id = _picture_id(team_id, upload.key)
        earlier = await self.assets.get(asset_id)
        if earlier is not None and earlier[0] != content:
            raise NameTaken("A different file was uploaded under this name; rename one of them.")
        expires_ms = self.clock.now_ms() + PICTURE_TTL_S * 1000
        await self.assets.put(asset_id, content, media_type, expires_ms)

    async def resolved(
        self, team_id: str, draft: Draft, key_of: Callable[[str], str | None]
    ) -> Draft:
        """Give a team's draft with its uploaded pictures inside. Raises InvalidRequest."""
        pictures = (*draft.request.images, draft.request.mask)
        if not any(image and image.url.startswith(SCHEME) for image in pictures):
            return draft
        problems: list[Problem] = []

        async def inside(image: InputImage, field: str) -> InputImage:
            if not image.url.startswith(SCHEME):
                return image
            key = key_of(image.url)
            found = await self.assets.get(_picture_id(team_id, key)) if key else None
            if found is None:
                message = f"{field} names no uploaded picture; upload it again."
                problems.append(Problem(field, message, "invalid_image"))
                return image
            return _inline(*found)

        images = [
            await inside(image, f"images[{index}]")
            for index, image in enumerate(draft.request.images)
        ]
        mask = draft.request.mask
        if mask is not None:
            mask = await inside(mask, "mask")
        if problems:
            raise renamed(InvalidRequest(*problems), draft.field_names)
        return replace(draft, request=replace(draft.request, images=tuple(images), mask=mask))


def _inline(content: bytes, media_type: str) -> InputImage:
    text = base64.b64encode(content).decode("ascii")
    return InputImage(f"data:{media_type};base64,{text}")


def _ticket_id(ticket: str) -> str:
    return sha256(f"ticket {ticket}".encode()).hexdigest()


def _picture_id(team_id: str, key: str) -> str:
    return sha256(f"picture {team_id} {key}".encode()).hexdigest()
