"""Values and rules: tickets, commands, events, and the one pure function that applies a command to a line."""
