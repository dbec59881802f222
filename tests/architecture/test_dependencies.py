"""What is declared for users is what is pinned and tested."""

import json
import re
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
DAEMON = tomllib.loads((CHECKOUT / "daemon" / "pyproject.toml").read_text())["project"]


def listed(name: str) -> set[str]:
    """Give the packages of a .in file, with their bounds."""
    lines = (line.partition("#")[0].strip() for line in (CHECKOUT / "requirements" / name).read_text().splitlines())
    return {line for line in lines if line and not line.startswith("-")}


def pinned(name: str) -> dict[str, str]:
    """Give the versions of a .txt file."""
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (CHECKOUT / "requirements" / name).read_text(), re.MULTILINE))


def test_the_dependencies_of_both_distributions_are_those_that_are_pinned() -> None:
    assert set(PROJECT["dependencies"]) == listed("client.in")
    own = {item for item in DAEMON["dependencies"] if not item.startswith("lockstore")}
    names = {item.partition(">")[0] for item in own}  # of what the daemon needs newer than a bot's stores do
    extras = {item for extra in PROJECT["optional-dependencies"].values() for item in extra}
    assert own | {item for item in extras if item.partition(">")[0] not in names} == listed("runtime.in")
    assert set(DAEMON["optional-dependencies"]["otel"]) == listed("otel.in")


def test_the_daemon_asks_for_the_library_of_its_own_version() -> None:
    version = PROJECT["version"]
    assert DAEMON["version"] == version
    assert [item for item in DAEMON["dependencies"] if item.startswith("lockstore")] == [
        f"lockstore[redis,aws]=={version}"
    ]


@pytest.mark.parametrize("name", ["runtime.txt", "client.txt", "otel.txt", "build.txt"])
def test_what_is_installed_for_users_is_what_is_tested(name: str) -> None:
    tested = pinned("dev.txt")
    assert {package: tested.get(package) for package in pinned(name)} == pinned(name)


@pytest.mark.parametrize("folder", ["examples/node", "tests/generators"])
def test_packages_of_npm_are_pinned_with_hashes_and_from_whatever_registry_npm_uses(folder: str) -> None:
    lock = json.loads((CHECKOUT / folder / "package-lock.json").read_text())
    own = lock["packages"].pop("")
    asked = own.get("dependencies", {}) | own.get("devDependencies", {})
    assert asked == {name: lock["packages"][f"node_modules/{name}"]["version"] for name in asked}
    for package in lock["packages"].values():
        assert "integrity" in package
        assert "resolved" not in package
