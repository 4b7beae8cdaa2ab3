"""Classes of the reasons for dead letters: few, so that a metric can be labelled with them."""

from __future__ import annotations

import re

# The first pattern that is found in the reason decides.
_PATTERNS = (
    ("unknown_type", r"unknown event type|no ce_type header"),
    ("null_value", r"^(CloudEvents envelope: )?null value"),
    ("too_long", r"more than the limit of|value is too long"),
    ("too_deep", r"nested (deeper|too deeply)|maximum recursion depth"),
    ("invalid_utf8", r"(?i)utf-8|surrogate"),
    ("invalid_json", r"malformed|Input data was truncated"),
    ("missing_field", r"missing required field"),
    ("wrong_type", r"^(CloudEvents envelope: )?(Expected|Invalid|Integer|Number) "),
)
REASON_CLASSES = (*(name for name, _ in _PATTERNS), "agent", "other")
_COMPILED = [(name, re.compile(pattern)) for name, pattern in _PATTERNS]


def reason_class(stage: str, reason: str) -> str:
    """The class of a dead letter, of its stage (decode or agent) and its reason."""
    if stage == "agent":
        return "agent"
    return next((name for name, pattern in _COMPILED if pattern.search(reason)), "other")
