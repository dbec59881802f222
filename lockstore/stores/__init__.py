"""Lock stores: the base class, in memory, custom classes, and Redis."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the client, in the same distribution, runs on 3.10
    raise ImportError("the lock stores need Python 3.11 or newer")
