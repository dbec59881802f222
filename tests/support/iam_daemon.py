"""The real daemon in a world where time runs fast: `python -m tests.support.iam_daemon serve --config FILE SOCKET`.

Its tokens are good for seconds instead of minutes, its connections for seconds instead of hours, and each new token is
shown at SOCKET (tests/support/iam_server.py) before it is used. All else is as `python -m daemon` has it.
"""

import os
import sys
from pathlib import Path
from unittest.mock import patch

import uvloop

from daemon.cli.serve import run
from daemon.config import settings
from daemon.monitoring import log_setup as logs
from daemon.service import Service
from lockstore import factory
from lockstore.errors import StoreUnavailableError
from lockstore.stores.redis.connection import section
from lockstore.stores.redis.connection.iam import ElastiCacheCredentials, IamSettings, IamTimes
from tests.support.iam_server import AwayError, show

TIMES = IamTimes(validity_s=4, refresh_s=1, reauthenticate_s=2)


class ShownCredentials(ElastiCacheCredentials):
    """Tokens that the servers are told of."""

    def __init__(self, user: str, iam: IamSettings) -> None:
        super().__init__(user, iam, times=TIMES)

    def _signed(self) -> str:
        token = super()._signed()
        try:
            show(sys.argv[-1], token)
        except AwayError:
            raise StoreUnavailableError("no token for ElastiCache: nobody gives credentials") from None
        return token


def main() -> None:
    _, serve, option, config, _ = sys.argv
    assert (serve, option) == ("serve", "--config")
    logs.set_up("info")
    loaded = settings.load(Path(config))
    with patch.object(section, "ElastiCacheCredentials", ShownCredentials):
        store = factory.create_store(loaded.lock_store, loaded.daemon.limits, os.environ)
    uvloop.run(run(Service(loaded, store)))


if __name__ == "__main__":
    main()
