"""Node, and what npm installs for the tests: `scripts/setup test` does that; a test says so where it is missing."""

import shutil
import subprocess
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "examples" / "node"
GENERATORS = CHECKOUT / "tests" / "generators"


def why_not(*folders: Path) -> str:
    """Return why a test that needs Node and the packages of these folders cannot run; empty if it can."""
    if shutil.which("node") is None:
        return "there is no node here"
    missing = [
        str(place.relative_to(CHECKOUT)) for place in folders if not (place / "node_modules/.lockstore-stamp").is_file()
    ]
    return f"npm has not installed the packages of {', '.join(missing)} (scripts/setup test)" if missing else ""


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a program to its end, and return what it printed."""
    done = subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
    return done.stdout
