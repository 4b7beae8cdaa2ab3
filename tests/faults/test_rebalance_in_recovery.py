"""The group rebalances while a worker restores its state, and state is restored while the group rebalances."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from tests.faults.group import Group, load, running_group
from tests.kafka.workers import Worker
from tests.seeds import new_seed

pytestmark = pytest.mark.kafka

ATTEMPTS_MAX = 10
"""To restore within one rebalance, which a busy machine may not get done."""


def test_rebalances_and_recoveries_at_once(broker: str, tmp_path: Path, full_faults: bool) -> None:
    """A killed worker comes back with nothing, so all of its state is restored; Kafka gives it nothing until it may.

    What the killed one has left open holds the others' take-over up, so the rebalances meet that too.
    """
    chance = random.Random(seed := new_seed())
    with running_group(
        broker, tmp_path, started=0, module="tests.faults.held_job", HEADRACE_LEAVE_ON_STOP="true"
    ) as group:
        recoveries = _Recoveries(group, tmp_path)
        group.start()
        with load(group, seed) as sales:
            for _ in range(4 if full_faults else 1):
                for kind in recoveries.kinds if full_faults else chance.sample(recoveries.kinds, 1):
                    kind(*chance.sample(group.workers, 3))
        group.finish_all(sales)


class _Recoveries:
    """What happens to a worker that restores: each leaves all three in order."""

    def __init__(self, group: Group, folder: Path) -> None:
        self._group = group
        self._holds = {item: folder / f"hold-{number}" for number, item in enumerate(group.workers)}
        for item, hold in self._holds.items():
            item.environment["TEST_HOLD"] = str(hold)
        self.kinds = (self.of_copies, self.of_partitions_taken_over, self.within_a_rebalance)

    def of_copies(self, restoring: Worker, leaving: Worker, _: Worker) -> None:
        """One leaves and joins while another one makes its copies."""
        self._begin(restoring)
        self._rebalance(restoring, lambda: self._group.stop_anyhow(leaving))
        self._rebalance(restoring, lambda: self._group.start(leaving))
        assert not self._group.has_logged(restoring, "standby.caught_up")
        self._end(restoring)

    def of_partitions_taken_over(self, restoring: Worker, *leaving: Worker) -> None:
        """Both others leave, so one without any state has all partitions to take over, and join while it does."""
        self._begin(restoring)
        for item in leaving:
            self._rebalance(restoring, lambda item=item: self._group.stop_anyhow(item))
        self._rebalance(restoring, lambda: self._group.start(*leaving))
        assert not self._group.has_logged(restoring, "tables.restored")
        self._end(restoring)

    def within_a_rebalance(self, restoring: Worker, silent: Worker, leaving: Worker) -> None:
        """One has left, and Kafka waits for another one, which is stopped: copies are made meanwhile.

        Or the wait is over before that, and all is the restoring one's to take over: then once more.
        """
        for _ in range(ATTEMPTS_MAX):
            self._begin(restoring)
            silent.signal(signal.SIGSTOP)
            self._group.stop_anyhow(leaving)
            self._holds[restoring].unlink()
            self._group.wait_for_line(restoring, "standby.caught_up", "tables.restored")
            copied = self._group.has_logged(restoring, "standby.caught_up")
            met = copied and self._state() is ConsumerGroupState.PREPARING_REBALANCING
            silent.signal(signal.SIGCONT)
            self._group.start(leaving)
            self._end(restoring)
            if met:
                return
        raise AssertionError("no recovery has ended within a rebalance")

    def _begin(self, restoring: Worker) -> None:
        """A worker has lost its place and its state, is back, and has begun to restore."""
        group, name = self._group, self._group.name(restoring)
        group.kill(restoring)
        shutil.rmtree(group.state_of(restoring))
        group.wait(lambda: name not in group.assignment(), 60, f"{name} is still a member")
        self._holds[restoring].touch()
        group.start(restoring)
        group.wait_for_line(restoring, "standby.begun")

    def _rebalance(self, restoring: Worker, cause: Callable[[], object]) -> None:
        since = self._group.log_size(restoring)
        cause()
        self._group.wait_for_line(restoring, "partitions.assigned", since=since)

    def _end(self, restoring: Worker) -> None:
        """It can restore now."""
        self._holds[restoring].unlink(missing_ok=True)
        self._group.wait_until_ready()
        self._group.wait_for_all()

    def _state(self) -> ConsumerGroupState:
        group = self._group
        admin = AdminClient({"bootstrap.servers": group.broker})
        return admin.describe_consumer_groups([group.app_id])[group.app_id].result(30).state
