"""A worker that is stopped with SIGSTOP for so long that all have given it up, and then goes on."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.group import (
    PARTITIONS,
    SESSION_TIMEOUT_MS,
    TRANSACTION_TIMEOUT_MS,
    load,
    running_group,
)
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

TIMEOUTS_S = (SESSION_TIMEOUT_MS + TRANSACTION_TIMEOUT_MS) / 1000


@pytest.mark.only_full
def test_stopped_past_all_timeouts(broker: str, tmp_path: Path) -> None:
    """Nothing becomes visible of what it had begun, the others take over, and it joins again."""
    chance = random.Random(seed := new_seed())
    with running_group(broker, tmp_path) as group:
        with load(group, seed) as sales:
            for _ in range(10):
                time.sleep(chance.uniform(0, 0.3))  # the moment is what is random
                item = chance.choice(group.workers)
                item.signal(signal.SIGSTOP)
                past = time.monotonic() + TIMEOUTS_S
                mark = group.log_size(item)
                group.wait_for_all()  # the others have its partitions now
                group.let_pass_until(past)
                item.signal(signal.SIGCONT)
                group.wait_for_line(item, "tables.restored", since=mark)
                group.wait_for_all()
        group.finish_all(sales)


@pytest.mark.only_full
def test_a_former_self_comes_back(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """A worker that seemed dead was started anew elsewhere, under its name; then the former one goes on.

    Two of one name are a mistake that Kafka cannot settle for good; that nothing counts twice it can.
    """
    with running_group(broker, tmp_path, 2) as group:

        def noticed(former: Worker, mark: int) -> bool:
            events = ("checkpoint.aborted", "partitions.assigned", "group.refused")
            return not former.running or any(
                group.has_logged(former, event, mark) for event in events
            )

        with load(group, new_seed()) as sales:
            former = group.workers[0]
            group.wait_for_shares(PARTITIONS // 2, *group.workers)  # else it has nothing to lose
            former.signal(signal.SIGSTOP)
            again = group.elsewhere(former)
            group.start(again)
            group.wait_until_ready(again)
            group.wait_for_all()
            mark = group.log_size(former)
            group.may_end(former, again)
            former.signal(signal.SIGCONT)
            group.wait(lambda: noticed(former, mark), 60, "the former self has noticed nothing")
            group.wait_for_progress(group)
            if former.running:
                group.end(former, signal.SIGKILL)
            if again.running:
                group.must_run(again)
            else:
                group.start(again)
            group.wait_for_all()
        group.finish_all(sales)
