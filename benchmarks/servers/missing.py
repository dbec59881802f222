"""What stops a peer from being measured without being anybody's fault."""

import shutil
from importlib.util import find_spec

__all__ = ["NotInstalledError", "package", "program"]


class NotInstalledError(RuntimeError):
    """A server or a Python package is not installed. `scripts/setup bench` installs what benchmarks need."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} is not installed; run: scripts/setup bench")


def program(name: str, of: str) -> str:
    """Give the path of a server's program; raises NotInstalledError."""
    path = shutil.which(name)
    if path is None:
        raise NotInstalledError(of)
    return path


def package(name: str) -> None:
    """Look for a Python package; raises NotInstalledError."""
    try:
        found = find_spec(name) is not None
    except ModuleNotFoundError:  # what it is a part of
        found = False
    if not found:
        raise NotInstalledError(f"the Python package {name}")
