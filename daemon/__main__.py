"""`python -m daemon`: the same as the command `lockstore`."""

from daemon.cli.app import main

main()
