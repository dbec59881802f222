"""The commands of `lockstore`.

running, changing, looking   a command as the shell sees it: its name, arguments and help. `daemon.cli.app` combines them.
serve, status, ...           what a command does. Imported when it runs, because `lockstore --help` must start fast.
options, tables, progress, report, exit_codes   shared by the commands
"""
