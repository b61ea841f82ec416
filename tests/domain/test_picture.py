"""Picture headers: real files of every format, then broken and hostile ones."""

from __future__ import annotations

import base64
import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gateway.domain.picture import (
    STEPS_MAX,
    PictureHeader,
    read_data_url,
    read_header,
    sniff,
)
from gateway.domain.request import InputImage


def drawn(form: str, mode: str = "RGB", size: tuple[int, int] = (30, 20), **options) -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, form, **options)
    return out.getvalue()


FILES = [
    ("image/png", drawn("PNG"), False),
    ("image/png", drawn("PNG", "RGBA"), True),
    ("image/png", drawn("PNG", "LA"), True),
    ("image/png", drawn("PNG", "P", transparency=3), True),
    ("image/png", drawn("PNG", "P"), False),
    ("image/jpeg", drawn("JPEG"), False),
    ("image/jpeg", drawn("JPEG", progressive=True), False),
    ("image/jpeg", drawn("JPEG", exif=b"Exif\x00\x00" + bytes(5000)), False),
    ("image/webp", drawn("WEBP"), False),
    ("image/webp", drawn("WEBP", lossless=True), False),
    ("image/webp", drawn("WEBP", "RGBA", lossless=True, exact=True), False),
    ("image/webp", drawn("WEBP", "RGB", exif=b"Exif\x00\x00xx"), False),
    ("image/bmp", drawn("BMP"), False),
    ("image/gif", drawn("GIF", "P"), False),
    ("image/gif", drawn("GIF", "P", transparency=1), True),
    ("image/gif", drawn("GIF", "P", comment=b"x" * 700), False),
]


@pytest.mark.parametrize(("media_type", "data", "alpha"), FILES)
def test_the_header_of_a_real_file(media_type, data, alpha):
    header = read_header(data)
    assert header is not None
    assert (header.media_type, header.width, header.height) == (media_type, 30, 20)
    if media_type != "image/webp":
        assert header.has_alpha is alpha


def test_webp_transparency_is_seen():
    picture = Image.new("RGBA", (30, 20), (1, 2, 3, 4))
    for options in ({"lossless": True}, {"lossless": False}):
        out = io.BytesIO()
        picture.save(out, "WEBP", **options)
        header = read_header(out.getvalue())
        assert header == PictureHeader("image/webp", 30, 20, has_alpha=True)
    assert read_header(FILES[8][1]) == PictureHeader("image/webp", 30, 20, has_alpha=False)


def bmp(header: int, tail: bytes) -> bytes:
    return b"BM" + bytes(12) + struct.pack("<I", header) + tail


@pytest.mark.parametrize(
    ("data", "facts"),
    [
        (bmp(12, struct.pack("<HH", 7, 9)), (7, 9, False)),
        (bmp(40, struct.pack("<ii", 7, -9)), (7, 9, False)),
        (bmp(108, struct.pack("<iiHH", 7, 9, 1, 32) + bytes(36) + b"\xff\0\0\0"), (7, 9, True)),
        (bmp(108, struct.pack("<iiHH", 7, 9, 1, 32) + bytes(40)), (7, 9, False)),
        (bmp(108, struct.pack("<iiHH", 7, 9, 1, 24) + bytes(40)), (7, 9, False)),
        (bmp(16, struct.pack("<ii", 7, 9)), None),
        (bmp(40, struct.pack("<ii", 0, 9)), None),
    ],
)
def test_bmp_in_its_old_and_new_forms(data, facts):
    header = read_header(data)
    assert (header and (header.width, header.height, header.has_alpha)) == facts


JPEG_FRAME = b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 20, 30) + b"\x03"


