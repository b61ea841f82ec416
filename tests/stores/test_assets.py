"""What every asset store does, whatever it keeps its bytes in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from gateway.app.ports import AssetStore
from gateway.domain.errors import StoreUnavailable
from gateway.stores.objects.assets import ObjectAssets, open_assets
from gateway.stores.postgres.assets import PostgresAssets
from gateway.stores.postgres.database import Database

NOW_MS = 1_800_000_000_000
ID = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 300


class SetClock:
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.ms = NOW_MS

    def now_ms(self) -> int:
        return self.ms


class ExpiringAssets(AssetStore, Protocol):
    async def expire(self, limit: int) -> int: ...


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture(params=["directory", "memory", "postgres"])
async def assets(
    request: pytest.FixtureRequest, tmp_path: Path, clock: SetClock
) -> AsyncIterator[ExpiringAssets]:
    if request.param == "directory":
        yield open_assets(f"file:{tmp_path / 'assets'}", clock)
    elif request.param == "memory":
        yield ObjectAssets(MemoryStore(), clock)
    else:
        database = Database(request.getfixturevalue("database_url"))
        await database.connect()
        yield PostgresAssets(database, clock)
        await database.close()


async def test_a_picture_comes_back_with_its_bytes_and_media_type(assets: AssetStore):
    await assets.put(ID, PNG, "image/png", NOW_MS + 1)

    assert await assets.get(ID) == (PNG, "image/png")


async def test_an_empty_picture_is_kept_as_it_is(assets: AssetStore):
    await assets.put(ID, b"", "image/webp", NOW_MS + 1)

    assert await assets.get(ID) == (b"", "image/webp")


async def test_an_unknown_id_has_no_picture(assets: AssetStore):
    await assets.put(ID, PNG, "image/png", NOW_MS + 1)

    assert await assets.get(ID[:-1] + "0") is None


async def test_an_expired_picture_is_gone_at_its_millisecond(assets: AssetStore, clock: SetClock):
    await assets.put(ID, PNG, "image/png", NOW_MS + 1000)

    clock.ms = NOW_MS + 999
    assert await assets.get(ID) == (PNG, "image/png")
    clock.ms = NOW_MS + 1000
    assert await assets.get(ID) is None


async def test_a_repeated_put_prolongs_the_picture(assets: ExpiringAssets, clock: SetClock):
    await assets.put(ID, PNG, "image/png", NOW_MS + 1000)
    await assets.put(ID, PNG, "image/png", NOW_MS + 9000)

    clock.ms = NOW_MS + 5000
    assert await assets.expire(10) == 0
    assert await assets.get(ID) == (PNG, "image/png")


async def test_expiring_deletes_what_is_due_and_no_more_than_asked(
    assets: ExpiringAssets, clock: SetClock
):
    for index in range(5):
        await assets.put(f"picture-{index}", PNG, "image/png", NOW_MS + 1000)
    await assets.put("picture-later", PNG, "image/png", NOW_MS + 2000)

    clock.ms = NOW_MS + 1500
    deleted = [await assets.expire(3), await assets.expire(3), await assets.expire(3)]

    assert deleted == [3, 2, 0]
    assert await assets.get("picture-later") == (PNG, "image/png")


@pytest.mark.parametrize(
    "asset_id",
    [
        "../../../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "/etc/passwd",
        "pictures/../../secret",
        "....//....//secret",
        "..\\..\\secret",
        ".",
        "..",
        "",
        "secret\x00name",
        "secret\nname",
        "ſecret-name",
    ],
)
async def test_an_odd_id_names_no_picture(assets: AssetStore, asset_id: str):
    assert await assets.get(asset_id) is None


async def test_no_id_leads_out_of_the_directory(tmp_path: Path, clock: SetClock):
    (tmp_path / "secret").write_bytes(b"image/png 9999999999999\nsecret")
    assets = open_assets(f"file:{tmp_path / 'assets'}", clock)

    for asset_id in ("../../../secret", "../secret", "a/../../../secret", "%2e%2e/secret"):
        assert await assets.get(asset_id) is None
        with pytest.raises(ValueError, match="asset id"):
            await assets.put(asset_id, PNG, "image/png", NOW_MS + 1)

    assert (tmp_path / "secret").read_bytes().endswith(b"\nsecret")
    assert [path.name for path in (tmp_path / "assets").rglob("*") if path.is_file()] == []


async def test_a_media_type_cannot_smuggle_in_another_expiry(clock: SetClock):
    assets = ObjectAssets(MemoryStore(), clock)

    with pytest.raises(ValueError, match="cannot be kept"):
        await assets.put(ID, PNG, "image/png 9999999999999\n", NOW_MS + 1)


async def test_a_picture_survives_a_restart(tmp_path: Path, clock: SetClock):
    location = f"file:{tmp_path / 'assets'}"
    await open_assets(location, clock).put(ID, PNG, "image/png", NOW_MS + 1)

    assert await open_assets(location, clock).get(ID) == (PNG, "image/png")


async def test_a_store_that_is_away_says_so(tmp_path: Path, clock: SetClock):
    (tmp_path / "assets").mkdir()
    assets = ObjectAssets(LocalStore(tmp_path / "assets"), clock)
    (tmp_path / "assets").rmdir()
    (tmp_path / "assets").write_bytes(b"a file where the directory was")

    with pytest.raises(StoreUnavailable):
        await assets.put(ID, PNG, "image/png", NOW_MS + 1)


async def test_an_object_that_is_not_ours_is_not_served(clock: SetClock):
    store = MemoryStore()
    await obstore.put_async(store, f"pictures/{ID[:2]}/{ID}", b"<script>")

    with pytest.raises(StoreUnavailable):
        await ObjectAssets(store, clock).get(ID)


@pytest.mark.parametrize("location", ["off", "gs://bucket", "/var/assets", "http://bucket", ""])
def test_another_kind_of_location_is_refused(location: str, clock: SetClock):
    with pytest.raises(ValueError, match="neither"):
        open_assets(location, clock)


def test_an_s3_location_names_its_bucket_and_prefix(clock: SetClock):
    assets = open_assets("s3://pictures/of/ours", clock)

    assert str(assets._store) == 'S3Store(bucket="pictures", prefix="of/ours")'


async def test_a_deleted_picture_is_gone_and_others_stay(assets: ExpiringAssets):
    other = "f" * 40
    for one in (ID, other):
        await assets.put(one, PNG, "image/png", NOW_MS + 1)
    assert await assets.delete([ID, "0" * 40, "../odd"]) == 1
    assert await assets.get(ID) is None
    assert await assets.get(other) is not None
    assert await assets.delete([ID]) == 0
    assert await assets.delete([]) == 0
