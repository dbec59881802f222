"""The HTTP side of the daemon: health, metrics, and whatever else is shown. Read-only."""
