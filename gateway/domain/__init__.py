"""The pure core: records and decisions, with no I/O, no clock and no randomness."""
