"""What daemons tell each other: heartbeats, load, and the fair share of partitions."""
