"""The disk of the state is full, and later is not: told in one line, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kafka.running_job import Job, writing
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
SIZE_MB = 48


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, in memory."""
    path = tmp_path / "data"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a file system, which this test fills")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_full_disk(broker: str, tmp_path: Path, small_disk: Path, full_faults: bool) -> None:
    job = Job(broker, tmp_path)
    ballast = small_disk / "ballast"
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        with writing(sales):
            for _ in range(3 if full_faults else 1):
                job.wait_for_progress(item)
                job.log.write_text("")
                _fill(ballast)
                assert item.wait(120) == os.EX_SOFTWARE, item.log_tail()
                assert "is full: free some room, and start again" in item.log_tail()
                assert "Traceback" not in item.log_tail(1 << 20)
                item.start()  # still full
                assert item.wait(120) != 0
                assert "Traceback" not in item.log_tail(1 << 20)
                ballast.unlink()
                item.start()
            job.wait_for_progress(item)
        job.finish(item, sales)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return
