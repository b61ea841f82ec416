"""The HTTP surface: thin handlers over the use cases, one set for all dialects."""
