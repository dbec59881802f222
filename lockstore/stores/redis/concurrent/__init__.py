"""`ConcurrentRedisLockStore`: one Lua script per command."""
