"""Batches made by hand, for tests of agents."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np
import polars as pl

from app.engine.batch_columns import OFFSET, TIME
from app.engine.language.batch import Batch
from app.events.event import schema
from tests.engine.sales import Sale

FIRST_OFFSET = 100


def batch_of(sales: Sequence[Sale]) -> Batch:
    """A batch whose rows are numbered from 0, with offsets from 100 and the offsets as times."""
    rows = [msgspec.structs.asdict(sale) for sale in sales]
    numbers = np.arange(len(sales))
    frame = pl.DataFrame(rows, schema=schema(Sale)).with_columns(
        pl.Series(TIME, FIRST_OFFSET + numbers), pl.Series(OFFSET, FIRST_OFFSET + numbers)
    )
    return Batch(Sale, "sales", 0, frame, numbers)


def cut(batch: Batch, cuts: Sequence[int]) -> list[Batch]:
    """The batch in parts that begin at 0 and at these rows."""
    bounds = [0, *sorted({at % (len(batch) + 1) for at in cuts}), len(batch)]
    return [batch.part(start, end - start) for start, end in pairwise(bounds) if end > start]
