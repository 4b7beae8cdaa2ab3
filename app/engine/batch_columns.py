"""The hidden columns of every batch."""

TIME = "_time"
"""The event time (ms)."""
OFFSET = "_offset"
"""The record's offset in its partition."""
