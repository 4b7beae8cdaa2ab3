"""JSON events decoded by the kernel, with msgspec for those it is not sure of."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from app.codecs import json_kernel as kernel
from app.codecs.json_msgspec import MsgspecDecoder, Rejected, split
from app.codecs.json_plan import INLINE_BYTES_MAX, Plan, text_view
from app.codecs.kernel import SLACK, read_only

_HEAP_SLACK_BYTES = 64
_VIEW_OFFSET_MAX = 2**31 - 1
_ARROW = {kernel.INTEGER: pa.int64(), kernel.FLOAT: pa.float64()}


class KernelDecoder:
    """Decodes the JSON of one event type whose fields are flat and plain."""

    def __init__(self, plan: Plan, columns: Sequence[str], msgspec: MsgspecDecoder) -> None:
        self._plan = plan
        self._learned = False
        self._columns = columns
        self._msgspec = msgspec

    def decode(
        self,
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> tuple[pl.DataFrame, npt.NDArray[np.int64] | None, list[Rejected], int]:
        """(frame, rows or None, rejected, fallback) as in `Decoded`."""
        buffer, starts, lengths = read_only(buffer), read_only(starts), read_only(lengths)
        count = len(starts)
        if count and not self._learned:
            self._learn(buffer, starts, lengths, 0)
        value_bytes = int(np.maximum(lengths, 0).sum())
        if value_bytes > _VIEW_OFFSET_MAX:
            raise ValueError(f"{value_bytes} bytes of values are more than Arrow views can address")
        columns = _Columns(self._plan, count, value_bytes)
        unsure = np.empty(count, np.bool_)
        left, used, misses = kernel.decode(
            buffer,
            starts,
            lengths,
            self._msgspec.value_bytes_max,
            self._scratch(buffer, starts, lengths),
            self._plan.tables,
            columns.outputs,
            unsure,
        )
        if 2 * misses > count:
            self._learn(buffer, starts, lengths, count // 2)
        rejected: list[Rejected] = []
        rows = None
        if left:
            indexes = np.flatnonzero(unsure)
            values = [
                None if length < 0 else buffer[start : start + length].tobytes()
                for start, length in zip(
                    starts[indexes].tolist(), lengths[indexes].tolist(), strict=True
                )
            ]
            events = self._msgspec.decode(values)
            accepted, rejected = split(indexes.tolist(), events)
            columns.store(self._columns, accepted, [e for e in events if not isinstance(e, str)])
            unsure[accepted] = False
            rows = np.flatnonzero(~unsure) if rejected else None
        return columns.frame(self._columns, used, rows), rows, rejected, int(left)

    def _scratch(
        self,
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
    ) -> npt.NDArray[np.uint8]:
        """Room for a copy of an object that the kernel cannot read past the end of."""
        crowded = lengths[starts + lengths + SLACK > len(buffer)]
        longest = min(int(crowded.max(initial=0)), self._msgspec.value_bytes_max)
        return np.zeros(longest + SLACK, np.uint8)

    def _learn(
        self,
        buffer: npt.NDArray[np.uint8],
        starts: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        row: int,
    ) -> None:
        """Take the order and spelling of one event's keys as what to expect of the next ones."""
        self._plan = self._plan.learned(buffer[starts[row] :][: max(lengths[row], 0)].tobytes())
        self._learned = True


class _Columns:
    """The memory that the kernel writes, and the Arrow columns over it."""

    def __init__(self, plan: Plan, count: int, value_bytes: int) -> None:
        self._plan = plan
        self._count = count
        self._cells = np.empty((len(plan.columns), 2 * count), np.int64)
        self._valid = np.ones((len(plan.columns), count), np.bool_)
        texts = value_bytes if kernel.TEXT in plan.columns else 0
        self._heap = np.empty(texts + _HEAP_SLACK_BYTES, np.uint8)
        self._extra = bytearray(plan.texts)
        self.outputs = (self._cells, self._valid, self._heap)

    def store(self, names: Sequence[str], rows: Sequence[int], events: Sequence[Any]) -> None:
        """Write events that msgspec decoded to their rows."""
        if not rows:
            return
        for column, (name, kind) in enumerate(zip(names, self._plan.columns, strict=True)):
            values = list(map(attrgetter(name), events))
            self._valid[column, rows] = [value is not None for value in values]
            if kind == kernel.TEXT:
                self._cells[column].reshape(-1, 2)[rows] = [self._view(text) for text in values]
            elif kind == kernel.FLOAT:
                cells = self._cells[column].view(np.float64)
                cells[rows] = [0.0 if value is None else value for value in values]
            else:
                self._cells[column, rows] = [value or 0 for value in values]

    def _view(self, text: str | None) -> tuple[int, int]:
        """The Arrow view of a text, which is stored behind the defaults if it is long."""
        encoded = (text or "").encode()
        view = text_view(encoded, len(self._extra))
        if len(encoded) > INLINE_BYTES_MAX:
            self._extra += encoded
        return view

    def frame(
        self, names: Sequence[str], heap_used: int, rows: npt.NDArray[np.int64] | None
    ) -> pl.DataFrame:
        """The columns of the given rows; None: of all."""
        heap = self._heap[:heap_used]
        if heap_used < len(self._heap) // 2:
            heap = heap.copy()
        texts = [pa.py_buffer(heap), pa.py_buffer(bytes(self._extra))]
        arrays = [
            self._array(column, kind, texts, rows) for column, kind in enumerate(self._plan.columns)
        ]
        # (of a record batch, not a table, which Polars takes apart at three times the cost)
        return pl.DataFrame(pa.RecordBatch.from_arrays(arrays, names=list(names)))

    def _array(
        self, column: int, kind: int, texts: list[pa.Buffer], rows: npt.NDArray[np.int64] | None
    ) -> pa.Array:
        count = self._count if rows is None else len(rows)
        validity = None
        if self._plan.nullable[column]:
            valid = self._valid[column] if rows is None else self._valid[column][rows]
            validity = pa.py_buffer(np.packbits(valid, bitorder="little"))
        if kind == kernel.TEXT:
            views = self._cells[column].reshape(-1, 2)
            views = views if rows is None else views[rows]
            buffers = [validity, pa.py_buffer(views), *texts]
            return pa.Array.from_buffers(pa.string_view(), count, buffers)
        cells = self._cells[column, : self._count]
        cells = cells if rows is None else cells[rows]
        if kind == kernel.BOOLEAN:
            bits = np.packbits(cells.astype(np.bool_), bitorder="little")
            return pa.Array.from_buffers(pa.bool_(), count, [validity, pa.py_buffer(bits)])
        return pa.Array.from_buffers(_ARROW[kind], count, [validity, pa.py_buffer(cells)])
