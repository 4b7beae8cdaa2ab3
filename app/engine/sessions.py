"""The sessions of a table's keys: stretches of events in which each comes less than `ttl` after the one before.

A key's partial aggregates are of one session each, so a key may have several rows. Two of them belong together
when less than `ttl` of event time lies between; that is decided by the events alone, in whatever parts and order
they are merged. Only a key's newest session is shown.

From a session's last event on, with the watermark at W:
    last <= W - ttl      gone: readers do not see it. An event that is not late may still continue it.
    last <= W - 2 * ttl  dead: what could continue it is late. A merge of all runs drops it.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from app.engine.batch_columns import TIME
from app.engine.windows import Unwindowed

FIRST, LAST = "_first", "_last"
"""Hidden columns of a partial: the event times (ms) of its first and last event."""

_APART, _NUMBER = "_apart", "_number"


class Sessions:
    """Groups events and partials by key and session; says which are late, gone and dead."""

    partial = (pl.col(TIME).min().alias(FIRST), pl.col(TIME).max().alias(LAST))
    single = (pl.col(TIME).alias(FIRST), pl.col(TIME).alias(LAST))
    merge = (pl.col(FIRST).min(), pl.col(LAST).max())

    def __init__(self, ttl_ms: int, keys: Sequence[str]) -> None:
        self._ttl_ms = ttl_ms
        self._window = Unwindowed(ttl_ms)
        self._keys = list(keys)

    def several(self, first: pl.Series, last: pl.Series) -> bool:
        """Whether some of these rows may be of different sessions of one key; False: surely none are."""
        return bool(len(first) and first.max() - last.min() >= self._ttl_ms)  # type: ignore[operator]

    def events(self, frame: pl.DataFrame, reduce: Sequence[pl.Expr]) -> pl.DataFrame:
        """Reduce events to one row per key and session."""
        return self._grouped(frame, reduce, pl.col(TIME), pl.col(TIME))

    def partials(self, frame: pl.DataFrame, reduce: Sequence[pl.Expr]) -> pl.DataFrame:
        """Reduce partials to one row per key and session."""
        return self._grouped(frame, reduce, pl.col(FIRST), pl.col(LAST))

    def _grouped(
        self, frame: pl.DataFrame, reduce: Sequence[pl.Expr], first: pl.Expr, last: pl.Expr
    ) -> pl.DataFrame:
        apart = (first.max() - last.min()).alias(_APART)
        grouped = frame.group_by(self._keys).agg(*reduce, apart)
        far = pl.col(_APART) >= self._ttl_ms
        split = grouped.filter(far)
        if split.is_empty():  # no two parts of a key are as far apart as that
            return grouped.drop(_APART)
        rows = frame.join(split, on=self._keys, how="semi", nulls_equal=True).sort(first)
        begins = first - last.cum_max().shift(1) >= self._ttl_ms
        number = begins.fill_null(False).cum_sum().over(self._keys)
        sessions = rows.group_by(*self._keys, number.alias(_NUMBER)).agg(reduce)
        return pl.concat([grouped.filter(~far).drop(_APART), sessions.drop(_NUMBER)])

    def admitted(
        self, partials: pl.DataFrame, watermark: int
    ) -> tuple[pl.DataFrame, pl.DataFrame | None]:
        """What is taken of partials that come at this watermark, and what is late (None: nothing).

        Partials behind the watermark come only from a sender that had been idle. They must not continue a
        session that is dead, for it may be dropped already: what is older counts as just not late.
        """
        oldest = watermark - self._ttl_ms + 1
        first: int = partials[FIRST].min()  # type: ignore[assignment]
        if first >= oldest:
            return partials, None
        late = pl.col(LAST) < oldest
        taken = partials.filter(~late).with_columns(pl.col(FIRST).clip(lower_bound=oldest))
        return taken, partials.filter(late)

    def visible(self, merged: pl.DataFrame, watermark: int | None) -> pl.DataFrame:
        """The newest session of each key, unless it is gone."""
        if watermark is not None:
            merged = merged.filter(pl.col(LAST) > self._window.gone_to(watermark))
        return merged.filter(pl.col(LAST) == pl.col(LAST).max().over(self._keys))

    def dead_to(self, watermark: int) -> int:
        """A session whose last event is not after this time is dead."""
        return watermark - 2 * self._ttl_ms

    def sweeps(self, before: int | None, now: int | None) -> bool:
        """Whether it is time to drop dead rows: once per ttl.

        Each row that is rewritten for it has had an event not long ago, so a sweep costs no more than those.
        """
        if before is None or now is None:
            return False
        return before // self._ttl_ms != now // self._ttl_ms
