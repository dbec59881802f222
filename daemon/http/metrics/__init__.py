"""The figures of one daemon: what was counted, what stands in the store, and how Prometheus is told."""
