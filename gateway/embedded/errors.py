"""The one way an embedded engine fails."""

from __future__ import annotations


class EmbeddedEngineError(Exception):
    """An embedded engine could not be prepared, started or stopped; the message says why."""
