"""What several of the harness's tests look at."""

import asyncio
from pathlib import Path


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"  # an orphan may wait for a lazy init to reap it


async def is_gone(pid: int, limit_s: float = 5) -> bool:
    async with asyncio.timeout(limit_s):
        while is_alive(pid):
            await asyncio.sleep(0.02)
    return True


def pids_in(folder: Path) -> set[int]:
    """Every process that works in this folder or below it."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            place = (process / "cwd").readlink()
        except OSError:
            continue
        # A folder that is removed while a process works in it gets " (deleted)" after its name.
        if str(place).startswith(str(folder)):
            found.add(int(process.name))
    return found
