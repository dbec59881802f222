"""The metrics of one daemon: its counters, the contents of the store, and their exposition for Prometheus."""
