"""A real worker whose RocksDB was damaged: it rebuilds its state, and nothing is lost or counted twice."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.kafka.reading_job import READ
from tests.kafka.running_job import Job, writing
from tests.kafka.workers import Worker, worker
from tests.seeds import new_seed
from tests.state.test_damage import DAMAGES

pytestmark = pytest.mark.kafka


def test_damaged_between_two_runs(broker: str, tmp_path: Path, full_faults: bool) -> None:
    chance = random.Random(seed := new_seed())
    job = Job(broker, tmp_path)
    with job.worker() as item:
        sales = job.first_sales(item, seed)
        for _ in range(8 if full_faults else 1):
            with writing(sales):
                job.wait_for_progress(item)
                item.kill()
            (folder,) = (job.data_dir / "state" / job.app_id).glob("worker-0/rocksdb")
            files = [
                f
                for pattern in ("*.sst", "*.blob", "*.log", "MANIFEST-*", "CURRENT")
                for f in folder.glob(pattern)
                if f.stat().st_size
            ]
            for file in chance.sample(sorted(files), min(2, len(files))):
                kind = chance.choice(DAMAGES)
                print(f"{kind.__name__} {file.name}")  # noqa: T201
                left = kind(file.read_bytes(), chance)
                file.unlink() if left is None else file.write_bytes(left)
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


def test_damaged_under_a_worker_whose_agent_reads(broker: str, tmp_path: Path) -> None:
    """The worker ends with one line: the event that the agent was at is no dead letter, and counts."""
    job = Job(broker, tmp_path)
    with job.worker("tests.kafka.reading_job") as item:
        sales = job.first_sales(item, new_seed())
        sales.write(40_000)  # some windows, more than RocksDB looks at when it is opened
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources, item)
        assert item.stop(60) == 0, item.log_tail()  # so that all of it is in files
        item.start()
        sales.write(1)
        sales.flush()
        job.cluster.wait_for_lag_zero(job.sources, item)
        (folder,) = (job.data_dir / "state" / job.app_id).glob("worker-0/rocksdb")
        for file in (*folder.glob("*.sst"), *folder.glob("*.blob")):
            data = bytes(byte ^ 0x40 for byte in file.read_bytes())
            with file.open("r+b") as opened:
                opened.write(data)
        job.log.write_text("")
        sales.write(1, amount=READ)
        sales.flush()
        assert item.wait(90) == os.EX_SOFTWARE, item.log_tail()
        assert "damaged" in item.log_tail()
        assert "Traceback" not in item.log_tail(1 << 20)
        item.start()
        job.finish(item, sales)


def test_state_that_is_not_ours(broker: str, tmp_path: Path) -> None:
    """Of another application, then of another version: told in one line, and not counted."""
    (former, mine) = (Job(broker, tmp_path / name) for name in ("former", "mine"))
    for job in (former, mine):
        job.data_dir.mkdir(parents=True)
    with former.worker() as item:
        sales = former.first_sales(item, new_seed())
        sales.write(1000)
        former.finish(item, sales)
    shutil.copytree(
        former.data_dir / "state" / former.app_id, mine.data_dir / "state" / mine.app_id
    )
    (folder,) = (mine.data_dir / "state" / mine.app_id).glob("worker-0/rocksdb")
    with mine.worker() as item:
        sales = mine.first_sales(item, new_seed())
        with writing(sales):
            mine.wait_for_progress(item)
            assert _lines(mine, "restore.begun_anew") == 1
            assert item.stop(60) == 0, item.log_tail()
            (folder / "FORMAT").write_text("of another version")
            item.start()
            mine.wait_for_progress(item)
        assert _lines(mine, "state.moved_aside") == 1
        mine.finish(item, sales)


def _lines(job: Job, event: str) -> int:
    return job.log.read_text().count(f'"event": "{event}"')


def test_two_workers_of_one_folder(broker: str, tmp_path: Path) -> None:
    """The second one is refused with one line, and the first goes on."""
    job = Job(broker, tmp_path)
    job.environment["HEADRACE_WORKER_ID"] = "mine"
    with job.worker() as item:
        sales = job.first_sales(item, new_seed())
        with writing(sales):
            job.wait_for_progress(item)
            with worker("tests.kafka.job", job.environment, tmp_path / "second.log") as second:
                assert second.wait(90) != 0
                assert "another worker uses" in second.log_tail()
                assert "Traceback" not in second.log_tail(1 << 20)
            job.wait_for_progress(item)
        job.finish(item, sales)


def test_two_workers_of_one_name(broker: str, tmp_path: Path) -> None:
    """On two hosts, with folders of their own: the group has the later one, and the earlier ends with one line."""
    job = Job(broker, tmp_path)
    job.environment["HEADRACE_WORKER_ID"] = "mine"
    elsewhere = {**job.environment, "HEADRACE_DATA_DIR": str(tmp_path / "data-elsewhere")}
    with job.worker() as first:
        sales = job.first_sales(first, new_seed())
        with worker("tests.kafka.job", elsewhere, tmp_path / "second.log") as second:
            with writing(sales):
                assert first.wait(90) == os.EX_CONFIG, first.log_tail()
                job.wait_for_progress(second)
            assert _lines(job, "worker.replaced") == 1
            assert "give each its own HEADRACE_WORKER_ID" in first.log_tail()
            assert "Traceback" not in first.log_tail(1 << 20)
            job.finish(second, sales)
