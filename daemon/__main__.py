"""`python -m daemon`: the same as the command `lockstore`."""

from daemon.cli import main

main()
