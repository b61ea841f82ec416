from __future__ import annotations

from tests.stores.postgres.building import START_MS

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 100


async def test_a_picture_comes_back_as_it_was(assets):
    await assets.put("a1", PNG, "image/png", START_MS + 1_000)
    assert await assets.get("a1") == (PNG, "image/png")
    assert await assets.get("a2") is None
    assert await assets.get("nul\x00byte") is None


async def test_a_picture_is_gone_when_it_expires(assets, clock):
    await assets.put("a1", PNG, "image/png", START_MS + 1_000)
    clock.turn(1_000)
    assert await assets.get("a1") is None


async def test_putting_twice_is_harmless(assets, clock):
    await assets.put("a1", PNG, "image/png", START_MS + 1_000)
    await assets.put("a1", PNG, "image/png", START_MS + 2_000)
    clock.turn(1_500)
    assert await assets.get("a1") == (PNG, "image/png")


async def test_expired_pictures_are_deleted_a_few_at_a_time(assets, database, clock):
    for number in range(5):
        await assets.put(f"a{number}", PNG, "image/png", START_MS + number)
    clock.turn(3)
    assert [await assets.expire(3), await assets.expire(3)] == [3, 1]
    assert [row["id"] for row in await database.read("SELECT id FROM assets")] == ["a4"]
