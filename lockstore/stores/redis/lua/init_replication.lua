#!lua flags=allow-oom
-- PURPOSE  Create the history if there is none, and return the replication id under which numbers are issued now.
-- INCLUDE  _history
-- KEYS     1 history, as _history
-- ARGV     -
-- REPLY    the run's replication id
-- RETRY    safe: the second time there is a history
if not redis.call('HMGET', KEYS[1], 'run')[1] then least_number(KEYS[1], '', 0) end
return current_run()
