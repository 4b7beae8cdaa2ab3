"""Each worker has a folder of the data directory for itself, under a name that stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.state.slot import SlotError, WorkerSlot


def test_workers_of_one_directory_get_folders_of_their_own_and_keep_their_names(
    tmp_path: Path,
) -> None:
    first, second = WorkerSlot.take(tmp_path), WorkerSlot.take(tmp_path)
    assert first.path != second.path
    assert first.id != second.id
    first.release()
    again = WorkerSlot.take(tmp_path)
    assert (again.path, again.id) == (first.path, first.id)


def test_a_folder_that_is_in_use_is_refused(tmp_path: Path) -> None:
    held = WorkerSlot.take(tmp_path, "mine")
    with pytest.raises(SlotError, match=r"another worker uses .*mine"):
        WorkerSlot.take(tmp_path, "mine")
    held.release()
    assert WorkerSlot.take(tmp_path, "mine").id == "mine"


@pytest.mark.parametrize("damaged", [b"", b"worker-0-0123456789a", b"worker-0-0123456789a\xe2"])
def test_a_name_that_is_not_whole_is_made_anew(tmp_path: Path, damaged: bytes) -> None:
    """As by a disk that was full: two workers without a name would take each other for themselves."""
    path = tmp_path / "worker-0"
    path.mkdir()
    (path / "id").write_bytes(damaged)
    slot = WorkerSlot.take(tmp_path)
    assert slot.id.startswith("worker-0-")
    assert (path / "id").read_text() == slot.id
    assert sorted(item.name for item in path.iterdir()) == ["id", "lock"]
