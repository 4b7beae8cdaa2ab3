"""Opening a worker's store: what cannot be trusted is moved aside, and the changelogs rebuild it."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from app.state.rocksdb_store import DAMAGED, DamagedStoreError, RocksDBStore
from app.state.small_file import write_whole

log = structlog.get_logger(__name__)

FORMAT = "3"
"""Of keys and values; another one is rebuilt, not read."""
_FORMAT_FILE = "FORMAT"


def open_store(path: Path, *, block_cache_mb: int, write_buffer_mb: int) -> RocksDBStore:
    """The store in this folder, or an empty one where it is damaged or of another format.

    The damaged one is kept beside it, in place of an earlier one, for those who want to know.
    """
    reason = _distrust(path)
    if reason is None:
        try:
            return _open(path, block_cache_mb, write_buffer_mb)
        except DamagedStoreError as error:
            reason = str(error)
    aside = path.with_name(f"{path.name}.damaged")
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    log.error("state.moved_aside", reason=reason, to=str(aside), then="rebuilt from the changelogs")
    return _open(path, block_cache_mb, write_buffer_mb)


def _open(path: Path, block_cache_mb: int, write_buffer_mb: int) -> RocksDBStore:
    kind = path / _FORMAT_FILE
    if _text(kind) != FORMAT:  # as of another format without a database
        path.mkdir(parents=True, exist_ok=True)
        write_whole(kind, FORMAT)
    return RocksDBStore(path, block_cache_mb=block_cache_mb, write_buffer_mb=write_buffer_mb)


def _distrust(path: Path) -> str | None:
    """Why the folder must not be used; None: it may."""
    if not path.exists() or not any(path.iterdir()):
        return None
    damage = _text(path / DAMAGED)
    if damage is not None:
        return f"found damaged when it was last used: {damage}"
    found = _text(path / _FORMAT_FILE)
    if found != FORMAT and (path / "CURRENT").exists():
        return f"written in format {found!r}, and this version reads {FORMAT}"
    return None


def _text(file: Path) -> str | None:
    """What is in a file, damaged or not; None: there is none."""
    return file.read_text(errors="replace") if file.exists() else None
