"""What a daemon knows about itself: health, counters, stalls, logs."""
