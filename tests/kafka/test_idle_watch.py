"""When a source partition is quiet: by a clock and a broker that the test moves."""

from __future__ import annotations

from app.kafka.processing.idle_watch import IdleWatch

HERE, THERE = ("orders", 0), ("orders", 1)


class Scene:
    """A watch over two partitions, looked at every tenth of a second."""

    def __init__(self) -> None:
        self.now = 100.0
        self.away_since: float | None = None
        self.watch = IdleWatch(5, self._silent_s, lambda: self.now)
        self.watch.watch([HERE, THERE])

    def _silent_s(self, topic: str, partition: int) -> float:
        return 0.0 if self.away_since is None else self.now - self.away_since

    def pass_s(self, seconds: float, *, looking: bool = True) -> list[tuple[str, int]]:
        """Time passes; which partitions are quiet then."""
        if not looking:
            self.now += seconds
            return self.watch.quiet()
        quiet = []
        for _ in range(round(seconds * 10)):
            self.now += 0.1
            quiet = self.watch.quiet()
        return quiet


def test_quiet_after_its_time_and_until_the_next_event() -> None:
    scene = Scene()
    assert scene.pass_s(4) == []
    scene.watch.event(HERE)
    assert scene.pass_s(1.5) == [THERE]
    scene.watch.event(THERE)
    assert scene.pass_s(1) == []
    assert scene.pass_s(5) == [HERE, THERE]


def test_an_outage_does_not_count() -> None:
    scene = Scene()
    scene.away_since = scene.now
    assert scene.pass_s(60) == []
    scene.away_since = None
    assert scene.pass_s(4.8) == []
    assert scene.pass_s(0.5) == [HERE, THERE]


def test_time_in_which_nobody_looked_does_not_count() -> None:
    scene = Scene()
    assert scene.pass_s(60, looking=False) == []
    assert scene.pass_s(4.8) == []
    assert scene.pass_s(0.5) == [HERE, THERE]
