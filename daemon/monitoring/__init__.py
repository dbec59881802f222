"""A daemon's health, counters, stalls and logs."""
