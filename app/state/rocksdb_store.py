"""Segments in RocksDB: one database per worker, one atomic WriteBatch per checkpoint."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from rocksdict import BlockBasedOptions, Cache, Options, Rdict, WriteBatch, WriteOptions

from app.engine.state.segment import head_bytes
from app.engine.state.store import STALE_AFTER_S, MissingSegmentError, StateRefusedError, StoreWrite
from app.state.uptime import Uptime, uptime

log = structlog.get_logger(__name__)

_PARTITION = struct.Struct(">I")
_OFFSET = struct.Struct(">qq16s")
"""The changelog's offset, and when it was written, by a clock that does not jump."""
_CHANGELOG_KEY, _OFFSET_KEY, _HEAD, _VALUE = b"c", b"o", b"h", b"v"
_GARBAGE_HIGH, _GARBAGE_LOW = 1 / 2, 1 / 3
"""Blob files are rewritten from so much garbage in them on, until it is so little."""
DAMAGED = "DAMAGED"
"""The file that says why the store cannot be trusted any more."""


def _unlogged() -> WriteOptions:
    options = WriteOptions()
    options.disable_wal = True
    return options


def _prefix(table: str, partition: int) -> bytes:
    return table.encode() + b"\0" + _PARTITION.pack(partition)


class DamagedStoreError(StateRefusedError):
    """The files of the store are damaged; the next start moves them aside and replays the changelogs."""


class FullDiskError(StateRefusedError):
    """There is no room for the state; nothing is lost: what was not written is on the changelogs."""


