"""Holds live answers to `/openapi.json`: what a test gets is what is documented."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from jsonschema_rs import Draft202012Validator

JSON = "application/json"
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One documented operation; ``path`` is its template."""

    method: str
    path: str
    responses: Mapping[str, Any]
    secured: bool

    @property
    def name(self) -> str:
        return f"{self.method.upper()} {self.path}"


@dataclass
class Contract:
    """The document, and which operations were seen to answer as it says, by name and status."""

    document: Mapping[str, Any]
    seen: dict[str, set[int]] = field(default_factory=dict)
    answers: list[tuple[Mapping[str, Any], Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.operations = [
            Operation(method, path, operation["responses"], bool(operation.get("security")))
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
            if method in METHODS
        ]
        # Literal segments win over parameters, as they do in the gateway.
        self.operations.sort(key=lambda one: [s.startswith("{") for s in one.path.split("/")])
        self._patterns = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(one.path))), one)
            for one in self.operations
        ]

    def operation_at(self, method: str, path: str) -> Operation | None:
        """Give the operation that answers at an address; None where none is documented."""
        for pattern, one in self._patterns:
            if one.method == method.lower() and pattern.fullmatch(path):
                return one
        return None

    def validator(self, schema: Mapping[str, Any]) -> Draft202012Validator:
        """Give what judges a value by a schema of the document."""
        components = {"components": self.document["components"]}
        return Draft202012Validator({**schema, **components}, validate_formats=True)

    async def check(self, response: httpx.Response) -> None:
        """Raise AssertionError for an answer that its operation does not document."""
        path = response.request.url.path
        operation = self.operation_at(response.request.method, path)
        if operation is None:
            return
        documented = operation.responses.get(str(response.status_code))
        assert documented is not None, f"{operation.name} never answers {response.status_code}"
        content = documented.get("content", {})
        kind = response.headers.get("content-type", "").partition(";")[0]
        assert kind in content or not (content or kind), f"{operation.name} answers {kind!r}"
        self.seen.setdefault(operation.name, set()).add(response.status_code)
        if kind != JSON:
            return
        await response.aread()
        schema, value = content[JSON]["schema"], response.json()
        for error in self.validator(schema).iter_errors(value):
            raise AssertionError(f"{operation.name}: {error}")
        self.answers.append((schema, value))

    def unproven(self, *, admin: bool) -> set[str]:
        """Give the operations whose documented success nothing was held to."""
        return {
            one.name
            for one in self.operations
            if one.path.startswith("/admin") is admin
            and (good := {int(status) for status in one.responses if status < "300"})
            and not good & self.seen.get(one.name, set())
        }

    def assert_differences_are_refused(self, *, answers: int) -> None:
        """A field more, or the required ones less, is never what a schema describes."""
        assert len(self.answers) > answers
        for schema, value in self.answers:
            validator = self.validator(schema)
            assert validator.is_valid(value)
            assert not validator.is_valid({**value, "surprise": 1})
            assert not validator.is_valid({})
            assert not validator.is_valid([value])
