"""Adapters are found by file name, and agree with the catalogue."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.catalog.builtin import builtin
from gateway.upstreams import ADAPTERS, CAN_CANCEL, CREDENTIALS, FACTS, IDEMPOTENT, build
from gateway.upstreams.dashscope import ENDPOINTS
from tests.upstreams.support import NOW_S, TableClient, Vendor, upstream

PROTOCOLS = {
    "dashscope": set(ENDPOINTS),
    "evolink": {"images"},
    "fal": {"queue"},
    "modelverse": {"tasks", "images"},
    "openai": {"images"},
    "qingbo": {"tasks"},
    "replicate": {"predictions"},
}


def test_every_adapter_is_there_with_its_facts() -> None:
    assert set(ADAPTERS) == set(PROTOCOLS) == set(FACTS)
    assert frozenset({"evolink", "qingbo"}) == IDEMPOTENT
    assert frozenset({"dashscope", "qingbo", "fal", "replicate"}) == CAN_CANCEL
    assert {name for name, scheme in CREDENTIALS.items() if scheme != "Bearer"} == {"fal"}
    assert CREDENTIALS["fal"] == "Key"


def test_the_catalogue_sells_through_adapters_that_exist_in_protocols_they_speak() -> None:
    providers = builtin().providers
    assert set(providers) == set(ADAPTERS)
    for name, provider in providers.items():
        sold = {sale.protocol for sale in provider.models.values() if sale.protocol}
        assert {provider.protocol, *sold} <= PROTOCOLS[name]
        assert provider.idempotent_submit == (name in IDEMPOTENT)


async def test_an_adapter_is_built_by_its_name_and_closes_its_client() -> None:
    for name in ADAPTERS:
        client = TableClient(Vendor().answer)
        adapter = build(upstream(name), client, lambda: NOW_S)
        await adapter.aclose()
        assert client.is_closed


def test_an_unknown_name_is_refused() -> None:
    stranger = replace(upstream("evolink"), adapter="_http")
    with pytest.raises(KeyError):
        build(stranger, TableClient(Vendor().answer), lambda: NOW_S)
