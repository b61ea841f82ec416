"""The header of every picture a caller sends is looked at before its request is accepted."""

from __future__ import annotations

from dataclasses import replace

from gateway.app.ports import FetchFailed
from gateway.domain.errors import Problem
from gateway.domain.picture import read_data_url, read_header
from gateway.domain.request import InputImage
from gateway.egress.fetch import FetchRefused, Glance, GuardedFetcher

# Above every model's own limit (30 MB, Qingbo's), which validation applies to ``byte_count``.
INPUT_BYTES_MAX = 32 * 1024 * 1024

INVALID = "invalid_image"
INVALID_URL = "invalid_image_url"


class HeaderInspector:
    """Fills in what a picture's header says; never decodes pixels (port `ImageInspector`)."""

    def __init__(self, fetcher: GuardedFetcher) -> None:
        self._fetcher = fetcher

    async def inspect(self, image: InputImage, field: str) -> InputImage | Problem:
        """Give the picture with its facts, or what is wrong with it.

        A picture whose server we cannot reach is given back without facts: the vendor, who
        fetches it from another network, is the judge of that. An address that is not public, or
        bytes that are no picture, are the caller's mistake.
        """
        if image.is_inline:
            return _inspect_inline(image, field)
        if reason := await self._fetcher.judge(image.url, "image"):
            return Problem(field, reason, INVALID_URL)
        try:
            glance = await self._fetcher.glance(image.url, bytes_max=INPUT_BYTES_MAX)
        except FetchRefused:
            reason = "The image URL must lead to a public address."
            return Problem(field, reason, INVALID_URL)
        except FetchFailed:
            return image
        return _described(image, field, glance)


def _inspect_inline(image: InputImage, field: str) -> InputImage | Problem:
    try:
        content = read_data_url(image.url, INPUT_BYTES_MAX)
    except ValueError as error:
        return Problem(field, f"{field} cannot be read: {error}", INVALID)
    return _described(image, field, Glance(read_header(content), len(content)))


def _described(image: InputImage, field: str, glance: Glance) -> InputImage | Problem:
    if glance.byte_count > INPUT_BYTES_MAX:
        message = f"{field} is larger than any model takes"
        return Problem(field, message, INVALID, f"at most {INPUT_BYTES_MAX} bytes")
    header = glance.header
    if header is None:
        legal = "PNG, JPEG, WEBP, BMP or GIF"
        return Problem(field, f"{field} is not a picture of a known kind", INVALID, legal)
    return replace(
        image,
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        has_alpha=header.has_alpha,
        byte_count=glance.byte_count,
    )
