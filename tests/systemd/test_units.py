"""The unit files, as systemd reads them without starting anything."""

import difflib
import re
import subprocess
from pathlib import Path

import pytest

from daemon.cli.exit_codes import BAD_CONFIGURATION
from daemon.config.settings import DaemonSettings
from tests.docs.pages import bare, codes, section, tables

UNITS = Path(__file__).resolve().parents[2] / "systemd"
PLAIN, TEMPLATE = UNITS / "lockstore.service", UNITS / "lockstore@.service"
BOTH = pytest.mark.parametrize("unit", [PLAIN, TEMPLATE], ids=lambda unit: unit.name)


def settings(unit: Path) -> dict[str, list[str]]:
    """Give all values of each directive."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


def analyze(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@BOTH
def test_systemd_finds_nothing_to_complain_of(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name.replace("@.", "@blue.")
    # What it starts is not installed on the machine of a test, and systemd looks for it.
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE))
    verdict = analyze("verify", "--man=no", copy)
    assert (verdict.returncode, verdict.stdout, verdict.stderr) == (0, "", "")


@BOTH
def test_systemd_rates_its_exposure_as_one_and_a_half_at_most(unit: Path) -> None:
    verdict = analyze("security", "--offline=yes", "--threshold=15", unit)
    assert verdict.returncode == 0, verdict.stdout
    assert "Overall exposure level" in verdict.stdout


def test_the_two_units_differ_in_names_and_in_nothing_else() -> None:
    def differences(mark: str) -> list[str]:
        both = difflib.ndiff(PLAIN.read_text().splitlines(), TEMPLATE.read_text().splitlines())
        return [line[2:] for line in both if line.startswith(mark) and not line[2:].startswith("#")]

    gone, come = differences("- "), differences("+ ")
    credentials = [f"LoadCredential={name}" for name in settings(PLAIN)["LoadCredential"]]
    assert gone == [
        "Description=lockstore, a lock daemon for conversations",
        "ExecStart=/opt/lockstore/current/bin/lockstore serve --config /etc/lockstore/lockstore.yml",
        "EnvironmentFile=-/etc/lockstore/lockstore.env",
    ]
    assert come == [
        "Description=lockstore, a lock daemon for conversations (%i)",
        "ExecStart=/opt/lockstore/current/bin/lockstore serve --config /etc/lockstore/%i.yml",
        "EnvironmentFile=-/etc/lockstore/%i.env",
        *(credential.replace("lockstore.", "lockstore.%i.") for credential in credentials),
    ]


@BOTH
def test_every_line_stands_below_its_reason(unit: Path) -> None:
    unexplained, explained = [], False
    for line in unit.read_text().splitlines():
        if line.startswith("["):
            section = line
        # Lines of one reason stand together.
        explained = line.startswith("#") and not line.startswith("# --") if not re.match(r"[A-Z]", line) else explained
        if re.match(r"[A-Z]", line) and not explained and section == "[Service]":
            unexplained.append(line)
    assert unexplained == []


def test_the_page_and_the_first_configuration_name_the_credentials_that_the_units_hand_over() -> None:
    handed = set(settings(PLAIN)["LoadCredential"])
    page = section(UNITS.parent / "docs" / "systemd.md", "Credentials")
    (rows,) = tables(page)
    named = {bare(code) for row in rows for code in codes(row["file in `/etc/credstore`"])}
    assert {name for name in named if "NAME" not in name} == handed
    first = (UNITS.parent / "configs" / "standard.yml").read_text()
    assert set(re.findall(r"\$\{credential:([^}]+)\}", page + first)) <= handed | {"lockstore.NAME.broker_url"}


@BOTH
def test_a_configuration_that_is_refused_is_not_tried_again(unit: Path) -> None:
    assert settings(unit)["RestartPreventExitStatus"] == [str(BAD_CONFIGURATION)]


@BOTH
def test_a_stop_may_take_longer_than_what_is_under_way(unit: Path) -> None:
    assert float(settings(unit)["TimeoutStopSec"][0]) >= 2 * DaemonSettings().stop_timeout
