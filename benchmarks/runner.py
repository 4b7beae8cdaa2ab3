"""`./run bench`: runs the benchmarks, writes the results and the report, and judges the targets."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from benchmarks.report import number, render
from benchmarks.results import summarise
from benchmarks.scale import SCALES
from benchmarks.targets import Verdict, judge, load_targets

HERE = Path(__file__).parent
RESULTS = HERE / "results"
INTERRUPTED = 130
_ENDED_EARLY = (pytest.ExitCode.INTERRUPTED, INTERRUPTED)
_WORDS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}
_EPILOG = """\
exit code: 0 when the results are correct and no target is missed; 1 otherwise; 130 after Ctrl-C.
With --quick or --scale tiny the jobs are smaller than those of the targets: missed targets are
shown, but only wrong results and failed benchmarks count. With --only, what did not run is not
judged, and the results go to only-NAME.json and only-NAME.html."""


class Quiet:
    """A pytest plugin: progress bars instead of pytest's dots."""

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Nothing for what passes."""
        return ("passed", "", "") if report.passed and report.when == "call" else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says; the exit code is as `--help` tells."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: children are ended
    targets = load_targets()
    with tempfile.TemporaryDirectory() as folder:
        storage_path, former = Path(folder) / "storage.json", None
        if options.against:
            former = Path(folder) / "former"
            if reason := checked_out(options.against, former):
                sys.stderr.write(
                    f"headrace: there is no revision {options.against!r} here: {reason}\n"
                )
                return 2
        status = _measure(options, storage_path, former)
        if status in _ENDED_EARLY:
            return INTERRUPTED
        if not storage_path.exists() or not storage_path.stat().st_size:
            return 1
        storage = json.loads(storage_path.read_text())
    results = summarise(storage, options.scale)
    verdicts = judge(targets, results)
    name = f"only-{options.only}" if options.only else "latest"
    path = _write(results, verdicts, options.output, name)
    _show(results, verdicts, path)
    return exit_code(results, verdicts, options, failed=status != pytest.ExitCode.OK)


def checked_out(revision: str, folder: Path) -> str:
    """Put the files of a revision of this checkout into a new folder; why that cannot be, or nothing."""
    folder.mkdir()
    archive = folder.with_suffix(".tar")
    command = ["git", "archive", f"--output={archive}", revision]
    try:
        made = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    if made.returncode:
        return made.stderr.strip()
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    return ""


def exit_code(
    results: dict[str, Any],
    verdicts: Sequence[Verdict],
    options: argparse.Namespace,
    *,
    failed: bool,
) -> int:
    """What `--help` says about it."""
    wrong = not results["correct"] and options.only in (None, "main_job")
    missed = options.scale == "full" and any(verdict.met is False for verdict in verdicts)
    return 1 if failed or wrong or missed else 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run bench",
        description="Measure the main job beside its peers, and latency.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scale = parser.add_mutually_exclusive_group()
    scale.add_argument(
        "--quick", action="store_const", const="quick", dest="scale", help="2 M events, 3 minutes"
    )
    scale.add_argument("--scale", choices=list(SCALES), help="size of the runs (default: full)")
    names = [name for name, rounds in SCALES["full"].rounds.items() if rounds]
    parser.add_argument("--only", choices=names, help="one benchmark alone")
    parser.add_argument(
        "--against",
        metavar="REVISION",
        help="the main job in turn with that of another git revision, such as HEAD~20",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.set_defaults(scale="full")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace, storage_path: Path, former: Path | None) -> int:
    """Have pytest run the benchmarks; its exit code."""
    against = [f"--against={former}"] if former else []
    chosen = ["-k", f"test_{options.only}"] if options.only else []
    quiet = ["-q", "-s", "--no-header", "-rN", "--tb=short", "-p", "no:cacheprovider"]
    storage = ["--benchmark-quiet", f"--benchmark-json={storage_path}"]
    return pytest.main(
        [
            str(HERE),
            f"--rootdir={HERE.parent}",
            "--scale",
            options.scale,
            *quiet,
            *storage,
            *chosen,
            *against,
        ],
        plugins=[Quiet()],
    )


def _write(results: dict[str, Any], verdicts: Sequence[Verdict], folder: Path, name: str) -> Path:
    """The JSON and the page; the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    targets = {
        verdict.target.name: {"limit": verdict.target.limit, "met": verdict.met}
        for verdict in verdicts
    }
    (folder / f"{name}.json").write_text(json.dumps({**results, "targets": targets}) + "\n")
    page = folder / ("report.html" if name == "latest" else f"{name}.html")
    page.write_text(render(results, verdicts))
    return page


def _show(results: dict[str, Any], verdicts: Sequence[Verdict], page: Path) -> None:
    console = Console()
    table = Table("figure", "target", "measured", "")
    for verdict in verdicts:
        side = "at least" if verdict.target.at_least else "at most"
        table.add_row(
            verdict.target.name,
            f"{side} {number(verdict.target.limit)}",
            number(verdict.value),
            _WORDS[verdict.met],
        )
    console.print(table)
    for found in (item for many in results["rounds"].values() for item in many):
        for fault in found.get("differences", []):
            console.print(f"[red]{found['benchmark']}, round {found['round']}: {fault}[/]")
    console.print("correct: " + ("[green]yes[/]" if results["correct"] else "[red]not shown[/]"))
    console.print(f"report: {page}")


if __name__ == "__main__":
    sys.exit(main())
