"""Whether a worker lives and whether it is ready: values in, named checks out."""

from __future__ import annotations

from dataclasses import dataclass

from app.settings import Settings

LOOP_DELAY_MS_MAX = 5000


@dataclass(frozen=True)
class WorkerState:
    """How a worker stands.

    loop_delay_ms: by how much the event loop was late at its last tick.
    assigned: the group has told this worker its partitions (which may be none).
    restored: the tables of those partitions are restored.
    checkpoint_waiting_ms: for how long the oldest thing that is not yet committed has waited;
    None: everything is committed.
    last_error: of the last checkpoint that failed; None once one has committed since.
    """

    loop_delay_ms: int
    assigned: bool
    restored: bool
    checkpoint_waiting_ms: int | None
    last_error: str | None


@dataclass(frozen=True)
class Check:
    """One thing that must be so; `detail` says how it is."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True)
class Report:
    """The answer to `/health` or `/ready`."""

    checks: tuple[Check, ...]
    last_error: str | None

    @property
    def ok(self) -> bool:
        """Whether all checks are."""
        return all(check.ok for check in self.checks)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return 200 if self.ok else 503

    def as_json(self) -> dict[str, object]:
        """The HTTP body."""
        return {
            "ok": self.ok,
            "checks": {
                check.name: {"ok": check.ok, "detail": check.detail} for check in self.checks
            },
            "last_error": self.last_error,
        }


@dataclass(frozen=True)
class Health:
    """Judges a worker's state by its limits."""

    checkpoint_waiting_ms_max: int
    loop_delay_ms_max: int = LOOP_DELAY_MS_MAX

    @classmethod
    def of(cls, settings: Settings) -> Health:
        """A checkpoint may wait for its interval, and then take as long as Kafka lets it."""
        return cls(settings.checkpoint_interval_ms + settings.transaction_timeout_ms)

    def live(self, state: WorkerState) -> Report:
        """For `/health`: when this fails for long, the process should be started anew."""
        return Report((self._loop(state),), state.last_error)

    def ready(self, state: WorkerState) -> Report:
        """For `/ready`: whether the worker does its share, and its tables can be asked."""
        assigned = Check(
            "assigned", state.assigned, _said(state.assigned, "partitions are assigned")
        )
        restored = Check("restored", state.restored, _said(state.restored, "tables are restored"))
        checks = (self._loop(state), assigned, restored, self._checkpoint(state))
        return Report(checks, state.last_error)

    def _loop(self, state: WorkerState) -> Check:
        detail = f"late by {state.loop_delay_ms} ms, at most {self.loop_delay_ms_max}"
        return Check("event_loop", state.loop_delay_ms <= self.loop_delay_ms_max, detail)

    def _checkpoint(self, state: WorkerState) -> Check:
        waiting = state.checkpoint_waiting_ms
        if waiting is None:
            return Check("checkpoint", True, "everything is committed")
        detail = (
            f"uncommitted work waits for {waiting} ms, at most {self.checkpoint_waiting_ms_max}"
        )
        return Check("checkpoint", waiting <= self.checkpoint_waiting_ms_max, detail)


def _said(so: bool, words: str) -> str:
    return words if so else words.replace("are", "are not yet", 1)
