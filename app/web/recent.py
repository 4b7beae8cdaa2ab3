"""A small cache of what was computed from the newest version of a table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sized
from typing import Generic, TypeVar

Value = TypeVar("Value", bound=Sized)


class Recent(Generic[Value]):
    """Values by key, one version each; beyond `size_max` in sum the longest unused go.

    A single value larger than that is kept until another one comes. Not for several threads.
    """

    def __init__(self, size_max: int) -> None:
        self._size_max = size_max
        self._values: OrderedDict[Hashable, tuple[int, Value]] = OrderedDict()

    def get(self, key: Hashable, version: int, make: Callable[[], Value]) -> Value:
        """The value of this version; made when it is not there."""
        known = self._values.pop(key, None)
        value = make() if known is None or known[0] != version else known[1]
        self._values[key] = version, value
        size = sum(len(value) + 1 for _, value in self._values.values())
        while size > self._size_max and len(self._values) > 1:
            _, (_, dropped) = self._values.popitem(last=False)
            size -= len(dropped) + 1
        return value
