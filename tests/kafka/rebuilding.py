"""Runs `faust -A app rebuild TABLE` of the test application."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.kafka.running_job import Job
from tests.kafka.workers import ROOT


def rebuild(job: Job, *arguments: str) -> subprocess.Popen[str]:
    """The command, running."""
    return subprocess.Popen(
        [sys.executable, "-m", "faust", "-A", "tests.kafka.job", "rebuild", *arguments],
        cwd=ROOT,
        env={**os.environ, **job.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rebuilt(job: Job, *arguments: str) -> tuple[int, str, str]:
    """Exit code, what it said, what it complained of."""
    process = rebuild(job, *arguments)
    said, complained = process.communicate(timeout=90)
    return process.returncode, said, complained
