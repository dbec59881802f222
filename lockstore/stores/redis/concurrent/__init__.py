"""`ConcurrentRedisLockStore`: one Lua script per verb."""
