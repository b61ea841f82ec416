from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.simulator import Simulator, SimulatorConfig
from gateway.simulator.pictures import Gallery, Picture, draw
from tests.simulator.calls import CREATES, create, opened

LANTERN = Picture("A lantern", "wan2.7-image", 0, 7, 640, 480, "png")


@pytest.mark.parametrize(
    ("width", "height", "kind", "name"),
    [
        (1280, 1280, "png", "PNG"),
        (4096, 4096, "png", "PNG"),
        (512, 4096, "png", "PNG"),
        (1, 1, "png", "PNG"),
        (2688, 1512, "jpeg", "JPEG"),
        (1024, 1536, "webp", "WEBP"),
    ],
)
def test_a_picture_has_the_size_and_format_asked_for(width, height, kind, name):
    image = opened(draw(replace(LANTERN, width=width, height=height, format=kind)))
    assert (image.size, image.format) == ((width, height), name)


def test_a_large_picture_stays_small_on_the_wire():
    assert len(draw(replace(LANTERN, width=4096, height=4096))) < 500_000


def test_the_same_picture_has_the_same_bytes_and_another_has_others():
    assert draw(LANTERN) == draw(LANTERN)
    for other in (
        replace(LANTERN, seed=8),
        replace(LANTERN, index=1),
        replace(LANTERN, prompt="A kite"),
    ):
        assert draw(other) != draw(LANTERN)


@pytest.mark.parametrize("prompt", ["", "词" * 300, "wide " * 200, "\n\t\x00"])
def test_any_prompt_can_be_drawn(prompt):
    assert opened(draw(replace(LANTERN, prompt=prompt))).size == (640, 480)


async def test_a_gallery_draws_a_picture_once_for_many_viewers(monkeypatch):
    drawn: list[Picture] = []

    def counted(picture: Picture) -> bytes:
        drawn.append(picture)
        return draw(picture)

    monkeypatch.setattr("gateway.simulator.pictures.draw", counted)
    gallery = Gallery(distinct=True)
    shown = await asyncio.gather(*(gallery.show(LANTERN) for _ in range(5)))
    await gallery.show(LANTERN)
    gallery.close()
    assert len(set(shown)) == 1
    assert drawn == [LANTERN]


async def test_a_gallery_without_distinct_pictures_draws_one_per_size():
    gallery = Gallery(distinct=False)
    first = await gallery.show(LANTERN)
    assert await gallery.show(replace(LANTERN, prompt="A kite", seed=9)) == first
    assert await gallery.show(replace(LANTERN, width=320)) != first
    gallery.close()


async def test_nothing_is_drawn_until_a_link_is_followed(web, monkeypatch):
    def never(picture: Picture) -> bytes:
        raise AssertionError(picture)

    monkeypatch.setattr("gateway.simulator.pictures.draw", never)
    async with Simulator(SimulatorConfig(work_ms=(0, 0))) as sim:
        task_id = (await create(sim, web, "evolink")).json()["id"]
        done = await web.get(f"{sim.base_url('evolink')}/tasks/{task_id}")
        assert done.json()["results"]


async def test_links_follow_the_host_name_the_caller_used(sim, web):
    call = CREATES["evolink"]
    base = sim.base_url("evolink").replace("127.0.0.1", "localhost")
    task_id = (await web.post(base + call.path, json=call.body)).json()["id"]
    sim.advance(10_000)
    done = (await web.get(f"{base}/tasks/{task_id}")).json()
    assert done["results"][0].startswith("http://localhost:")
