"""On PYTHONPATH, it makes the wall clock of a process wrong by the seconds (a double) in the file TEST_CLOCK.

They may change at any moment. Monotonic clocks stay as they are: they do not jump when the time is set.
"""

import mmap
import os
import time

if "TEST_CLOCK" in os.environ:
    with open(os.environ["TEST_CLOCK"], "rb") as _file:  # noqa: PTH123 - before anything else is imported
        _shift = memoryview(mmap.mmap(_file.fileno(), 8, access=mmap.ACCESS_READ)).cast("d")
    _time, _time_ns = time.time, time.time_ns
    time.time = lambda: _time() + _shift[0]
    time.time_ns = lambda: _time_ns() + int(_shift[0] * 1e9)
