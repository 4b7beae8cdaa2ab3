"""A real worker whose RocksDB was damaged: it rebuilds its state, and nothing is lost or counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kafka.running_job import Job, writing
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka


def test_damaged_between_two_runs(broker: str, tmp_path: Path, full_faults: bool) -> None:
    chance = random.Random(seed := new_seed())
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed)
        for _ in range(3 if full_faults else 1):
            with writing(sales):
                job.wait_for_progress(item)
                item.kill()
            (folder,) = (job.data_dir / "state" / job.app_id).glob("worker-0/rocksdb")
            files = [
                f
                for f in folder.iterdir()
                if f.suffix in (".sst", ".blob", ".log") and f.stat().st_size
            ]
            for file in chance.sample(files, min(2, len(files))):
                data = bytearray(file.read_bytes())
                data[chance.randrange(len(data))] ^= 0x40
                file.write_bytes(data)
            item.start()
            with writing(sales):
                _until_progress(job, item)
        job.finish(item, sales)


def _until_progress(job: Job, item: Worker) -> None:
    """Damage that is met while state is read ends the worker; as a supervisor, start it once more."""
    try:
        job.wait_for_progress(item)
    except AssertionError:
        assert not item.running
        assert "damaged" in item.log_tail()
        assert "Traceback" not in item.log_tail(1 << 20)
        item.start()
        job.wait_for_progress(item)
