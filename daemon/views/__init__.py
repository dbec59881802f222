"""Lines, tickets and daemons as they are shown to people and programs. Pure."""
