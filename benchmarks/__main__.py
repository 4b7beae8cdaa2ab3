"""`python -m benchmarks`."""

import sys

try:
    from benchmarks.runner import main

    sys.exit(main())
except KeyboardInterrupt:  # before there is anything to clean up
    sys.exit(130)
