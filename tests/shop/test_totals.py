"""The totals' file is whole or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.shop.totals import Summary, TotalsError, TotalsWriter, WindowTotals, read_totals

SUMMARY = Summary({"order.placed": 2}, {}, {"page_views": 1}, {}, {"page_views": 5})


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "totals.jsonl"
    with path.open("w") as file:
        writer = TotalsWriter(file)
        writer.window("page_views", 10, {"page": ["/"], "views": [3], "mean_load_ms": [1.5]})
        writer.summary(SUMMARY)
    rows = {"page": ["/"], "views": [3], "mean_load_ms": [1.5]}
    assert read_totals(path) == ([WindowTotals("page_views", 10, rows)], SUMMARY)


@pytest.mark.parametrize("text", ["", '{"type":"window","table":"t","start":0,"rows":{}}\n', "{\n"])
def test_unfinished_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "totals.jsonl"
    path.write_text(text)
    with pytest.raises(TotalsError, match=r"totals\.jsonl"):
        read_totals(path)
    with pytest.raises(TotalsError):
        read_totals(tmp_path / "none")
