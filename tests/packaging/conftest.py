"""Both distributions, built from this checkout, and environments to install them in."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
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


def blocks(pins: str) -> dict[str, str]:
    """Give the lines of a pinned list, package by package: version, marker and hashes."""
    texts = re.split(r"^(?=[a-z0-9])", (REQUIREMENTS / pins).read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    lines = (re.sub(r"^ *#.*\n?", "", text, flags=re.MULTILINE) for text in texts)
    return {text.partition("==")[0]: text for text in lines}


def copied(name: str, text: str, packages: Path) -> bool:
    """Copy a package from the checkout's environment, if it is there in that version; tell whether it was."""
    [wanted] = re.findall(r"^[^=]+==([^\s;]+)", text)
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return False
    if found.version != wanted:
        return False
    for file in found.files or ():
        if ".." not in file.parts and file.suffix != ".pyc":
            (packages / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(found.locate_file(file)), packages / file)
    return True


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[str], Environment]:
    """Make an environment with what one of the pinned lists has.

    What the checkout's environment was given from the same file, by the same hashes, is copied from there; pip installs the
    rest. Nothing is compiled ahead: most of it is never imported.
    """

    def make(pins: str) -> Environment:
        made = Environment(tmp_path / "environment")
        run(sys.executable, "-m", "venv", "--without-pip", made.folder)
        ours, rest = blocks("dev.txt"), tmp_path / "rest.txt"
        with rest.open("w", encoding="utf-8") as file:
            for name, text in blocks(pins).items():
                if ours.get(name) != text or not copied(name, text, made.packages):
                    file.write(text)
        if rest.stat().st_size:
            made.pip("install", "--require-hashes", "--no-deps", "--no-compile", "-r", rest)
        return made

    return make
