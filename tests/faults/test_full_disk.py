"""The disk of the state is full, and later is not: told in one line, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.faults.small_disk import small_disk
from tests.kafka.running_job import Job, writing
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka
SIZE_MB = 48


def test_full_disk(broker: str, tmp_path: Path, full_faults: bool) -> None:
    with small_disk(tmp_path / "data", SIZE_MB) as disk:
        if disk is None:
            pytest.skip("only root may mount a file system, which this test fills")
        job = Job(broker, tmp_path)
        with job.worker() as item:
            sales = job.first_sales(item, new_seed())
            with writing(sales):
                for _ in range(3 if full_faults else 1):
                    job.wait_for_progress(item)
                    job.log.write_text("")
                    disk.fill()
                    assert item.wait(120) == os.EX_SOFTWARE, item.log_tail()
                    assert "is full: free some room, and start again" in item.log_tail()
                    assert "Traceback" not in item.log_tail(1 << 20)
                    item.start()  # still full
                    assert item.wait(120) != 0
                    assert "Traceback" not in item.log_tail(1 << 20)
                    disk.free()
                    item.start()
                job.wait_for_progress(item)
            job.finish(item, sales)
