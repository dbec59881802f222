"""Installing into a folder that stands for another system: what is put, whose it is, what an upgrade keeps, what goes again."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.systemd.machine import CHECKOUT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others"),
]

PUT = [
    "etc/lockstore/lockstore.yml",
    "usr/local/bin/lockstore",
    "usr/local/lib/systemd/system/lockstore.service",
    "usr/local/lib/systemd/system/lockstore@.service",
    "usr/local/lib/sysusers.d/lockstore.conf",
    "usr/local/share/bash-completion/completions/lockstore",
    "usr/local/share/fish/vendor_completions.d/lockstore.fish",
    "usr/local/share/zsh/site-functions/_lockstore",
    "var/lib/lockstore/installed",
]


NEEDED = tuple(
    f"{name}=="
    for name in (
        "annotated-doc",
        "click",
        "markdown-it-py",
        "mdurl",
        "pygments",
        "rich",
        "shellingham",
        "typer",
        "typing-extensions",
    )
)


class System:
    """A folder that is to become the root of a system, and a copy of the checkout to install from."""

    def __init__(self, folder: Path) -> None:
        self.root, self.checkout = folder / "root", folder / "checkout"
        (self.root / "etc").mkdir(parents=True)
        for name in ("passwd", "group"):
            (self.root / "etc" / name).write_text(
                "root:x:0:0:root:/root:/bin/sh\n" if name == "passwd" else "root:x:0:\n"
            )
        listed = ["git", "-C", str(CHECKOUT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
        for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
            if name and (CHECKOUT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "examples/")):
                (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, self.checkout / name)
        # The test of a machine that is booted installs all of them; these are enough to run the command.
        pins = self.checkout / "requirements" / "runtime.txt"
        pins.write_text("".join(pin for pin in re.split(r"(?m)^(?=\w)", pins.read_text()) if pin.startswith(NEEDED)))

    def install(self, *argv: str, code: int = 0, **env: str) -> str:
        """Run the script, and give what it says."""
        command = [str(self.checkout / "scripts" / "install"), *argv]
        kept = {name: value for name, value in os.environ.items() if name not in ("PREFIX", "WITH", "PYTHON")}
        done = subprocess.run(
            command,
            env={**kept, "DESTDIR": str(self.root), **env},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def change(self) -> None:
        """Make the next installation another release."""
        with (self.checkout / "CHANGELOG.md").open("a") as log:
            log.write("\n")

    def files(self) -> list[str]:
        """Give all files outside of the releases, and of the user database."""
        found = (path.relative_to(self.root) for path in self.root.rglob("*") if path.is_symlink() or not path.is_dir())
        return sorted(
            str(path) for path in found if not str(path).startswith(("opt/", "etc/passwd", "etc/group", "etc/.pwd"))
        )

    def user(self) -> tuple[int, int] | None:
        """Give the ids of the daemon's user and its group."""
        for line in (self.root / "etc" / "passwd").read_text().splitlines():
            if line.startswith("lockstore:"):
                _, _, user, group, *_ = line.split(":")
                return int(user), int(group)
        return None

    def leads_to(self, name: str) -> str:
        return str((self.root / "opt" / "lockstore" / name).readlink())


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> System:
    return System(tmp_path_factory.mktemp("system"))


def mode_of(path: Path) -> str:
    return f"{path.lstat().st_mode & 0o7777:o}"


def test_one_life_from_the_first_installation_to_the_purge(system: System) -> None:
    said = system.install()
    first = system.leads_to("current")
    assert "making the user lockstore" in said
    assert "skipped systemctl daemon-reload" in said
    _everything_is_in_its_place_with_the_right_owner(system)

    configuration = system.root / "etc" / "lockstore" / "lockstore.yml"
    configuration.write_text("daemon: {wait: 7}\n")
    configuration.chmod(0o600)
    unit = system.root / "usr/local/lib/systemd/system/lockstore.service"
    unit.write_text("# an older one\n")
    system.change()
    said = system.install()
    assert f"rollback goes back to {first.removeprefix('releases/')}" in said
    assert (configuration.read_text(), mode_of(configuration)) == ("daemon: {wait: 7}\n", "600")
    assert "ExecStart=" in unit.read_text()
    assert (system.leads_to("current") != first, system.leads_to("previous")) == (True, first)

    system.install("rollback")
    assert system.leads_to("current") == first

    assert "removed all but lockstore, /etc/lockstore/lockstore.yml" in system.install("uninstall")
    assert [name for name in system.files() if name in PUT] == [PUT[0], PUT[-1]]
    system.install("uninstall", "--purge")
    assert [str(path.relative_to(system.root)) for path in system.root.glob("*")] == ["etc"]
    assert not (system.root / "etc" / "lockstore").exists()
    assert system.user() is None


def _everything_is_in_its_place_with_the_right_owner(system: System) -> None:
    assert [name for name in system.files() if name in PUT] == PUT
    user = system.user()
    assert user is not None
    for name, mode in (("etc/lockstore", "750"), ("etc/lockstore/lockstore.yml", "640")):
        path = system.root / name
        assert (path.stat().st_uid, path.stat().st_gid, mode_of(path)) == (0, user[1], mode)
    put = [system.root / name for name in PUT[1:]] + list((system.root / "opt").rglob("*"))
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in put} == {(0, 0)}
    assert [str(path) for path in put if not path.is_symlink() and path.lstat().st_mode & 0o022] == []
    # Nothing names the folder that it stands in for now.
    release = system.root / "opt" / "lockstore" / system.leads_to("current")
    named = [path for path in (*(release / "bin").iterdir(), release / "pyvenv.cfg") if not path.is_symlink()]
    assert [path.name for path in named if str(system.root) in path.read_text()] == []
    assert (
        "complete -o default -F" in (system.root / "usr/local/share/bash-completion/completions/lockstore").read_text()
    )
    assert (system.root / "usr/local/bin/lockstore").readlink() == Path("/opt/lockstore/current/bin/lockstore")


def test_what_is_there_already_and_is_not_ours_stops_it(system: System) -> None:
    theirs = system.root / "usr" / "local" / "bin" / "lockstore"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("#!/bin/sh\n")
    assert "is there, and not from us" in system.install(code=1)
    assert theirs.read_text() == "#!/bin/sh\n"
    theirs.unlink()


@pytest.mark.parametrize(
    ("argv", "env", "said"),
    [
        (("instal",), {}, "usage: scripts/install"),
        ((), {"PREFIX": "relative"}, "PREFIX=relative: must be an absolute path"),
        ((), {"PREFIX": "/opt/with space"}, "must be an absolute path"),
        ((), {"WITH": "everything"}, "WITH=everything: there is only otel"),
        ((), {"PYTHON": "/no/such/python"}, "is no Python 3.11 or newer"),
        (("rollback",), {}, "there is no release before the present one"),
        (("uninstall",), {}, "nothing is installed"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    argv: tuple[str, ...], env: dict[str, str], said: str, system: System
) -> None:
    before = system.files()
    assert said in system.install(*argv, code=1, **env)
    assert system.files() == before
