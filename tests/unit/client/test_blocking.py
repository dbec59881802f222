"""The blocking client in threads: one at a time, nobody left in line, and a lost lease is told in time."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from lockstore.client.blocking import LockClient, ThreadTicket
from lockstore.errors import ConfigError, LockError, LockLostError, RefusedError
from tests.client.fake_broker import FakeBroker

PATIENCE_S = 60.0
URL = "amqp://localhost/"


@pytest.fixture
def locks(broker: FakeBroker) -> Iterator[LockClient]:
    with LockClient(URL) as client:
        yield client
    assert broker.line == []


def in_loop(locks: LockClient, what: Any, *arguments: Any) -> Any:
    """Call something in the client's thread, and give what it returned."""
    assert locks._background is not None
    returned: Future[Any] = Future()
    locks._background.loop.call_soon_threadsafe(lambda: returned.set_result(what(*arguments)))
    return returned.result(PATIENCE_S)


def until(condition: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def test_a_ticket_tells_what_it_is_and_is_given_back(locks: LockClient, broker: FakeBroker) -> None:
    with locks.lock("talk", wait=30, holder="bot") as ticket:
        assert (ticket.number, ticket.conversation_id) == (1, "talk")
        assert ticket.safe_until > time.monotonic()
        assert not ticket.lost.is_set()
        ticket.check()
        assert broker.line == [ticket.request_id]
    assert list(broker.over.values()) == ["released"]


def test_of_many_threads_one_is_inside(locks: LockClient) -> None:
    inside, numbers = threading.Lock(), list[int]()

    def work(_: int) -> None:
        with locks.lock("talk") as ticket:
            assert inside.acquire(blocking=False)
            numbers.append(ticket.number)
            time.sleep(0.001)
            inside.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert numbers == sorted(numbers)
    assert len(numbers) == 40
    assert [thread.name for thread in threading.enumerate()].count("lockstore client") == 1


def test_it_opens_when_it_is_first_used_and_not_after_it_was_closed(broker: FakeBroker) -> None:
    locks = LockClient(URL)
    assert "password" not in repr(LockClient("amqp://user:password@localhost/"))
    assert locks._background is None
    with locks.lock("talk"):
        pass
    locks.close()
    locks.close()
    with pytest.raises(LockError, match="the client is closed"), locks.lock("talk"):
        pass
    with locks, locks.lock("talk") as ticket:
        assert ticket.number == 2
    assert "lockstore client" not in [thread.name for thread in threading.enumerate()]


def test_what_cannot_be_is_refused_as_by_the_other_client(locks: LockClient) -> None:
    with pytest.raises(ConfigError, match="must begin with amqp"):
        LockClient("http://localhost/")
    with pytest.raises(RefusedError, match="wait: must be 0 or more"), locks.lock("talk", wait=-1):
        pass


def test_an_error_of_the_body_is_the_error(locks: LockClient, broker: FakeBroker) -> None:
    with pytest.raises(ZeroDivisionError), locks.lock("talk"):
        raise ZeroDivisionError
    assert broker.line == []


@pytest.fixture
def silent(broker: FakeBroker) -> FakeBroker:
    broker.lease_s, broker.is_silent = 0.3, True
    return broker


def test_a_lost_lease_is_told_and_raised_at_the_end(silent: FakeBroker, locks: LockClient) -> None:
    told: Future[tuple[ThreadTicket, str, bool]] = Future()

    def on_lost(ticket: ThreadTicket) -> None:
        told.set_result((ticket, threading.current_thread().name, time.monotonic() < ticket._call.ends_at))

    with pytest.raises(LockLostError, match="not renewed in time"), locks.lock("talk", on_lost=on_lost) as ticket:
        assert ticket.lost.wait(PATIENCE_S)
        with pytest.raises(LockLostError, match="not renewed in time"):
            ticket.check()
        heard, thread, in_time = told.result(PATIENCE_S)
        assert (heard, thread) == (ticket, "lockstore on_lost")
        print(f"before the end of the lease: {in_time}")
    with pytest.raises(ZeroDivisionError), locks.lock("talk") as ticket:
        assert ticket.lost.wait(PATIENCE_S)
        raise ZeroDivisionError


def test_a_lost_lease_is_known_to_check_though_the_clients_thread_has_no_time(
    silent: FakeBroker, locks: LockClient
) -> None:
    go_on = threading.Event()
    with pytest.raises(LockLostError), locks.lock("talk") as ticket:
        assert locks._background is not None
        locks._background.loop.call_soon_threadsafe(go_on.wait, PATIENCE_S)
        until(lambda: time.monotonic() >= ticket.safe_until)
        try:
            with pytest.raises(LockLostError):
                ticket.check()
            assert not ticket.lost.is_set()
        finally:
            go_on.set()


def test_an_on_lost_that_fails_is_logged(
    silent: FakeBroker, locks: LockClient, caplog: pytest.LogCaptureFixture
) -> None:
    def on_lost(_: ThreadTicket) -> None:
        raise ZeroDivisionError

    with caplog.at_level(logging.ERROR, "lockstore"):
        with pytest.raises(LockLostError), locks.lock("talk", on_lost=on_lost) as ticket:
            assert ticket.lost.wait(PATIENCE_S)
        until(lambda: caplog.records)
    assert [record.__dict__["code"] for record in caplog.records] == ["lock_client.on_lost_failed"]


def test_closing_ends_what_waits_and_what_is_held(broker: FakeBroker) -> None:
    locks = LockClient(URL)
    held, errors = threading.Event(), list[LockError]()

    def work() -> None:
        try:
            with locks.lock("talk") as ticket:
                held.set()
                assert ticket.lost.wait(PATIENCE_S)
        except LockError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert held.wait(PATIENCE_S)
    until(lambda: in_loop(locks, lambda: len(broker.line)) == 3)
    locks.close()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(type(error).__name__ for error in errors) == ["LockError", "LockError", "LockLostError"]
    assert all("closed" in str(error) for error in errors)
    assert broker.line == []


def test_who_is_interrupted_while_waiting_leaves_the_line(
    locks: LockClient, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interrupt itself, with a signal, is in tests/client/test_blocking_with_daemon.py."""
    locks.open()
    leave = in_loop(locks, broker.occupy)

    def interrupted(self: Future[Any], timeout: float | None = None) -> None:
        until(lambda: in_loop(locks, lambda: len(broker.line)) == 2)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr("lockstore.client.background.Holding.wait_entered", interrupted)
    with pytest.raises(KeyboardInterrupt), locks.lock("talk"):
        pass
    until(lambda: in_loop(locks, lambda: broker.line) == ["stranger"])
    in_loop(locks, leave)
