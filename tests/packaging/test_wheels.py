"""Two distributions: what bots install, and what the daemon's host installs."""

import zipfile
from pathlib import Path

import pytest

from tests.packaging.conftest import Maker, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

BOT_MOST_MB = 20


WITHOUT_THE_EXTRA = """
import lockstore
try:
    lockstore.create_store
except ImportError as error:
    print(error)
"""


def top_level(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name.split("/")[0] for name in archive.namelist() if ".dist-info/" not in name}


def test_each_distribution_has_one_package_and_the_license(wheels: dict[str, Path]) -> None:
    assert set(wheels) == {"lockstore", "lockstore_daemon"}
    assert top_level(wheels["lockstore"]) == {"lockstore"}
    assert top_level(wheels["lockstore_daemon"]) == {"daemon"}
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
        assert any(name.endswith("/licenses/LICENSE") for name in names)
        assert not [name for name in names if name.endswith(("pyproject.toml", ".pyc"))]


def test_nothing_of_the_packages_is_missing(wheels: dict[str, Path]) -> None:
    for wheel, package in ((wheels["lockstore"], "lockstore"), (wheels["lockstore_daemon"], "daemon")):
        with zipfile.ZipFile(wheel) as archive:
            packed = {name for name in archive.namelist() if name.startswith(f"{package}/")}
        root = Path(__file__).parents[2]
        there = {
            str(path.relative_to(root))
            for path in (root / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts and path.name not in ("pyproject.toml", "LICENSE")
        }
        assert packed == there


def test_a_bots_environment_is_small_and_has_no_daemon(wheels: dict[str, Path], environment: Maker) -> None:
    bot = environment("client.txt")
    bot.install(wheels["lockstore"])
    run(bot.python, "-m", "compileall", "-q", bot.packages)  # as pip does for a bot: it counts
    print(f"a bot's environment: {bot.size_mb:.1f} MB: {', '.join(sorted(bot.distributions))}")
    assert bot.size_mb < BOT_MOST_MB
    assert not bot.distributions & {
        "lockstore-daemon",
        "boto3",
        "botocore",
        "typer",
        "redis",
        "aio-pika",
        "structlog",
        "pydantic",
    }
    found = run(bot.python, "-I", "-c", "import importlib.util; print(importlib.util.find_spec('daemon'))")
    assert found.strip() == "None"
    run(
        bot.python, "-I", "-W", "error", "-c", "from lockstore.client import LockClient; LockClient('amqp://localhost')"
    )
    run(bot.python, "-I", "-W", "error", "-c", "import lockstore; lockstore.InMemoryLockStore()")
    refused = run(bot.python, "-I", "-W", "error", "-c", WITHOUT_THE_EXTRA)
    assert refused.strip() == "the Redis lock stores need the extra redis: pip install 'lockstore[redis]'"


def test_the_daemons_environment_has_the_command(wheels: dict[str, Path], environment: Maker) -> None:
    host = environment("runtime.txt")
    host.install(*wheels.values())
    assert run(host.folder / "bin" / "lockstore", "--version").strip()
    assert "serve" in run(host.folder / "bin" / "lockstore", "--help")
