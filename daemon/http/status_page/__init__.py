"""The status page and the JSON API: who holds and waits now, which daemons there are, what happened. Read-only."""
