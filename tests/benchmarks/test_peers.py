import argparse
import asyncio
import json
from collections.abc import Mapping

import pytest

from benchmarks.contest import Stay
from benchmarks.contest_figures import Again, Window
from benchmarks.locks.catalogue import LOCKS
from benchmarks.peers_places import OURS, PEERS, Peer
from benchmarks.peers_runs import Outcome, all_peers
from benchmarks.peers_tables import Found, markdown, publish
from benchmarks.report import Report
from benchmarks.servers.missing import NotInstalledError, package
from benchmarks.waiters import counts

OPTIONS = argparse.Namespace(waiters=2, rounds=1, seconds=1.0, json=True)


def found(*, overlap: bool = False) -> Found:
    stays = [Stay(0, 0.0, 0.1, 0.2, None), Stay(1, 0.05, 0.15 if overlap else 0.25, 0.3, None)]
    figures = Found(again=[Again.of(stays, 2, Window(0.0, 1.0))], overtaken=[0], cycles_per_s=[100.0])
    figures.lines.add(stays)
    return figures


async def outcome_of(failures: Mapping[str, Exception]) -> Outcome[Found]:
    async def measure(peer: Peer) -> Found:
        if peer.name in failures:
            raise failures[peer.name]
        return found()

    return await all_peers(("etcd", "redis-py"), 10, measure, Report(as_json=True))


async def test_a_lock_that_is_not_installed_is_left_out_and_the_others_are_measured() -> None:
    outcome = await outcome_of({"etcd": NotInstalledError("etcd")})
    assert list(outcome.found) == ["redis-py"]
    assert outcome.missing == {"etcd": "etcd is not installed; run: scripts/setup bench"}
    assert not outcome.failed


@pytest.mark.parametrize("error", [RuntimeError("a worker ended"), OSError("no port"), TimeoutError()])
async def test_a_lock_that_fails_does_not_keep_others_from_being_measured(error: Exception) -> None:
    outcome = await outcome_of({"etcd": error})
    assert list(outcome.found) == ["redis-py"]
    assert list(outcome.failed) == ["etcd"]


async def test_a_lock_that_hangs_is_given_up() -> None:
    async def measure(_: Peer) -> Found:
        await asyncio.Event().wait()
        raise AssertionError

    outcome = await all_peers(("etcd",), 0, measure, Report(as_json=True))
    assert outcome.failed == {"etcd": "was not done after 0 s"}


@pytest.mark.parametrize("name", ["no_such_package_at_all", "no_such_package_at_all.part"])
def test_a_package_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(NotInstalledError, match=name):
        package(name)


def test_json_is_one_object_on_standard_output_and_tables_go_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome[Found]()
    outcome.found["redis-py"] = found()
    outcome.missing["etcd"] = "etcd is not installed"
    publish(Report(as_json=True), OPTIONS, outcome)
    printed = capsys.readouterr()
    figures = json.loads(printed.out)
    assert figures["peers"]["redis-py"]["handoffs_per_s"] == 1.0
    assert figures["left_out"] == {"etcd": "etcd is not installed"}
    assert "etcd is left out: etcd is not installed." in " ".join(printed.err.split())


def test_the_table_of_the_page_has_a_cell_for_each_heading() -> None:
    headings, rule, row = markdown({"peers": {"redis-py": found().figures()}}).splitlines()
    assert headings.count("|") == rule.count("|") == row.count("|")
    assert row.startswith("| redis-py | 1 | 2 | 50.00 |")


def test_two_inside_at_once_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome[Found]()
    outcome.found["redis-py"] = found(overlap=True)
    publish(Report(as_json=False), OPTIONS, outcome)
    assert "2 times two were inside at once!" in " ".join(capsys.readouterr().out.split())


def test_every_peer_is_in_the_catalogue() -> None:
    assert {peer.lock for peer in PEERS.values()} <= set(LOCKS)
    assert set(OURS) <= set(PEERS)


def test_only_ours_are_measured_with_thousands_of_waiters_and_slow_ones_with_few() -> None:
    longest = {name: max(counts(peer)) for name, peer in PEERS.items()}
    assert {name for name, waiters in longest.items() if waiters > 200} == set(OURS)
    assert longest["rasa-poll"] == 20
