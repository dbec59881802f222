"""Connections to the Redis servers of a store, in any deployment. The only place that translates redis-py's errors.

This imports nothing, because every command reads the options, and only some need redis-py, which is slow to import.
"""
