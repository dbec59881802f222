#!lua flags=allow-oom
-- PURPOSE  Write a mark, so that replicas can be waited for; also when the server is full.
-- KEYS     1 the mark (string)
-- ARGV     none
-- REPLY    OK
-- RETRY    safe: it writes the same again
return redis.call('SET', KEYS[1], 1)
