"""The generator's totals as a file: one JSON object a line for each window, the summary last."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO

import msgspec

from app.shop.ledger import Columns


class WindowTotals(msgspec.Struct, frozen=True, tag="window"):
    """What one window of a table must hold: a list per key and figure, row by row."""

    table: str
    start: int
    rows: Columns


class Summary(msgspec.Struct, frozen=True, tag="summary"):
    """What belongs to no window. closed_to: per table, windows that end by this time are closed."""

    sent: dict[str, int]
    bad: dict[str, int]
    late: dict[str, int]
    reactions: dict[str, int]
    closed_to: dict[str, int]


class TotalsError(RuntimeError):
    """The file does not hold the totals of a whole run."""


class TotalsWriter:
    """Writes the file line by line, so that memory does not grow with the run."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def window(self, table: str, start: int, rows: Columns) -> None:
        """Add one window."""
        self._write(WindowTotals(table, start, rows))

    def summary(self, summary: Summary) -> None:
        """Add the last line."""
        self._write(summary)
        self._file.flush()

    def _write(self, line: WindowTotals | Summary) -> None:
        self._file.write(msgspec.json.encode(line).decode() + "\n")


def read_totals(path: Path) -> tuple[list[WindowTotals], Summary]:
    """Read the file back. TotalsError: the generator did not get to its end."""
    windows: list[WindowTotals] = []
    for line in _lines(path):
        if isinstance(line, Summary):
            return windows, line
        windows.append(line)
    raise TotalsError(f"{path} has no summary: the generator has not come to its end")


def _lines(path: Path) -> Iterator[WindowTotals | Summary]:
    decoder = msgspec.json.Decoder(WindowTotals | Summary)
    try:
        with path.open("rb") as file:
            for line in file:
                yield decoder.decode(line)
    except (OSError, msgspec.DecodeError) as error:
        raise TotalsError(f"{path} cannot be read: {error}") from error
