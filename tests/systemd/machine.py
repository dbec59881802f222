"""A machine of its own with a real systemd: this one's files below a layer that takes all changes, booted in a container.

It has its own processes and users and this machine's network, so a daemon in it reaches the servers that tests start.
"""

import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from harness.process import Command, Process

__all__ = ["CHECKOUT", "Machine", "why_not"]

CHECKOUT = Path(__file__).resolve().parents[2]

# The mounts are in a namespace of their own: they go with the process, however it ends.
_BOOT = """
mount -t tmpfs tmpfs "$1" && mkdir "$1"/{upper,work,root} &&
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root" &&
exec systemd-nspawn --quiet --directory="$1/root" --bind-ro="$2" --register=no --keep-unit --link-journal=no \\
    --console=pipe --boot systemd.unit=basic.target systemd.show_status=0
"""
_PATIENCE_S = 60


def why_not() -> str:
    """Say why no machine can be booted here, or nothing."""
    if os.geteuid() != 0:
        return "only root can boot a container"
    missing = [tool for tool in ("systemd-nspawn", "nsenter", "unshare") if shutil.which(tool) is None]
    if missing:
        return f"missing: {', '.join(missing)}"
    mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return "this root may not mount anything" if mounts.returncode else ""


class Machine:
    """A container with systemd as its first process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._leader = ""

    async def start(self) -> None:
        """Boot, and wait until systemd says that it is up."""
        place = self._folder / "layers"
        place.mkdir()
        argv = ("unshare", "--mount", "bash", "-c", _BOOT, "boot", str(place), str(CHECKOUT))
        log = self._folder / "boot.log"
        self._process = Process(Command(name="systemd-nspawn", argv=argv, folder=self._folder, log=log))
        await self._process.become_ready(self._is_up, _PATIENCE_S)
        # They wait for a network that this machine has and does not manage.
        self.run("systemctl", "mask", "systemd-networkd-wait-online.service", "NetworkManager-wait-online.service")

    async def close(self) -> None:
        """End it, with all that runs in it."""
        await self._process.stop(grace_s=10)
        _remove_groups()

    def run(self, *argv: str, check: bool = True, stdin: str = "") -> str:
        """Run a command there, as root, and give what it wrote."""
        return self.ran(*argv, check=check, stdin=stdin).stdout

    def ran(self, *argv: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command there, as root."""
        within = ("nsenter", "--all", "--target", self._leader, "--", *argv)
        done = subprocess.run(within, input=stdin, capture_output=True, text=True, check=False, timeout=_PATIENCE_S * 2)
        if check and done.returncode:
            raise AssertionError(f"{argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
        return done

    def write(self, path: str, text: str, mode: str = "644") -> None:
        """Put a file there."""
        self.run("install", "-D", "-m", mode, "/dev/stdin", path, stdin=text)

    def property_of(self, unit: str, name: str) -> str:
        """Give what systemd says of a unit."""
        return self.run("systemctl", "show", "--value", "--property", name, unit).strip()

    def journal(self, unit: str) -> str:
        """Give what a unit has written, and what systemd wrote of it."""
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    async def _is_up(self) -> bool:
        self._leader = _child_of(self._process.pid)
        if not self._leader.isdigit():
            return False
        return self.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")


def _child_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
    except OSError:
        return ""


def _remove_groups() -> None:
    """Remove the control groups that nspawn makes and does not take away; those of others are not empty, and stay."""
    for name in ("payload", "supervisor"):
        for group in Path("/sys/fs/cgroup").glob(f"*/{name}"):
            for folder in [*sorted(group.rglob("*/"), reverse=True), group]:
                with suppress(OSError):
                    folder.rmdir()
