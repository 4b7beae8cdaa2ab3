"""Replays in processes of their own: the command, and one without the application."""

from __future__ import annotations

import os
import subprocess
import sys

from app.kafka.replays.replay import Replay
from tests.kafka.running_job import Job
from tests.kafka.workers import ROOT

MENDED = {"TEST_MENDED": "1"}
"""The environment of the version of the test application that reads what the first one cannot."""
BEGIN_ALL = (sys.executable, "-m", "tests.kafka.replaying")
"""A command that replays all dead letters; then come the bootstrap servers and the application."""


def replay_of(broker: str, app_id: str) -> Replay:
    """A replay of all dead letters."""
    options = {"transaction_timeout_ms": 10_000, "topic_replication": 1}
    return Replay(broker, app_id, lambda letter: True, **options)


def replay(job: Job, *options: str, **environment: str) -> str:
    """Run the command; gives what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "tests.kafka.job", "replay", *options],
        cwd=ROOT,
        env={**os.environ, **job.environment, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Traceback" not in said
    return said


if __name__ == "__main__":
    replay_of(*sys.argv[1:]).run(lambda count: None)
