"""Frozen records with many fields, made and copied as fast as plain ones.

A frozen dataclass sets every field through ``object.__setattr__``, which takes ten times as long as
an assignment, and `dataclasses.replace` looks every field up by name. Records of twenty fields that
are made for each call spend more on that than on what they are made from
(docs/decisions/0018-an-accept-closer-to-its-floor.md).
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")

_COPY = "__quick_copy__"


def quick(cls: type[T]) -> type[T]:
    """Make a class of frozen, slotted records quick to construct and to copy; gives that class.

    Below ``@dataclass(frozen=True, slots=True)`` without parents: its records are filled while
    they belong to a twin with the same slots that is not frozen, and become its own at the end.
    """
    twin = type(cls.__name__, (), {"__slots__": tuple(field.name for field in fields(_any(cls)))})
    space: dict[str, Any] = {
        "TWIN": twin,
        "CLASS": cls,
        "become": object.__setattr__,
        "MISSING": MISSING,
    }
    parameters, filled, copied = ["self"], [], []
    for field in fields(_any(cls)):
        name, value = field.name, field.name
        if field.default is not MISSING:
            space[f"default_{name}"] = field.default
            parameters.append(f"{name}=default_{name}")
        elif field.default_factory is not MISSING:
            space[f"default_{name}"] = field.default_factory
            parameters.append(f"{name}=MISSING")
            value = f"default_{name}() if {name} is MISSING else {name}"
        else:
            parameters.append(name)
        filled.append(f" self.{name} = {value}")
        copied.append(f" new.{name} = old.{name}")
    lines = [
        f"def __init__({', '.join(parameters)}):",
        " become(self, '__class__', TWIN)",
        *filled,
        " self.__class__ = CLASS",
        "def copy(old, changes):",
        " new = TWIN()",
        *copied,
        " for name, value in changes.items(): setattr(new, name, value)",
        " new.__class__ = CLASS",
        " return new",
    ]
    # As dataclasses do it: the code is made of the names of the fields alone.
    exec("\n".join(lines), space)  # noqa: S102
    space["__init__"].__qualname__ = f"{cls.__qualname__}.__init__"
    setattr(cls, "__init__", space["__init__"])  # noqa: B010 - mypy forbids the plain assignment
    setattr(cls, _COPY, staticmethod(space["copy"]))
    return cls


def changed(record: T, **changes: object) -> T:
    """Give a quick record with some fields changed, as `dataclasses.replace` does for any.

    Raises AttributeError for a field that it has not.
    """
    copy: T = getattr(record, _COPY)(record, changes)
    return copy


def _any(cls: type[T]) -> Any:
    return cls
