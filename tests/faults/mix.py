"""Faults of every kind at random, several at a time. What is drawn depends on nothing but the seed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.clock import JUMP_S, Clock
from tests.faults.fuse import LATE_COMMIT, STEPS, Fuse
from tests.faults.group import SESSION_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS, Group
from tests.faults.network import Namespace
from tests.faults.reachable_broker import ReachableBroker
from tests.faults.small_disk import SmallDisk
from tests.kafka.sales import Sales
from tests.kafka.workers import Worker
from tests.state.test_damage import DAMAGES

_TIMEOUTS_S = (SESSION_TIMEOUT_MS + TRANSACTION_TIMEOUT_MS) / 1000
_LASTS_S_MAX = 1.2 * _TIMEOUTS_S
"""A worker that is stopped or cut off."""
_PAUSE_S_MAX = 3.0
_BROKER_S_MAX = 15.0
_READY_S_MAX = 240.0
_FILES = ("*.sst", "*.blob", "*.log", "MANIFEST-*", "CURRENT")
_TOGETHER = 6
"""So many faults, then all is mended and every partition must get further."""


@dataclass(frozen=True)
class _Fault:
    """A fault that lasts, and how it ends."""

    name: str
    due: float
    mend: Callable[[], None]


class Mix:
    """Harms workers and their broker. Make it before the workers are started.

    place: the namespace that the first worker is in, if there is one. disk: of the second worker's state, if there is
    one. poison: writes events that nobody can read.
    """

    def __init__(
        self,
        group: Group,
        broker: ReachableBroker,
        place: Namespace | None,
        disk: SmallDisk | None,
        poison: Callable[[], None],
        *,
        seed: int,
        folder: Path,
    ) -> None:
        self._group, self._broker, self._place, self._disk = group, broker, place, disk
        self._poison = poison
        self._chance = random.Random(seed)
        self._began = time.monotonic()
        self._lasting: dict[object, _Fault] = {}
        self._clocks: dict[Worker, Clock] = {}
        self._shifts_s: dict[Worker, float] = dict.fromkeys(group.workers, 0.0)
        self._fuses: dict[Worker, Fuse] = {}
        self._damaged: dict[Worker, int] = {}
        self._said = 0
        for number, item in enumerate(group.workers):
            self._clocks[item] = Clock(item, folder / f"clock-{number}")
            self._fuses[item] = Fuse(folder / f"fuse-{number}")
            item.environment |= self._fuses[item].environment
        if place is not None:
            group.put(group.workers[0], place)

    def run(self, seconds: float, sales: Sales) -> None:
        """Go on for so long; at the end all is mended, but what could not be read is still to be replayed."""
        end, count = time.monotonic() + seconds, 0

        def schema(_item: Worker, share: float) -> None:
            self._schema(sales, share)

        kinds = (*self._kinds, self._full_disk, schema)
        while time.monotonic() < end:
            self._fault(self._chance.choice(kinds))
            count += 1
            if count % _TOGETHER == 0:
                self.mend_all()
                self._group.wait_for_all()
        self.mend_all()

    def run_each(self) -> None:
        """Every kind that has no short form of its own once, and each of workers for as long as it may last.

        At the end all is mended.
        """
        kinds = list(self._kinds)
        self._chance.shuffle(kinds)
        for count, kind in enumerate(kinds, 1):
            at_length = kind in (self._stop, self._cut)
            while not self._fault(kind, at_length=at_length):  # its victim had one already
                self.mend_all()
            if count % _TOGETHER == 0:
                self.mend_all()
                self._group.wait_for_all()
        self.mend_all()

    def mend_all(self) -> None:
        """No fault lasts any longer: first there is a broker, then workers, all of which get ready."""
        for victim in sorted(self._lasting, key=lambda victim: victim is not self._broker):
            self._mend(victim)
        for item, since in self._damaged.items():
            if not self._group.has_logged(item, "state.moved_aside", since):
                self._say(f"{self._name(item)} has not come to what is damaged, and must now")
                self._group.kill(item)
                (self._database(item) / "CURRENT").write_bytes(b"")
                self._start(item)
        deadline = time.monotonic() + _READY_S_MAX
        while not all(self._is_ready(item) for item in self._group.workers):
            assert time.monotonic() < deadline, self._group.log_tail()
            self._supervise()
            time.sleep(0.05)
        for item, since in self._damaged.items():
            assert self._group.has_logged(item, "state.moved_aside", since), item.log_tail()
            self._group.must_run(item)
        self._damaged.clear()

    def _is_ready(self, item: Worker) -> bool:
        return item.running and self._group.has_logged(item, "worker.ready")

    @property
    def _kinds(self) -> Sequence[Callable[[Worker, float], None]]:
        return (
            self._kill,
            self._lose,
            self._damage,
            self._die,
            self._late_commit,
            self._stop,
            self._leave,
            self._cut,
            self._clock,
            self._bad_events,
            self._broker_killed,
            self._broker_hangs,
        )

    def _fault(self, kind: Callable[[Worker, float], None], *, at_length: bool = False) -> bool:
        """One fault, and a pause in which it and others may end; whether it could be."""
        item = self._chance.choice(self._group.workers)
        share = 0.999 if at_length else self._chance.random()
        pause_s = _LASTS_S_MAX if at_length else self._chance.uniform(0, _PAUSE_S_MAX)
        said = self._said
        kind(item, share)
        happened = self._said > said
        until = time.monotonic() + pause_s
        while time.monotonic() < until:
            for victim in [v for v, fault in self._lasting.items() if time.monotonic() > fault.due]:
                self._mend(victim)
            self._supervise()
            time.sleep(0.05)
        return happened

    def _supervise(self) -> None:
        """A worker that has found no broker when it started, or that its state is damaged, is started again.

        No other may end by itself.
        """
        for item in self._group.workers:
            if not self._free(item) or item.running:
                continue
            if item in self._damaged and item.wait(1) == os.EX_SOFTWARE:
                self._say(f"{self._name(item)} has found what is damaged, and is started again")
                assert "damaged" in item.log_tail(), item.log_tail()
            else:
                self._say(f"{self._name(item)} has found no broker, and is started again")
                self._group.expect_end(item, 1, "worker.cannot_start")
            self._start(item)

    def _start(self, item: Worker) -> None:
        self._group.start(item)
        if item in self._damaged:
            self._group.may_end(item)

    def _database(self, item: Worker) -> Path:
        return self._group.state_of(item) / "rocksdb"

    def _begin(self, victim: object, name: str, seconds: float, mend: Callable[[], None]) -> None:
        self._say(f"{name}, for {seconds:.1f} s")
        self._lasting[victim] = _Fault(name, time.monotonic() + seconds, mend)

    def _mend(self, victim: object) -> None:
        if self._free(victim):  # it had to be mended for another one
            return
        fault = self._lasting.pop(victim)
        self._say(f"{fault.name}: over")
        fault.mend()

    def _say(self, text: str) -> None:
        self._said += 1
        print(f"{time.monotonic() - self._began:6.1f} s  {text}")  # noqa: T201

    def _free(self, victim: object) -> bool:
        return victim not in self._lasting

    def _name(self, item: Worker) -> str:
        return item.environment["HEADRACE_WORKER_ID"]

    # -- faults; share: of the longest that one may last -----------------------------------------

    def _kill(self, item: Worker, share: float) -> None:
        if self._free(item):
            self._group.kill(item)
            seconds = share * 1.5 * SESSION_TIMEOUT_MS / 1000
            self._begin(item, f"{self._name(item)} killed", seconds, lambda: self._start(item))

    def _lose(self, item: Worker, share: float) -> None:
        """Its state is gone."""
        if self._free(item):
            self._group.kill(item)
            shutil.rmtree(self._database(item), ignore_errors=True)
            self._damaged.pop(item, None)
            self._begin(item, f"{self._name(item)} without state", share, lambda: self._start(item))

    def _damage(self, item: Worker, share: float) -> None:
        """A file of its state is damaged, which the next start may find, or what reads it later, or nobody yet."""
        if not self._free(item):
            return
        self._group.kill(item)
        name = f"{self._name(item)} with damaged state"
        files = [file for pattern in _FILES for file in self._database(item).glob(pattern)]
        if files:
            file, kind = self._chance.choice(sorted(files)), self._chance.choice(DAMAGES)
            left = kind(file.read_bytes() or b" ", self._chance)
            file.unlink() if left is None else file.write_bytes(left)
            self._damaged.setdefault(item, self._group.log_size(item))
            name += f" ({kind.__name__} {file.name})"
        self._begin(item, name, share, lambda: self._start(item))

    def _full_disk(self, _item: Worker, share: float) -> None:
        victim, disk = self._group.workers[1], self._disk
        if disk is None:
            self._say("no disk is full: only root may mount one")
            return
        if not self._free(victim):
            return

        def mend() -> None:
            with suppress(subprocess.TimeoutExpired):  # it may have had nothing to write
                assert victim.wait(5) != 0
                said = victim.log_tail()
                allowed = ("is full: free some room", "no answer from Kafka")
                assert victim in self._damaged or any(text in said for text in allowed), said
            self._group.kill(victim)
            disk.free()
            self._start(victim)

        self._group.may_end(victim)
        disk.fill()
        self._begin(victim, f"{self._name(victim)}: full disk", share * _LASTS_S_MAX, mend)

    def _schema(self, sales: Sales, share: float) -> None:
        """What writes leaves out a field, for a while."""
        if not self._free(sales):
            return

        def mend() -> None:
            sales.share_without_country = 0.0

        sales.share_without_country = share
        self._begin(sales, "events without a field", _BROKER_S_MAX * share, mend)

    def _die(self, item: Worker, share: float) -> None:
        if not self._free(item):
            return
        step, fuse = STEPS[int(share * len(STEPS))], self._fuses[item]

        def mend() -> None:
            if not fuse.put_out():
                assert item.wait(30) == -signal.SIGKILL, item.log_tail()
                self._start(item)
            elif item not in self._damaged:
                self._group.must_run(item)

        self._group.may_end(item)
        fuse.light(step)
        self._begin(item, f"{self._name(item)} dies: {step}", 5 * share, mend)

    def _late_commit(self, item: Worker, share: float) -> None:
        if self._free(item):
            fuse = self._fuses[item]
            fuse.light(LATE_COMMIT)
            name = f"{self._name(item)}: a commit is held up"
            self._begin(item, name, 5 * share, lambda: _ignore(fuse.put_out()))

    def _stop(self, item: Worker, share: float) -> None:
        if self._free(item):
            item.signal(signal.SIGSTOP)
            seconds = share * _LASTS_S_MAX
            self._begin(
                item, f"{self._name(item)} stopped", seconds, lambda: item.signal(signal.SIGCONT)
            )

    def _leave(self, item: Worker, share: float) -> None:
        if not self._free(item):
            return

        def come_back() -> None:
            if not self._free(self._broker):  # while it hangs, a worker may take a minute to end
                self._mend(self._broker)
            item.wait(60)
            self._start(item)

        self._group.may_end(item)
        item.signal(signal.SIGTERM)
        seconds = share * 1.5 * SESSION_TIMEOUT_MS / 1000
        self._begin(item, f"{self._name(item)} leaves", seconds, come_back)

    def _cut(self, _item: Worker, share: float) -> None:
        victim = self._group.workers[0]
        if self._place is None:
            self._say("nobody is cut off: there are no network namespaces")
            return
        if not self._free(victim):
            return
        outward, inward = ((True, False), (False, True), (True, True))[int(share * 3)]
        cut = self._place.cut(outward=outward, inward=inward)
        cut.__enter__()
        lost = " and ".join(["requests"] * outward + ["answers"] * inward)
        self._begin(
            victim,
            f"{self._name(victim)}: {lost} are lost",
            (3 * share % 1) * _LASTS_S_MAX,
            lambda: cut.__exit__(None, None, None),
        )

    def _clock(self, item: Worker, share: float) -> None:
        others = [shift_s for shift_s in (-JUMP_S, 0.0, JUMP_S) if shift_s != self._shifts_s[item]]
        self._shifts_s[item] = shift_s = others[int(share * 2)]
        self._say(f"{self._name(item)}: clock wrong by {shift_s:.0f} s")
        self._clocks[item].jump(shift_s)

    def _bad_events(self, _item: Worker, _share: float) -> None:
        if self._free(self._broker):
            self._say("events that nobody can read")
            self._poison()

    def _broker_killed(self, _item: Worker, share: float) -> None:
        if self._free(self._broker):
            self._broker.kill()
            self._begin(self._broker, "broker killed", _BROKER_S_MAX * share, self._broker.start)

    def _broker_hangs(self, _item: Worker, share: float) -> None:
        if self._free(self._broker):
            self._broker.signal(signal.SIGSTOP)
            self._begin(
                self._broker,
                "broker hangs",
                _BROKER_S_MAX * share,
                lambda: self._broker.signal(signal.SIGCONT),
            )


def _ignore(_answer: object) -> None:
    return
