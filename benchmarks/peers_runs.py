"""How peers are measured one after the other, each alone on the machine, and what happens when one cannot be."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from benchmarks.contest_field import SPREAD_S, Contests
from benchmarks.contest_worker import workers
from benchmarks.peers_places import PEERS, PROCESSES, Peer
from benchmarks.report import Report
from benchmarks.servers.missing import NotInstalledError
from harness import workplace

__all__ = ["Outcome", "add_peers", "all_peers", "contests"]

Found = TypeVar("Found")

_INTERVALS = 8  # of a lock that polls, within which waiters begin


class Outcome(Generic[Found]):
    """What was found of each peer, or why nothing was."""

    def __init__(self) -> None:
        self.found: dict[str, Found] = {}
        self.missing: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def reasons(self) -> dict[str, str]:
        """Give for each peer that has no figures why it has none."""
        return self.missing | self.failed


def add_peers(parser: argparse.ArgumentParser) -> None:
    """Let the command line choose peers."""
    parser.add_argument("--peers", type=_names, default=tuple(PEERS), help=f"some of {','.join(PEERS)}")


@asynccontextmanager
async def contests(peer: Peer, waiters: int, report: Report) -> AsyncIterator[Contests]:
    """Start the servers of one peer and the processes that compete; all ends with the context."""
    async with workplace() as place:
        report.progress(f"{peer.name}: starting its servers and {PROCESSES} processes")
        places = await peer.start(place, waiters)
        async with workers(PROCESSES, places) as processes:
            # Or else those of a lock that polls would look one shortly after the other.
            spread_s = SPREAD_S + _INTERVALS * peer.polls_s
            yield Contests(processes, spread_s=spread_s, polls_s=peer.polls_s)


async def all_peers(
    names: tuple[str, ...], limit_s: float, measure: Callable[[Peer], Awaitable[Found]], report: Report
) -> Outcome[Found]:
    """Measure these peers, each within `limit_s` seconds; one that fails does not keep others from being measured."""
    outcome = Outcome[Found]()
    for name in names:
        try:
            async with asyncio.timeout(limit_s):
                outcome.found[name] = await measure(PEERS[name])
        except NotInstalledError as error:
            outcome.missing[name] = str(error)
        except TimeoutError:
            outcome.failed[name] = f"was not done after {limit_s:g} s"
        except (RuntimeError, OSError) as error:
            outcome.failed[name] = str(error)
        if name in outcome.reasons():
            report.progress(f"{name}: left out: {outcome.reasons()[name]}")
    return outcome


def _names(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in PEERS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return names
