"""The options of the demonstration."""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Options", "parse"]

_EPILOG = """\
In the middle one replica is killed (SIGKILL), and another is stopped (SIGSTOP) for longer than its lease.
Exit code: 0 all is well, 1 an overlap, a grant out of turn or a lost request was found, 130 broken off with Ctrl-C.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What is shown, and for how long."""

    replicas: int = 4
    conversations: int = 12
    seconds: float = 15.0
    calm: bool = False
    misbehave: bool = False


def parse(argv: Sequence[str]) -> Options:
    """Read the command line. Exits with code 2 if it makes no sense."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m examples.demo",
        description="Bot replicas ask a lockstore daemon for locks through a private RabbitMQ and Redis.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--replicas", type=_between(2, 16), default=default.replicas, help="bots, 2 to 16 (default: %(default)s)"
    )
    parser.add_argument(
        "--conversations",
        type=_between(1, 200),
        default=default.conversations,
        help="users who write, 1 to 200; the first ones are busy (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=_between(1, 3600),
        default=default.seconds,
        help="how long the bots work, 1 to 3600 (default: %(default)g)",
    )
    parser.add_argument("--calm", action="store_true", help="kill and stop nobody")
    parser.add_argument(
        "--misbehave",
        action="store_true",
        help="use a daemon that grants out of order on purpose, to see it found out; implies --calm",
    )
    given = parser.parse_args(argv)
    return Options(
        replicas=given.replicas,
        conversations=given.conversations,
        seconds=given.seconds,
        calm=given.calm or given.misbehave,
        misbehave=given.misbehave,
    )


def _between(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {least} to {most}")
        return value

    return number
