"""The targets, and which of them a run has met."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TARGETS_PATH = Path(__file__).parent / "targets.toml"


class TargetsError(ValueError):
    """targets.toml says something that cannot be judged; the message says what."""


@dataclass(frozen=True)
class Target:
    """One figure of the results and its limit; `at_least` says which side is good."""

    benchmark: str
    figure: str
    limit: float
    at_least: bool

    @property
    def name(self) -> str:
        """As in the results, with a dot."""
        return f"{self.benchmark}.{self.figure}"


@dataclass(frozen=True)
class Verdict:
    """A target and what was measured; `value` is None when it was not."""

    target: Target
    value: float | None

    @property
    def met(self) -> bool | None:
        """None: not measured."""
        if self.value is None:
            return None
        if self.target.at_least:
            return self.value >= self.target.limit
        return self.value <= self.target.limit


def load_targets(path: Path = TARGETS_PATH) -> list[Target]:
    """Read the targets, in the order of the file. Raises TargetsError."""
    try:
        tables = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise TargetsError(f"{path.name}: {error}") from error
    return [
        _target(path, benchmark, key, limit)
        for benchmark, table in tables.items()
        for key, limit in table.items()
    ]


def judge(targets: Iterable[Target], results: Mapping[str, Any]) -> list[Verdict]:
    """Every target beside what the results hold for it."""
    return [
        Verdict(target, results.get(target.benchmark, {}).get(target.figure)) for target in targets
    ]


def _target(path: Path, benchmark: str, key: str, limit: object) -> Target:
    figure, _, side = key.rpartition("_")
    if side not in ("min", "max") or not isinstance(limit, int | float) or isinstance(limit, bool):
        raise TargetsError(
            f"{path.name}: {benchmark}.{key} = {limit!r}: a figure's name ends in _min or _max, "
            "and its limit is a number"
        )
    return Target(benchmark, figure, float(limit), at_least=side == "min")
