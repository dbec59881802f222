"""`python -m examples.demo`: the exit code is the verdict's."""

import sys

_INTERRUPTED = 130  # as a shell tells it: 128 + SIGINT


def main() -> int:
    """Run the demonstration. 0: all is well; 1: it is not; 130: broken off with Ctrl-C."""
    try:
        from examples.demo import options, scenario  # noqa: PLC0415 - a Ctrl-C while they load is as quiet as a later one

        return scenario.play(options.parse(sys.argv[1:]))
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
