"""Both distributions, built from this checkout, and environments to install them in."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
REQUIREMENTS = CHECKOUT / "requirements"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input")


def run(*argv: str | Path, cwd: Path | None = None) -> str:
    """Run a command, and give what it printed."""
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment without pip, so that what is in it was installed on purpose."""

    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    @property
    def packages(self) -> Path:
        """Where its packages are."""
        return next(self.folder.glob("lib/python*/site-packages"))

    @property
    def distributions(self) -> set[str]:
        """The names of what is installed."""
        return {path.name.split("-")[0].lower().replace("_", "-") for path in self.packages.glob("*.dist-info")}

    @property
    def size_mb(self) -> float:
        """What its packages take, in MB of 1,000,000 bytes."""
        return sum(path.stat().st_size for path in self.packages.rglob("*") if path.is_file()) / 1e6

    def pip(self, *argv: str | Path) -> str:
        """Install something here, with the pip of the checkout."""
        return run(*PIP, "--python", self.python, *argv)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both, without the network."""
    folder = tmp_path_factory.mktemp("wheels")
    run(
        *PIP,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        folder,
        ".",
        "./daemon",
        cwd=CHECKOUT,
    )
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[str], Environment]:
    """Make an environment with what one of the pinned lists has.

    Nothing is compiled ahead: most of it is never imported.
    """

    def make(pins: str) -> Environment:
        made = Environment(tmp_path / "environment")
        run(sys.executable, "-m", "venv", "--without-pip", made.folder)
        made.pip("install", "--require-hashes", "--no-deps", "--no-compile", "-r", REQUIREMENTS / pins)
        return made

    return make
