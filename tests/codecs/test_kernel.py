"""How kernels are compiled and cached."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.codecs import kernel as compiling
from app.codecs.kernel import kernel, read_only

WITHOUT_A_CACHE = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
from app.codecs.murmur2 import partition
print(partition(b"foobar", 1000))
"""

AFTER_THE_WARM_UP = """
import importlib, pkgutil
import app.codecs
from app.codecs.json_columns import warm_up
from app.codecs.kernel import _SOURCES
warm_up()
for info in pkgutil.iter_modules(app.codecs.__path__, "app.codecs."):
    if info.name.endswith("_kernel"):
        for name, item in vars(importlib.import_module(info.name)).items():
            entry = getattr(item, "py_func", None)
            if entry and entry.__qualname__.endswith(_SOURCES) and not item.signatures:
                print(name)
"""


def said(program: str) -> str:
    """What a Python program of its own prints."""
    run = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    return run.stdout


def test_the_warm_up_compiles_every_kernel() -> None:
    """The first event that needs one, or the first read, would wait for a second else."""
    left = said(AFTER_THE_WARM_UP).split()
    assert not left or left == ["crc32c_tables"], "there is another one for this processor"


def test_without_a_place_for_the_cache_kernels_are_compiled() -> None:
    assert said(WITHOUT_A_CACHE).strip() == str((-790332482 & 0x7FFFFFFF) % 1000)


def test_the_cache_knows_the_sources_of_all_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_SOURCES", "feedbeef")

    def entry(value: int) -> int:
        return value + 1

    assert "feedbeef" in kernel(entry)._cache._impl.filename_base


def test_a_second_process_compiles_nothing() -> None:
    """Neither does it leave anything in the cache."""
    code = "from app.codecs.json_columns import warm_up; warm_up()"
    command, root = [sys.executable, "-c", code], Path(__file__).parents[2]
    subprocess.run(command, check=True, cwd=root)
    said = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        cwd=root,
        env={**os.environ, "NUMBA_DEBUG_CACHE": "1"},
    ).stdout
    assert "data loaded from" in said
    assert "data saved to" not in said


def test_a_closure_is_refused() -> None:
    step = 1

    def entry(value: int) -> int:
        return value + step

    with pytest.raises(TypeError, match="closure"):
        kernel(entry)


def test_read_only_is_a_contiguous_view() -> None:
    array = np.arange(10)
    assert read_only(array).base is array
    view = read_only(array[::2])
    assert view.tolist() == [0, 2, 4, 6, 8]
    assert view.flags.c_contiguous and not view.flags.writeable
    assert array.flags.writeable
