"""What operators ask and change: broker state, findings, checks, repartitioning."""
