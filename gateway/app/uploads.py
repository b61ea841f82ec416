"""Pictures that clients upload before they create the task that names them (DashScope's SDK).

A ticket is given to an authenticated caller; whoever holds it may upload for ten minutes, and
whoever knows an uploaded picture's key may name it in a create call until it expires. Both are
unguessable. The picture then travels inside the request, like one sent as a data URL.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from secrets import token_hex

from gateway.app.dialect import Upload
from gateway.app.ports import AssetStore, Clock
from gateway.domain.errors import AuthenticationFailed, InvalidRequest, Problem
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

    async def grant(self) -> str:
        """Give a new ticket."""
        ticket = token_hex(20)
        expires_ms = self.clock.now_ms() + TICKET_TTL_S * 1000
        await self.assets.put(ticket, b"", TICKET_TYPE, expires_ms)
        return ticket

    async def admit(self, ticket: str) -> None:
        """Judge a ticket. Raises AuthenticationFailed when it is not ours or has expired."""
        is_plain = ticket.isascii() and ticket.isalnum() and 16 <= len(ticket) <= 128
        found = await self.assets.get(ticket) if is_plain else None
        if found is None or found[1] != TICKET_TYPE:
            raise AuthenticationFailed("The upload ticket is not valid or has expired.")

    async def keep(self, upload: Upload) -> None:
        """Keep an uploaded picture. Raises InvalidRequest when it is too large or no picture."""
        content = upload.file.content
        media_type = sniff(content)
        if media_type is None or len(content) > BYTES_MAX:
            message = f"file must be a picture of at most {BYTES_MAX} bytes."
            raise InvalidRequest(Problem("file", message, "invalid_image"))
        expires_ms = self.clock.now_ms() + PICTURE_TTL_S * 1000
        await self.assets.put(_asset_id(upload.key), content, media_type, expires_ms)

    async def resolved(self, draft: Draft, key_of: Callable[[str], str | None]) -> Draft:
        """Give the draft with its uploaded pictures inside. Raises InvalidRequest."""
        pictures = (*draft.request.images, draft.request.mask)
        if not any(image and image.url.startswith(SCHEME) for image in pictures):
            return draft
        problems: list[Problem] = []
        field = draft.field_names.get("images", "images")
        images = [
            await self._resolved(image, f"{field}[{index}]", key_of, problems)
            for index, image in enumerate(draft.request.images)
        ]
        mask = draft.request.mask
        if mask is not None:
            name = draft.field_names.get("mask", "mask")
            mask = await self._resolved(mask, name, key_of, problems)
        if problems:
            raise InvalidRequest(*problems)
        return replace(draft, request=replace(draft.request, images=tuple(images), mask=mask))

    async def _resolved(
        self,
        image: InputImage,
        field: str,
        key_of: Callable[[str], str | None],
        problems: list[Problem],
    ) -> InputImage:
        if not image.url.startswith(SCHEME):
            return image
        key = key_of(image.url)
        found = await self.assets.get(_asset_id(key)) if key else None
        if found is None:
            message = f"{field} names no uploaded picture; upload it again."
            problems.append(Problem(field, message, "invalid_image"))
            return image
        content, media_type = found
        text = base64.b64encode(content).decode("ascii")
        return InputImage(f"data:{media_type};base64,{text}")


def _asset_id(key: str) -> str:
    return sha256(key.encode()).hexdigest()
