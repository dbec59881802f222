#!lua flags=allow-oom
-- PURPOSE  Correct a line's time in the agenda of the `redis` store, unless it has changed since it was read.
-- KEYS     1 agenda (sorted set: conversation id by the time, ms, at which to check it)
-- ARGV     1 conversation id · 2 the time that was read · 3 the time to check it next, or "" for never
-- REPLY    1 corrected, 0 unchanged
-- RETRY    safe: the second time the time differs, and is left unchanged
if tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
end
return 1
