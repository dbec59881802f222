"""Helpers without a subject of their own: backoff, TLS."""
