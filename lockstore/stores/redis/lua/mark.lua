#!lua flags=allow-oom
-- PURPOSE  Write a mark, so that WAIT has a write to wait for; also when the server is full.
-- KEYS     1 the mark (string)
-- ARGV     none
-- REPLY    OK
-- RETRY    safe: it writes the same value again
return redis.call('SET', KEYS[1], 1)