class RocksDBStore:
    """Holds the segments of all tables of one worker below `path`.

    A key is the table's name, a zero byte, the partition, and the changelog's key twice: once with the
    value, once with its head, so that the state is taken over without reading it. Values of 4 KiB and
    more are kept in blob files, so that compaction does not copy segments, except to be rid of garbage:
    RocksDB would otherwise copy a quarter of what is live each time, which is half of the work of a restore.

    Any method raises DamagedStoreError when RocksDB finds its files damaged, FullDiskError when it cannot write.
    """

    def __init__(
        self,
        path: Path,
        *,
        block_cache_mb: int,
        write_buffer_mb: int,
        now: Callable[[], Uptime] = uptime,
    ) -> None:
        self._now = now
        self._path = path
        path.mkdir(parents=True, exist_ok=True)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        options.set_enable_blob_files(True)
        options.set_min_blob_size(4096)
        options.set_write_buffer_size(write_buffer_mb << 20)
        options.set_max_write_buffer_number(2)
        options.set_max_background_jobs(2)
        options.set_keep_log_file_num(2)
        options.set_max_total_wal_size(4 * write_buffer_mb << 20)
        self._write_buffer_bytes = write_buffer_mb << 20
        self._written_bytes = 0
        self._rewriting = False
        tables = BlockBasedOptions()
        tables.set_block_cache(Cache(block_cache_mb << 20))
        options.set_block_based_table_factory(tables)
        with self._told():
            self._db = Rdict(str(path), options)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # RocksDB's own errors have no other type
            text = str(error).partition("\n")[0]
            if "No space left on device" in text:
                raise FullDiskError(
                    f"the disk of the state in {self._path.name} is full: free some room, and start again"
                ) from error
            if not text.startswith(("Corruption", "IO error: No such file")):
                raise
            with suppress(OSError):  # then the next start meets the damage itself
                (self._path / DAMAGED).write_text(text)
            raise DamagedStoreError(
                f"the state in {self._path.name} is damaged: {text}; "
                "the next start moves it aside and replays the changelogs"
            ) from error

    def read(self, table: str, partition: int, keys: list[bytes]) -> list[bytes]:
        """The values of these keys, in their order. MissingSegmentError: one is not there."""
        prefix = _prefix(table, partition) + _VALUE
        with self._told():
            values = self._db.get([prefix + key for key in keys]) if keys else []
        for key, value in zip(keys, values, strict=True):
            if value is None:
                raise MissingSegmentError(
                    f"table {table!r}, partition {partition}: no segment {key.hex()}"
                )
        return values

    def get(self, table: str, partition: int, key: bytes) -> bytes | None:
        """The value of one key, or None."""
        return self._get(_prefix(table, partition) + _VALUE + key)

    def _get(self, key: bytes) -> bytes | None:
        with self._told():
            value: bytes | None = self._db.get(key)
        return value

    def heads(self, table: str, partition: int) -> dict[bytes, bytes]:
        """All keys of a table partition in their order, each with its segment's head."""
        prefix = _prefix(table, partition) + _HEAD
        found: dict[bytes, bytes] = {}
        with self._told():
            entries = self._db.iter()
            try:
                entries.seek(prefix)
                while entries.valid() and (key := entries.key()).startswith(prefix):
                    found[key[len(prefix) :]] = entries.value()
                    entries.next()
                entries.status()  # without this, damage looks like the end
            finally:
                del entries  # it keeps the database open, and an error would keep it
        return found

    def changelog(self, table: str, partition: int) -> bytes | None:
        """Of which changelog it has begun a copy; None: of none that is known."""
        return self._get(_prefix(table, partition) + _CHANGELOG_KEY)

    def changelog_offset(self, table: str, partition: int) -> int | None:
        """The next changelog offset that the store does not hold yet; None: it holds nothing."""
        entry = self._entry(table, partition)
        return entry and entry[0]

    def stale(self, table: str, partition: int) -> bool:
        """Whether it was all of the changelog more than `STALE_AFTER_S` ago, or before the machine's last start."""
        entry = self._entry(table, partition)
        if entry is None:
            return False
        now, written = self._now(), entry[1]
        return now.boot != written.boot or now.seconds - written.seconds > STALE_AFTER_S

    def age_s(self, table: str, partition: int) -> int:
        """How long ago (s) it was all of the changelog; 0: it holds nothing, or the machine was started since."""
        entry, now = self._entry(table, partition), self._now()
        return now.seconds - entry[1].seconds if entry and entry[1].boot == now.boot else 0

    def _entry(self, table: str, partition: int) -> tuple[int, Uptime] | None:
        """The changelog's offset, and when that was its end, or before."""
        value = self._get(_prefix(table, partition) + _OFFSET_KEY)
        if value is None or len(value) != _OFFSET.size:
            return None
        offset, seconds, boot = _OFFSET.unpack(value)
        return offset, Uptime(boot, seconds)

    def write(self, writes: Iterable[StoreWrite], *, settled: bool = True) -> None:
        """Apply all changes in one atomic step; those that are not `settled` pass the write-ahead log by.

        RocksDB flushes in the order of the writes: what a crash leaves is as of one of them.
        """
        batch = WriteBatch(raw_mode=True)
        size = 0
        for item in writes:
            prefix = _prefix(item.table, item.partition)
            for key in item.deletes:
                batch.delete(prefix + _HEAD + key)
                batch.delete(prefix + _VALUE + key)
            for key, value in item.puts.items():
                batch.put(prefix + _HEAD + key, head_bytes(key, value))
                batch.put(prefix + _VALUE + key, value)
                size += len(value)
            if item.changelog_offset is not None:
                now = self._now()
                entry = _OFFSET.pack(item.changelog_offset, now.seconds - item.age_s, now.boot)
                batch.put(prefix + _OFFSET_KEY, entry)
        with self._told():
            self._db.write(batch, None if settled else _unlogged())
        self._written_bytes += size
        if self._written_bytes > self._write_buffer_bytes:
            self._written_bytes = 0
            self._watch_garbage()

    def _watch_garbage(self) -> None:
        """Have compactions rewrite blob files, or leave them as they are, by how much of them is garbage."""
        whole = self._db.property_int_value("rocksdb.live-blob-file-size") or 0
        garbage = self._db.property_int_value("rocksdb.live-blob-file-garbage-size") or 0
        share = garbage / max(whole, 1)
        rewriting = share > (_GARBAGE_LOW if self._rewriting else _GARBAGE_HIGH)
        if rewriting != self._rewriting:
            self._rewriting = rewriting
            with self._told():
                self._db.set_options({"enable_blob_garbage_collection": str(rewriting).lower()})

    def settle(self) -> None:
        """Flush what has passed the write-ahead log by."""
        with self._told():
            self._db.flush()

    def begin(self, table: str, partition: int, changelog: bytes) -> None:
        """Forget a table partition, and begin a copy of this changelog."""
        batch = self._cleared(table, partition)
        batch.put(_prefix(table, partition) + _CHANGELOG_KEY, changelog)
        with self._told():
            self._db.write(batch)

    def clear(self, table: str, partition: int) -> None:
        """Forget a table partition."""
        with self._told():
            self._db.write(self._cleared(table, partition))

    def _cleared(self, table: str, partition: int) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        prefix = _prefix(table, partition)
        for key in self.heads(table, partition):
            batch.delete(prefix + _HEAD + key)
            batch.delete(prefix + _VALUE + key)
        batch.delete(prefix + _OFFSET_KEY)
        batch.delete(prefix + _CHANGELOG_KEY)
        return batch

    def live_bytes(self) -> int:
        """About how many bytes the live data take; RocksDB estimates them."""
        names = (
            "rocksdb.estimate-live-data-size",
            "rocksdb.live-blob-file-size",
            "rocksdb.cur-size-all-mem-tables",
        )
        return sum(self._db.property_int_value(name) or 0 for name in names)

    def close(self) -> None:
        """Flush and close. What goes wrong is told, and holds nobody up: the changelogs have everything."""
        try:
            with self._told():
                self._db.close()
        except StateRefusedError as error:
            log.warning("state.not_flushed", reason=str(error))