@pytest.mark.parametrize(
    ("data", "readable"),
    [
        (b"\xff\xd8" + JPEG_FRAME, True),
        (b"\xff\xd8\xff\xff\xff" + JPEG_FRAME, True),
        (b"\xff\xd8\xff\x01" + JPEG_FRAME, True),
        (b"\xff\xd8\xff\xe0\x00\x00" + JPEG_FRAME, True),
        (b"\xff\xd8\xff\xe0\x00\x04ab" + JPEG_FRAME, True),
        (b"\xff\xd8\xff\xe0\x00\x04abc" + JPEG_FRAME, False),
        (b"\xff\xd8\xff\xda" + JPEG_FRAME, False),
        (b"\xff\xd8\xff\xd9" + JPEG_FRAME, False),
        (b"\xff\xd8" + b"\xff" * (STEPS_MAX + 10) + JPEG_FRAME, False),
    ],
)
def test_jpeg_segments_are_walked(data, readable):
    header = read_header(data)
    assert (header is not None) is readable
    if header is not None:
        assert (header.width, header.height) == (30, 20)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg/>",
        b"RIFF....WAVE",
        b"RIFF\0\0\0\0WEBPVP8 " + bytes(20),
        b"RIFF\0\0\0\0WEBPVP8L" + bytes(20),
        b"RIFF\0\0\0\0WEBPALPH" + bytes(20),
        b"\x89PNG\r\n\x1a\n" + bytes(40),
    ],
)
def test_what_is_no_picture(data):
    assert read_header(data) is None


def test_a_png_of_endless_small_chunks_is_given_up():
    start = drawn("PNG")[:33]
    chunk = struct.pack(">I4s", 0, b"teXt") + bytes(4)
    header = read_header(start + chunk * (STEPS_MAX + 5) + struct.pack(">I4s", 0, b"tRNS"))
    assert header == PictureHeader("image/png", 30, 20, has_alpha=False)


GIF_START = b"GIF89a" + struct.pack("<HH", 30, 20) + b"\0\0\0"


def test_a_gif_of_endless_blocks_is_given_up():
    assert read_header(GIF_START + b"!\xfe" + b"\x01x" * (STEPS_MAX + 5)) is None
    header = read_header(GIF_START + b"!\xfe\0" * 200 + b"!\xf9\x04\x01")
    assert header == PictureHeader("image/gif", 30, 20, has_alpha=False)


@given(st.sampled_from([data for _, data, _ in FILES]), st.integers(0, 400))
def test_a_file_cut_anywhere_is_read_or_refused(data, length):
    header = read_header(data[:length])
    assert header is None or (header.width, header.height) == (30, 20)


MAGIC = [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"BM", b"GIF89a", b""]


@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(magic, rest):
    header = read_header(magic + rest)
    assert header is None or (header.width > 0 and header.media_type == sniff(magic + rest))


@given(
    st.sampled_from([data for _, data, _ in FILES]),
    st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_file_is_read_or_refused(data, damages):
    broken = bytearray(data)
    for place, value in damages:
        broken[place % len(broken)] = value
    header = read_header(bytes(broken))
    assert header is None or header.height > 0


# --- data URLs -----------------------------------------------------------------------------


@given(st.binary(min_size=1, max_size=200))
def test_a_data_url_gives_its_bytes(content):
    text = base64.b64encode(content).decode()
    assert read_data_url(f"data:image/png;base64,{text}", 200) == content
    assert read_data_url(f"DATA:;charset=x;BASE64,{text}", len(content)) == content


def test_a_picture_in_the_request_itself_is_inline():
    assert InputImage("data:image/png;base64,AAAA").is_inline
    assert not InputImage("https://x/y.png").is_inline


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://x/y", "no data URL"),
        ("data:image/png;base64", "no data URL"),
        ("data:image/png,abc", "must be base64"),
        ("data:image/png;base64,", "holds no bytes"),
        ("data:image/png;base64,AAA", "not valid base64"),
        ("data:image/png;base64,AA AA", "not valid base64"),
        ("data:image/png;base64,AAAA\n", "not valid base64"),
        ("data:image/png;base64,AA==AA==", "not valid base64"),
        ("data:image/png;base64,AA-_", "not valid base64"),
        ("data:image/png;base64,ÄÄÄÄ", "not valid base64"),
        ("data:image/png;base64," + "AAAA" * 100, "more than 10 bytes"),
        ("data:image/png;base64," + "AAAA" * 4, "more than 10 bytes"),
    ],
)
def test_what_is_no_data_url(url, reason):
    with pytest.raises(ValueError, match=reason):
        read_data_url(url, 10)
