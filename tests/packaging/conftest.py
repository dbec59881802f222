"""Both distributions, built from this checkout, and environments to install them in."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
REQUIREMENTS = CHECKOUT / "requirements"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
UV = Path(sys.executable).with_name("uv")  # pinned in requirements/dev.txt; hard links from its cache take no time

# An index, or a folder of wheels, that pip is configured with on this machine.
OF_PIP = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}

Maker = Callable[..., "Environment"]


def run(*argv: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command, and give what it printed."""
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, check=False, cwd=cwd, env=env)
    assert done.returncode == 0, f"{argv}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@cache
def uv_variables() -> dict[str, str]:
    """Give uv's environment: packages come from where pip would take them."""
    variables = {**os.environ, "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never"}
    for line in run(*PIP, "config", "list").splitlines():
        name, _, value = line.partition("=")
        variable = OF_PIP.get(name.rpartition(".")[2])
        if variable is not None:
            each = " ".join(shlex.split(value)).split()
            variables.setdefault(variable, ("," if variable == "UV_FIND_LINKS" else " ").join(each))
    return variables


def uv(*argv: str | Path) -> str:
    """Run uv."""
    return run(UV, "--quiet", *argv, env=uv_variables())


@cache
def find_python(version: str) -> Path | None:
    """Find an interpreter of this minor version in pyenv or on the PATH; None if there is none."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    on_path = shutil.which(f"python{version}")
    found = [*pyenv.glob(f"versions/{version}.*/bin/python"), *([Path(on_path)] if on_path else [])]
    asked = f"import sys; sys.exit('{version}' != '.'.join(map(str, sys.version_info[:2])))"
    for each in found:
        if subprocess.run([each, "-c", asked], capture_output=True, check=False).returncode == 0:
            return each
    return None


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

    def install(self, *wheels: Path) -> None:
        """Install wheels here, and see that nothing is missing and nothing conflicts."""
        uv("pip", "install", "--python", self.python, "--no-deps", "--no-index", "--no-cache", *wheels)
        uv("pip", "check", "--python", self.python)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build both, without the network."""
    folder = tmp_path_factory.mktemp("wheels")
    building = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder)
    run(*PIP, *building, ".", "./daemon", cwd=CHECKOUT)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


@pytest.fixture
def environment(tmp_path: Path) -> Maker:
    """Make an environment with what one of the pinned lists has. Nothing is compiled ahead: most of it is never imported."""

    def make(pins: str, python: Path = Path(sys.executable)) -> Environment:
        made = Environment(tmp_path / "environment")
        uv("venv", "--python", python, made.folder)
        uv("pip", "sync", "--python", made.python, "--require-hashes", REQUIREMENTS / pins)
        return made

    return make
