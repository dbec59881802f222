"""Serving requests: from a delivery to its acknowledgement."""
