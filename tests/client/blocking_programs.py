"""Programs with the blocking client, run by its tests: `python -m tests.client.blocking_programs NAME URL NAMESPACE FOLDER`."""

import os
import signal
import sys
import threading
import traceback
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from lockstore.client.blocking import LockClient
from lockstore.errors import LockError, LockLostError

ROUNDS = 5
WORKERS = 3


def alone(folder: Path, name: str) -> None:
    """Be the only one who does this at a time, in any process; fail otherwise."""
    inside = folder / "inside"
    inside.touch(exist_ok=False)
    with (folder / "done").open("a") as file:
        file.write(f"{name}\n")
    inside.unlink()


def work(locks: LockClient, folder: Path, name: str) -> None:
    for _ in range(ROUNDS):
        with locks.lock("talk", wait=60) as ticket:
            alone(folder, name)
            ticket.check()


def fork(what: Any) -> int:
    """Run something in a child, which ends with 0 if it went well."""
    child = os.fork()
    if child:
        return child
    try:
        what()
    except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def prefork(locks: LockClient, folder: Path) -> None:
    """Do as Celery does: the parent has used the client by the time it forks its workers, and goes on using it."""
    work(locks, folder, "parent")

    def in_child() -> None:
        try:
            ticket.check()
        except LockLostError:
            pass
        else:
            raise AssertionError("the ticket of the parent is good in the child")
        work(locks, folder, "child")
        locks.close()

    with locks.lock("the parent's") as ticket:
        children = [fork(in_child) for _ in range(WORKERS)]
        work(locks, folder, "parent")
        ends = [os.waitpid(child, 0)[1] for child in children]
        ticket.check()

    inherited: list[int] = []
    try:
        with locks.lock("the parent's", wait=0):  # what the child leaves is not given back by it
            inherited.append(os.fork())
    except LockError as error:
        os._exit(0 if not inherited[0] and "the process that was forked" in str(error) else 1)
    ends.append(os.waitpid(inherited[0], 0)[1])
    work(locks, folder, "parent")
    print(f"{ends} {(folder / 'done').read_text().split().count('child')}")


class QuietHandler(WSGIRequestHandler):
    """Logs nothing."""

    def log_message(self, *_: Any) -> None: ...


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """A thread for each request, as most servers of WSGI applications have."""

    daemon_threads = True


def wsgi(locks: LockClient, folder: Path) -> None:
    """Serve requests of one conversation, several at once."""

    def application(_: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        with locks.lock("talk", wait=60) as ticket:
            alone(folder, "request")
            body = str(ticket.number).encode()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [body]

    with make_server("127.0.0.1", 0, application, ThreadingServer, QuietHandler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()

        def ask(_: int) -> int:
            with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/", timeout=60) as answer:
                return int(answer.read())

        with ThreadPoolExecutor(5) as pool:
            numbers = list(pool.map(ask, range(20)))
        server.shutdown()
        serving.join()
    print(len(set(numbers)))


def interrupted(locks: LockClient, _: Path) -> None:
    """Wait in line until SIGINT; the client is closed because the program ends."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with locks.lock("talk", wait=600):
        print("granted")


if __name__ == "__main__":
    program, url, namespace, place = sys.argv[1:]
    programs = {"prefork": prefork, "wsgi": wsgi, "interrupted": interrupted}
    programs[program](LockClient(url, namespace=namespace), Path(place))
