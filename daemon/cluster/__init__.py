"""Communication between daemons: heartbeats, load, and the fair share of partitions."""
