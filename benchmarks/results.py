"""From pytest-benchmark's storage to the results: one figure per name, rounds kept beside it."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

import psutil

from benchmarks.figures import FIGURES
from benchmarks.scale import SCALES

PACKAGES = (
    "aiokafka",
    "confluent-kafka",
    "faust-streaming",
    "numba",
    "polars",
    "quixstreams",
    "rocksdict",
)
_PLACES = ("HEADRACE_BROKER", "HEADRACE_DATA_DIR", "HEADRACE_PYTHON")
_LARGEST = ("peak_memory_mb",)


def summarise(storage: Mapping[str, Any], scale: str) -> dict[str, Any]:
    """The results of a run, from what `--benchmark-json` has written.

    A figure is the median of its rounds, memory the largest. `correct` is True only when the main
    job ran all its rounds, and every round of any job was equal to its one-shot answer.
    """
    rounds: dict[str, list[dict[str, Any]]] = {}
    for item in storage["benchmarks"]:
        if "benchmark" in item["extra_info"]:
            rounds.setdefault(item["extra_info"]["benchmark"], []).append(item["extra_info"])
    results: dict[str, Any] = {name: _figures(found) for name, found in rounds.items()}
    _add_ratios(results)
    checked = [found["correct"] for found in rounds.get("main_job", [])]
    all_right = all(found.get("correct", True) for many in rounds.values() for found in many)
    return {
        "correct": len(checked) == SCALES[scale].rounds["main_job"] and all_right,
        **results,
        "scale": scale,
        "datetime": storage["datetime"],
        "commit": storage.get("commit_info", {}).get("id"),
        "machine": _machine(storage["machine_info"]),
        "versions": {name: version(name) for name in PACKAGES},
        "settings": _settings(os.environ),
        "rounds": rounds,
    }


def _figures(rounds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        name: _figure(name, [found[name] for found in rounds])
        for name in FIGURES
        if name in rounds[0]
    }


def _figure(name: str, values: Sequence[float]) -> float:
    if len(set(values)) == 1:
        return values[0]
    return max(values) if name in _LARGEST else median(values)


def _add_ratios(results: dict[str, Any]) -> None:
    """How many times as fast as each peer, and as before; of rounds that alternated in this very run."""
    if "main_job" not in results:
        return
    for peer in ("stock_faust", "quix", "main_job_former"):
        if peer in results:
            ratio = results["main_job"]["events_per_second"] / results[peer]["events_per_second"]
            results["main_job"][f"times_{peer.removeprefix('main_job_')}"] = ratio


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings that differ from the defaults, without places."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith("HEADRACE_") and name not in _PLACES
    }


def _machine(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cpu": info.get("cpu", {}).get("brand_raw", "unknown"),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": info["python_version"],
    }
