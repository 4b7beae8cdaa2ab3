"""How kernels are compiled, and how their arrays must be."""

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

SLACK = 64  # bytes behind a value that a kernel may read along with it


def _digest() -> str:
    digest = sha256()
    for path in sorted(Path(__file__).parent.glob("*kernel.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


_SOURCES = _digest()


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point on first use, or load it from numba's cache; it runs without the GIL."""
    return _entry(function, nogil=True)


def quick_kernel(function: Callable[..., Any]) -> Any:
    """The same for work of microseconds: it keeps the GIL, which would take far longer to come back."""
    return _entry(function, nogil=False)


def _entry(function: Callable[..., Any], *, nogil: bool) -> Any:
    """Compile with a cache.

    Numba notices a change of the function's own file only, so its name in the cache says what the
    sources of all kernels were. It must not be a closure: numba would not find that in its cache again.
    """
    if function.__closure__:
        raise TypeError(f"kernel {function.__qualname__} is a closure")
    function.__qualname__ += f"_{_SOURCES}"
    compiled = njit(nogil=nogil, error_model="numpy")(function)
    # without a writable folder for the cache (see NUMBA_CACHE_DIR) every start compiles anew
    with suppress(RuntimeError):
        compiled.enable_caching()
    return compiled


def part(function: Callable[..., Any]) -> Any:
    """Compile a function into each of the kernels that call it."""
    return njit(nogil=True, error_model="numpy", forceinline=True)(function)


def subroutine(function: Callable[..., Any]) -> Any:
    """Compile a function that kernels call where they seldom come."""
    return njit(nogil=True, error_model="numpy")(function)


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A contiguous, read-only view: kernels are compiled once per type of array, for this one."""
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view
