"""Callbacks to callers' services: signed, sent under the address guard, repeated on schedule."""
