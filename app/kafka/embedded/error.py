"""What goes wrong with the embedded broker, said with its remedy."""

from __future__ import annotations


class BrokerError(Exception):
    """The embedded broker cannot be had; `fact` says why, `remedy` what to do about it."""

    def __init__(self, fact: str, remedy: str) -> None:
        super().__init__(f"{fact}; {remedy}")
        self.fact = fact
        self.remedy = remedy
