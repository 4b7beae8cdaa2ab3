"""JSON events decoded by msgspec, which decides what is valid."""

import re
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import polars as pl

from app.codecs.polars_types import series_maker

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1
# An unterminated string reaches to the end, so that a search never starts twice in one string.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


class Rejected(NamedTuple):
    """A value that is not a valid event: its row among the given ones, and why."""

    row: int
    reason: str


def split(rows: Iterable[int], events: Iterable[Any]) -> tuple[list[int], list[Rejected]]:
    """The rows of the accepted among what `MsgspecDecoder.decode` gave, and the rejected."""
    accepted, rejected = [], []
    for row, event in zip(rows, events, strict=True):
        if isinstance(event, str):
            rejected.append(Rejected(row, event))
        else:
            accepted.append(row)
    return accepted, rejected


class MsgspecDecoder:
    """Decodes the JSON of one event type; `integers` are its fields that must fit into int64."""

    def __init__(
        self, struct: type[msgspec.Struct], *, value_bytes_max: int, depth_max: int
    ) -> None:
        self.decoder = msgspec.json.Decoder(struct)
        self.value_bytes_max = value_bytes_max
        self.depth_max = depth_max
        self.makers = {
            field.name: series_maker(field.type) for field in msgspec.structs.fields(struct)
        }
        self.integers = [name for name, (dtype, _) in self.makers.items() if dtype == pl.Int64()]

    def decode(self, values: Sequence[bytes | None]) -> list[Any]:
        """Per value the struct, or the reason (a str) why it is rejected."""
        checked = [self._limit_exceeded(value) for value in values]
        if not any(checked):
            lines = self._decode_lines(values)  # type: ignore[arg-type]
            if lines is not None:
                return lines
        return [
            reason or self._decode_one(value)  # type: ignore[arg-type]
            for reason, value in zip(checked, values, strict=True)
        ]

    def frame(self, events: Sequence[Any], columns: Sequence[str]) -> pl.DataFrame:
        """The accepted structs as columns."""
        return pl.DataFrame([self.series(name, events) for name in columns])

    def series(self, name: str, events: Sequence[Any]) -> pl.Series:
        """One field of the accepted structs."""
        return self.makers[name][1](name, list(map(attrgetter(name), events)))

    def _limit_exceeded(self, value: bytes | None) -> str | None:
        if value is None:
            return "null value"
        if len(value) > self.value_bytes_max:
            return (
                f"the value has {len(value)} bytes, more than the limit of {self.value_bytes_max}"
            )
        # Brackets inside strings count too in this cheap first test.
        if value.count(b"{") + value.count(b"[") > self.depth_max:
            brackets = np.frombuffer(
                _STRINGS.sub(b"", value).translate(None, _NOT_BRACKETS), np.uint8
            )
            steps = np.where((brackets == ord("{")) | (brackets == ord("[")), 1, -1)
            if np.cumsum(steps).max(initial=0) > self.depth_max:
                return f"the value is nested deeper than the limit of {self.depth_max}"
        return None

    def _decode_lines(self, values: Sequence[bytes]) -> list[Any] | None:
        """All structs at once, if all values are surely valid; else None.

        A line that starts with { and ends with } can neither continue on the next line (a line
        break within a string, or } followed by {, is an error) nor be empty. So if there are as
        many events as lines, each line is one event.
        """
        if not all(value[:1] == b"{" and value[-1:] == b"}" for value in values):
            return None
        try:
            events = self.decoder.decode_lines(b"\n".join(values))
        except Exception:  # whatever it was, _decode_one finds it again and names the event
            return None
        if len(events) != len(values) or any(self._int64_exceeded(event) for event in events):
            return None
        return events

    def _decode_one(self, value: bytes) -> Any:
        try:
            event = self.decoder.decode(value)
        except RecursionError:
            return "the value is nested too deeply"
        except UnicodeDecodeError as error:
            return f"invalid UTF-8: {error.reason} (byte {error.start} of a string)"
        except msgspec.MsgspecError as error:
            return str(error)
        except Exception as error:  # a hook of the user's struct, on this event's data
            return f"{type(error).__name__}: {error}"
        return self._int64_exceeded(event) or event

    def _int64_exceeded(self, event: Any) -> str | None:
        for name in self.integers:
            value = getattr(event, name)
            if isinstance(value, int) and not _INT64_MIN <= value <= _INT64_MAX:
                return f"Integer {value} does not fit into 64 bits - at `$.{name}`"
        return None
