"""systemd's notification protocol and watchdog."""
