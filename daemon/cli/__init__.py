"""The commands of `lockstore`: what each can be told, what it does with that, what it prints, and how it ends.

running, changing   a command as the shell sees it: its name, arguments and help text. `daemon.cli.app` puts them together.
serving, ...        what a command does. Imported when it is run, because `lockstore --help` and `lockstore exec` must start fast.
options, printing, progress, reports, ends   what commands share
"""
